// SPDX-License-Identifier: Apache-2.0
// fp16 and bf16 conversions without branches on the common path, for use in loops of this module.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::quant {

static inline float half_to_float(uint16_t bits) {
  constexpr uint32_t kBias = (127 - 15) << 23;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  uint32_t value = static_cast<uint32_t>(bits & 0x7fff) << 13;
  const uint32_t exponent = value & 0x0f800000;
  value += kBias;
  if (exponent == 0x0f800000) value += kBias;  // infinity, NaN
  if (exponent == 0) {
    // Subnormal: with the implicit one set it is 2^-14 too large; the subtraction normalises.
    value = std::bit_cast<uint32_t>(std::bit_cast<float>(value + (1u << 23)) - 0x1p-14f);
  }
  return std::bit_cast<float>(value | sign);
}

static inline uint16_t float_to_half(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  const uint32_t sign = (bits >> 16) & 0x8000;
  uint32_t value = bits & 0x7fffffff;
  if (value > 0x7f800000) {
    value = 0x7e00 | ((value >> 13) & 0x3ff);  // NaN, made quiet
  } else if (value >= 0x477ff000) {
    value = 0x7c00;  // 65520 and more round to infinity
  } else if (value < 0x38800000) {
    // Below 2^-14: the steps of [0.5, 1) are those of fp16 subnormals, so the addition rounds.
    value = std::bit_cast<uint32_t>(std::bit_cast<float>(value) + 0.5f) - 0x3f000000;
  } else {
    value = (value - ((127 - 15) << 23) + 0xfff + ((value >> 13) & 1)) >> 13;
  }
  return static_cast<uint16_t>(value | sign);
}

static inline uint16_t float_to_bfloat(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Round to nearest, ties to even, for |value| < 2^22. Any other value, NaN included, gives some
// int.
static inline int32_t round_to_int(float value) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: one unit in the last place is 1
  return static_cast<int32_t>(std::bit_cast<uint32_t>(value + kMagic) & 0x7fffff) - 0x400000;
}

}  // namespace sluice::quant
