// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

// Level of x on a scale that starts at 0, at most 31. NaN gives 0.
uint8_t level(float x) {
  return static_cast<uint8_t>(x > 0.0f ? (x < 31.0f ? x : 31.0f) : 0.0f);
}

// q[i] = 0..31
void unpack_levels(const uint8_t* qh, const uint8_t* qs, int8_t* q) {
  uint32_t high;
  std::memcpy(&high, qh, 4);
  for (int l = 0; l < 16; ++l) {
    q[l] = static_cast<int8_t>((qs[l] & 15) | (((high >> l) & 1) << 4));
    q[l + 16] = static_cast<int8_t>((qs[l] >> 4) | (((high >> (l + 16)) & 1) << 4));
  }
}

void pack_levels(const uint8_t* q, uint8_t* qh, uint8_t* qs) {
  uint32_t high = 0;
  for (int i = 0; i < 32; ++i) high |= static_cast<uint32_t>(q[i] >> 4) << i;
  std::memcpy(qh, &high, 4);
  for (int l = 0; l < 16; ++l) qs[l] = static_cast<uint8_t>((q[l] & 15) | ((q[l + 16] & 15) << 4));
}

struct Q5_0 {
  using Block = BlockQ5_0;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    unpack_levels(block.qh, block.qs, u.q);
    for (int8_t& q : u.q) q = static_cast<int8_t>(q - 16);
  }

  // The element of largest magnitude becomes exactly -16, whatever its sign.
  static void encode(const float* x, Block& block) {
    float extreme = 0.0f;
    for (int i = 0; i < 32; ++i) extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
    const float d = extreme / -16.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block.d = float_to_half(d);
    uint8_t q[32];
    for (int i = 0; i < 32; ++i) q[i] = level(x[i] * inverse + 16.5f);
    pack_levels(q, block.qh, block.qs);
  }
};

struct Q5_1 {
  using Block = BlockQ5_1;
  static constexpr bool kHasMin = true;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    u.min = half_to_float(block.m);
    unpack_levels(block.qh, block.qs, u.q);
  }

  static void encode(const float* x, Block& block) {
    float min = x[0], max = x[0];
    for (int i = 1; i < 32; ++i) {
      min = x[i] < min ? x[i] : min;
      max = x[i] > max ? x[i] : max;
    }
    const float d = (max - min) / 31.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block.d = float_to_half(d);
    block.m = float_to_half(min);
    uint8_t q[32];
    for (int i = 0; i < 32; ++i) q[i] = level((x[i] - min) * inverse + 0.5f);
    pack_levels(q, block.qh, block.qs);
  }
};

}  // namespace

constexpr Traits kQ5_0Traits = make_traits<Q5_0>(Type::kQ5_0, "Q5_0");
constexpr Traits kQ5_1Traits = make_traits<Q5_1>(Type::kQ5_1, "Q5_1");

}  // namespace sluice::quant
