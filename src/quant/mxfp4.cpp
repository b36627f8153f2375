// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>

#include "quant/block_format.h"
#include "quant/formats.h"

namespace sluice::quant {
namespace {

// 2^(e - 128), which is subnormal for e = 0 and 1.
float exponent_scale(uint8_t e) {
  if (e < 2) return std::bit_cast<float>(uint32_t{0x00200000} << e);
  return std::bit_cast<float>(static_cast<uint32_t>(e - 1) << 23);
}

// Code of |x| / scale among 0 1 2 3 4 6 8 12, ties to the even code.
int magnitude_code(float v) {
  return (v > 0.5f) + (v >= 1.5f) + (v > 2.5f) + (v >= 3.5f) + (v > 5.0f) + (v >= 7.0f) +
         (v > 10.0f);
}

float squared_error(const float* x, int e) {
  const float scale = exponent_scale(static_cast<uint8_t>(e));
  const float inverse = 1.0f / scale;
  float error = 0.0f;
  for (int i = 0; i < 32; ++i) {
    const float magnitude = std::fabs(x[i]) * inverse;
    const float difference = magnitude - static_cast<float>(kFp4Levels[magnitude_code(magnitude)]);
    error += difference * difference;
  }
  return error * (scale * scale);
}

struct MXFP4 {
  using Block = BlockMXFP4;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = exponent_scale(block.e);
    for (int l = 0; l < 16; ++l) {
      u.q[l] = kFp4Levels[block.qs[l] & 15];
      u.q[l + 16] = kFp4Levels[block.qs[l] >> 4];
    }
  }

  // The scale that puts the largest magnitude at 4..8 (and clips above 6), or the next one up.
  static void encode(const float* x, Block& block) {
    float max = 0.0f;
    for (int i = 0; i < 32; ++i) max = std::fabs(x[i]) > max ? std::fabs(x[i]) : max;
    // e from 2: the inverse scale is finite. ilogb has no usable value for 0 and infinity.
    const int exponent =
        max > 0.0f ? std::clamp(std::ilogb(std::min(max, 0x1p127f)), -127, 127) : -127;
    int e = std::clamp(exponent - 2 + 127, 2, 253);
    if (squared_error(x, e + 1) < squared_error(x, e)) ++e;
    block.e = static_cast<uint8_t>(e);
    const float inverse = 1.0f / exponent_scale(block.e);
    uint8_t codes[32];
    for (int i = 0; i < 32; ++i) {
      const int sign = x[i] < 0.0f ? 8 : 0;
      codes[i] = static_cast<uint8_t>(magnitude_code(std::fabs(x[i]) * inverse) | sign);
    }
    for (int l = 0; l < 16; ++l) {
      block.qs[l] = static_cast<uint8_t>(codes[l] | (codes[l + 16] << 4));
    }
  }
};

}  // namespace

constexpr Traits kMXFP4Traits = make_traits<MXFP4>(Type::kMXFP4, "MXFP4");

}  // namespace sluice::quant
