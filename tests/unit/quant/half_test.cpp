// SPDX-License-Identifier: Apache-2.0
// fp16 and bf16: all 65536 codes, and every rounding boundary between neighbours.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "quant/quant.h"

namespace sluice::quant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// From the definition, in double.
double half_value(int bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, EveryCodeDecodesAndReturns) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = f16_to_f32(half);
    if ((bits & 0x7c00) != 0x7c00) {
      ASSERT_EQ(value, half_value(bits)) << bits;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
      ASSERT_EQ(f32_to_f16(value), half) << bits;
    } else if ((bits & 0x3ff) == 0) {
      ASSERT_EQ(value, bits & 0x8000 ? -kInfinity : kInfinity);
      ASSERT_EQ(f32_to_f16(value), half);
    } else {
      ASSERT_TRUE(std::isnan(value)) << bits;
      const uint16_t back = f32_to_f16(value);
      ASSERT_EQ(back & 0x7e00, 0x7e00) << bits;
      ASSERT_EQ(back & 0x8000, bits & 0x8000) << bits;
    }
  }
}

TEST(Half, RoundsToNearestTiesToEven) {
  for (int bits = 0; bits < 0x7c00; ++bits) {
    const uint16_t below = static_cast<uint16_t>(bits), above = static_cast<uint16_t>(bits + 1);
    // Above the largest finite value the next step would be 65536.
    const double next = bits == 0x7bff ? 65536.0 : half_value(bits + 1);
    const float middle = static_cast<float>((half_value(bits) + next) / 2);
    const uint16_t even = bits % 2 == 0 ? below : above;
    ASSERT_EQ(f32_to_f16(middle), even) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), below) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, kInfinity)), above) << bits;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << bits;
  }
  EXPECT_EQ(f32_to_f16(1e30f), 0x7c00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(f32_to_f16(std::bit_cast<float>(0x7f800001u)), 0x7e00);  // signalling NaN
}

TEST(Bfloat, EveryCodeAndEveryTie) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t code = static_cast<uint16_t>(bits);
    const float value = bf16_to_f32(code);
    ASSERT_EQ(std::bit_cast<uint32_t>(value), bits << 16);
    if (std::isnan(value)) {
      ASSERT_EQ(f32_to_bf16(value), code | 0x40) << bits;
      continue;
    }
    ASSERT_EQ(f32_to_bf16(value), code);
    if (std::isinf(value)) continue;
    const auto round = [&](uint32_t low) {
      return f32_to_bf16(std::bit_cast<float>((bits << 16) | low));
    };
    ASSERT_EQ(round(0x7fff), code);
    ASSERT_EQ(round(0x8000), bits % 2 == 0 ? code : code + 1);
    ASSERT_EQ(round(0x8001), code + 1);
  }
  // A NaN whose payload is in the lost bits stays one.
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace sluice::quant
