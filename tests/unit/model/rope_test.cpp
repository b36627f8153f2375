// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::model {
namespace {

RopeConfig plain(double base, int64_t dims) {
  RopeConfig config;
  config.freq_base = base;
  config.dims = dims;
  return config;
}

RopeConfig scaled(RopeScaling scaling, double factor) {
  RopeConfig config = plain(1e6, 128);
  config.scaling = scaling;
  config.factor = factor;
  config.original_context = 32768;
  return config;
}

TEST(Rope, FrequenciesOfBaseTenMillion) {
  const Rope rope(plain(1e7, 128));
  ASSERT_EQ(rope.dims(), 128);
  const auto& f = rope.frequencies();
  ASSERT_EQ(f.size(), 64u);
  EXPECT_EQ(f[0], 1);
  EXPECT_NEAR(f[1], 0.777365, 5e-7);
  EXPECT_NEAR(f[2], 0.604296, 5e-7);
  EXPECT_NEAR(f[32], 3.162278e-4, 5e-11);
  EXPECT_NEAR(f[63], 1.286397e-7, 5e-14);
}

// Against long double, at positions where a float angle would be off by 1/128.
TEST(Rope, AnglesAreExactAtLargePositions) {
  for (const double base : {1e4, 1e6, 1e7}) {
    const Rope rope(plain(base, 128));
    for (const int64_t position : {0, 1, 1000, 131071, 200000, 262143, 10000000}) {
      SCOPED_TRACE(testing::Message() << "base " << base << " position " << position);
      float cos[64], sin[64];
      rope.angles(position, cos, sin);
      for (int i = 0; i < 64; ++i) {
        const long double frequency =
            std::pow(static_cast<long double>(base), -2.0L * static_cast<long double>(i) / 128.0L);
        const long double angle = static_cast<long double>(position) * frequency;
        EXPECT_NEAR(cos[i], static_cast<double>(std::cos(angle)), 1e-7) << i;
        EXPECT_NEAR(sin[i], static_cast<double>(std::sin(angle)), 1e-7) << i;
      }
    }
  }
}

TEST(Rope, PositionZeroRotatesNothing) {
  const Rope rope(plain(1e6, 64));
  float cos[32], sin[32];
  rope.angles(0, cos, sin);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(cos[i], 1);
    EXPECT_EQ(sin[i], 0);
  }
}

// The product of rotated vectors depends on the distance of their positions only.
TEST(Rope, ProductsDependOnTheDistance) {
  const Rope rope(plain(1e6, 16));
  double q[16], k[16];
  for (int i = 0; i < 16; ++i) {
    q[i] = std::sin(i + 1.0);
    k[i] = std::cos(3.0 * i);
  }
  const auto product = [&](int64_t p, int64_t s) {
    float cos_p[8], sin_p[8], cos_s[8], sin_s[8];
    rope.angles(p, cos_p, sin_p);
    rope.angles(s, cos_s, sin_s);
    double sum = 0;
    for (int i = 0; i < 8; ++i) {
      const double qa = q[i] * cos_p[i] - q[i + 8] * sin_p[i];
      const double qb = q[i + 8] * cos_p[i] + q[i] * sin_p[i];
      const double ka = k[i] * cos_s[i] - k[i + 8] * sin_s[i];
      const double kb = k[i + 8] * cos_s[i] + k[i] * sin_s[i];
      sum += qa * ka + qb * kb;
    }
    return sum;
  };
  EXPECT_NEAR(product(10, 3), product(7, 0), 1e-6);
  EXPECT_NEAR(product(200000, 199993), product(7, 0), 1e-6);
  EXPECT_GT(std::abs(product(8, 0) - product(7, 0)), 1e-3);
}

TEST(Rope, LinearDividesEveryFrequency) {
  const auto base = Rope(plain(1e6, 128)).frequencies();
  const Rope linear(scaled(RopeScaling::kLinear, 4));
  for (size_t i = 0; i < base.size(); ++i) EXPECT_DOUBLE_EQ(linear.frequencies()[i], base[i] / 4);
  float cos[64], sin[64];
  linear.angles(0, cos, sin);
  EXPECT_EQ(cos[0], 1);  // no magnitude
}

TEST(Rope, YarnLiesBetweenTheBaseAndItsFraction) {
  const auto base = Rope(plain(1e6, 128)).frequencies();
  for (const double factor : {2.0, 4.0, 32.0}) {
    SCOPED_TRACE(factor);
    const auto yarn = Rope(scaled(RopeScaling::kYarn, factor)).frequencies();
    double previous_share = 1;
    for (size_t i = 0; i < base.size(); ++i) {
      EXPECT_LE(yarn[i], base[i] * (1 + 1e-12)) << i;
      EXPECT_GE(yarn[i], base[i] / factor * (1 - 1e-12)) << i;
      EXPECT_TRUE(i == 0 || yarn[i] < yarn[i - 1]) << i;
      const double share = (yarn[i] / base[i] - 1 / factor) / (1 - 1 / factor);
      EXPECT_LE(share, previous_share + 1e-12) << i;
      previous_share = share;
    }
    // Fast dimensions keep their frequency, slow ones are stretched.
    EXPECT_DOUBLE_EQ(yarn[0], base[0]);
    EXPECT_DOUBLE_EQ(yarn[63], base[63] / factor);
  }
}

// The ramp's ends: dimensions that turn 32 times and once in the original context of 32768.
TEST(Rope, YarnRampStandsWhereTheWavelengthsAre) {
  const auto base = Rope(plain(1e6, 128)).frequencies();
  const auto yarn = Rope(scaled(RopeScaling::kYarn, 4)).frequencies();
  const auto dimension = [](double turns) {
    return 128 * std::log(32768 / (turns * 2 * M_PI)) / (2 * std::log(1e6));
  };
  const auto low = static_cast<size_t>(std::floor(dimension(32)));
  const auto high = static_cast<size_t>(std::ceil(dimension(1)));
  ASSERT_EQ(low, 23u);
  ASSERT_EQ(high, 40u);
  EXPECT_DOUBLE_EQ(yarn[low], base[low]);
  EXPECT_LT(yarn[low + 1], base[low + 1] * 0.999);
  EXPECT_GT(yarn[high - 1], base[high - 1] / 4 * 1.001);
  EXPECT_DOUBLE_EQ(yarn[high], base[high] / 4);
  const double share = 1 - 8.0 / 17;  // linear in between
  EXPECT_NEAR(yarn[31], base[31] * share + base[31] / 4 * (1 - share), 1e-12);
}

TEST(Rope, YarnMagnitude) {
  for (const double factor : {1.0, 4.0, 40.0}) {
    RopeConfig config = scaled(RopeScaling::kYarn, factor);
    float cos[64], sin[64];
    Rope(config).angles(0, cos, sin);
    EXPECT_NEAR(cos[0], 0.1 * std::log(factor) + 1, 1e-6);
    config.attention_factor = 0.5;
    Rope(config).angles(5, cos, sin);
    for (int i = 0; i < 64; ++i)
      EXPECT_NEAR(std::hypot(cos[i], sin[i]), 0.5 * (0.1 * std::log(factor) + 1), 1e-6);
  }
}

TEST(Rope, YarnOfFactorOneIsPlain) {
  const auto base = Rope(plain(1e6, 128)).frequencies();
  const auto yarn = Rope(scaled(RopeScaling::kYarn, 1)).frequencies();
  for (size_t i = 0; i < base.size(); ++i) EXPECT_DOUBLE_EQ(yarn[i], base[i]);
}

}  // namespace
}  // namespace sluice::model
