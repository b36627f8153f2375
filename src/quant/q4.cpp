// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

// Level of x on a scale that starts at 0, at most `top`. NaN gives 0.
uint8_t level(float x, int top) {
  const float bounded =
      x > 0.0f ? (x < static_cast<float>(top) ? x : static_cast<float>(top)) : 0.0f;
  return static_cast<uint8_t>(bounded);
}

struct Q4_0 {
  using Block = BlockQ4_0;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    for (int l = 0; l < 16; ++l) {
      u.q[l] = static_cast<int8_t>((block.qs[l] & 15) - 8);
      u.q[l + 16] = static_cast<int8_t>((block.qs[l] >> 4) - 8);
    }
  }

  // The element of largest magnitude becomes exactly -8, whatever its sign.
  static void encode(const float* x, Block& block) {
    float extreme = 0.0f;
    for (int i = 0; i < 32; ++i) extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
    const float d = extreme / -8.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block.d = float_to_half(d);
    for (int l = 0; l < 16; ++l) {
      const int low = level(x[l] * inverse + 8.5f, 15);
      const int high = level(x[l + 16] * inverse + 8.5f, 15);
      block.qs[l] = static_cast<uint8_t>(low | (high << 4));
    }
  }
};

struct Q4_1 {
  using Block = BlockQ4_1;
  static constexpr bool kHasMin = true;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    u.min = half_to_float(block.m);
    for (int l = 0; l < 16; ++l) {
      u.q[l] = static_cast<int8_t>(block.qs[l] & 15);
      u.q[l + 16] = static_cast<int8_t>(block.qs[l] >> 4);
    }
  }

  static void encode(const float* x, Block& block) {
    float min = x[0], max = x[0];
    for (int i = 1; i < 32; ++i) {
      min = x[i] < min ? x[i] : min;
      max = x[i] > max ? x[i] : max;
    }
    const float d = (max - min) / 15.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block.d = float_to_half(d);
    block.m = float_to_half(min);
    for (int l = 0; l < 16; ++l) {
      const int low = level((x[l] - min) * inverse + 0.5f, 15);
      const int high = level((x[l + 16] - min) * inverse + 0.5f, 15);
      block.qs[l] = static_cast<uint8_t>(low | (high << 4));
    }
  }
};

}  // namespace

constexpr Traits kQ4_0Traits = make_traits<Q4_0>(Type::kQ4_0, "Q4_0");
constexpr Traits kQ4_1Traits = make_traits<Q4_1>(Type::kQ4_1, "Q4_1");

}  // namespace sluice::quant
