// SPDX-License-Identifier: Apache-2.0
// Encoders: error on random weights, edge cases, and values that must survive.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "random_blocks.h"

namespace sluice::quant {
namespace {

std::vector<float> encode_decode(const Traits& t, const std::vector<float>& values) {
  Row row(t, static_cast<int64_t>(values.size()));
  std::memset(row.data(), 0xa5, row.size());  // everything must be written
  t.encode(values.data(), static_cast<int64_t>(values.size()), row.data());
  return row.decode();
}

double relative_rmse(const std::vector<float>& values, const std::vector<float>& decoded) {
  double error = 0, power = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += std::pow(double{values[i]} - decoded[i], 2);
    power += std::pow(double{values[i]}, 2);
  }
  return std::sqrt(error / power);
}

// Root mean square error over standard deviation that an encoder may leave, normal weights and
// weights with heavy tails (Student, 5 degrees of freedom).
struct Bound {
  Type type;
  double normal, heavy;
};
constexpr Bound kBounds[] = {
    {Type::kF32, 0, 0},
    {Type::kF16, 0.0003, 0.0003},
    {Type::kBF16, 0.0018, 0.0018},
    {Type::kQ8_0, 0.0055, 0.0070},
    {Type::kQ4_0, 0.088, 0.110},
    {Type::kQ4_1, 0.080, 0.093},
    {Type::kQ5_0, 0.044, 0.056},
    {Type::kQ5_1, 0.039, 0.045},
    {Type::kQ2_K, 0.262, 0.288},
    {Type::kQ3_K, 0.146, 0.171},
    {Type::kQ4_K, 0.0710, 0.0830},
    {Type::kQ5_K, 0.0354, 0.0413},
    {Type::kQ6_K, 0.0176, 0.0215},
    {Type::kIQ4_NL, 0.0760, 0.0885},
    {Type::kIQ4_XS, 0.0765, 0.0895},
    {Type::kMXFP4, 0.114, 0.125},
};

std::vector<float> normal_values(size_t n, float size) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = size * normal(random);
  return values;
}

TEST(Encode, ErrorOnRandomWeights) {
  std::mt19937 random(4);
  std::student_t_distribution<float> student(5);
  std::vector<float> heavy(1 << 15);
  for (float& v : heavy) v = 0.02f * student(random);
  const std::vector<float> normal = normal_values(1 << 15, 0.03f);
  size_t encoders = 0;
  for (const Traits* t : all_formats()) encoders += t->encode != nullptr;
  EXPECT_EQ(encoders, std::size(kBounds));
  for (const Bound& bound : kBounds) {
    const Traits& t = traits(bound.type);
    ASSERT_NE(t.encode, nullptr) << t.name;
    const double on_normal = relative_rmse(normal, encode_decode(t, normal));
    const double on_heavy = relative_rmse(heavy, encode_decode(t, heavy));
    EXPECT_LE(on_normal, bound.normal) << t.name;
    EXPECT_LE(on_heavy, bound.heavy) << t.name;
    // Far below the bound something is wrong with the measurement.
    EXPECT_GE(on_normal, 0.6 * bound.normal) << t.name;
  }
}

TEST(Encode, ErrorDoesNotDependOnTheScale) {
  for (const Bound& bound : kBounds) {
    const Traits& t = traits(bound.type);
    for (const float size : {0.001f, 1.0f, 100.0f}) {
      const std::vector<float> values = normal_values(4096, size);
      // d of Q6_K is an fp16 subnormal for weights of 0.001: its steps cost some precision.
      EXPECT_LE(relative_rmse(values, encode_decode(t, values)), 1.08 * bound.normal)
          << t.name << " at " << size;
    }
  }
}

TEST(Encode, TwiceIsOnce) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kBF16, Type::kQ8_0, Type::kQ4_0,
                          Type::kQ4_1, Type::kQ5_0, Type::kQ5_1, Type::kMXFP4}) {
    const Traits& t = traits(type);
    const std::vector<float> once = encode_decode(t, normal_values(8192, 0.05f));
    EXPECT_EQ(encode_decode(t, once), once) << t.name;
  }
}

TEST(Encode, ZerosStayZeros) {
  for (const Traits* t : all_formats()) {
    if (t->encode == nullptr) continue;
    for (const float value : encode_decode(*t, std::vector<float>(512, 0.0f))) {
      ASSERT_EQ(value, 0.0f) << t->name;
    }
  }
}

TEST(Encode, ShapesThatAreNotRandom) {
  const std::vector<std::pair<const char*, std::function<float(int)>>> shapes = {
      {"constant", [](int) { return 0.37f; }},
      {"negative constant", [](int) { return -0.37f; }},
      {"alternating", [](int i) { return i % 2 ? -0.2f : 0.2f; }},
      {"spike", [](int i) { return i == 77 ? 1.0f : 0.0f; }},
      {"negative spike", [](int i) { return i == 77 ? -1.0f : 0.0f; }},
      {"ramp", [](int i) { return static_cast<float>(i % 256) / 256.0f - 0.5f; }},
      {"all negative", [](int i) { return -0.5f - static_cast<float>(i % 7) / 10.0f; }},
      {"all positive", [](int i) { return 0.5f + static_cast<float>(i % 7) / 10.0f; }},
      {"one group of eight",
       [](int i) { return i / 32 == 3 ? static_cast<float>(i % 5) - 2.0f : 0.0f; }},
  };
  for (const Bound& bound : kBounds) {
    const Traits& t = traits(bound.type);
    for (const auto& [name, shape] : shapes) {
      std::vector<float> values(256);
      for (int i = 0; i < 256; ++i) values[static_cast<size_t>(i)] = shape(i);
      EXPECT_LE(relative_rmse(values, encode_decode(t, values)), 1.35 * bound.normal + 1e-3)
          << t.name << ", " << name;
    }
  }
}

TEST(Encode, SmallMagnitudesLoseValueNotSense) {
  for (const Traits* t : all_formats()) {
    if (t->encode == nullptr) continue;
    for (const float size : {1e-4f, 1e-6f, 1e-8f, 1e-20f, 1e-38f, 1e-44f}) {
      const std::vector<float> values = normal_values(512, size);
      const std::vector<float> decoded = encode_decode(*t, values);
      float largest = 0;
      for (const float v : values) largest = std::max(largest, std::fabs(v));
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_TRUE(std::isfinite(decoded[i])) << t->name << " at " << size;
        // Steps of an fp16 d of 2^-24 times up to 127 levels.
        ASSERT_LE(std::fabs(decoded[i]), 2.0f * largest + 8e-6f) << t->name << " at " << size;
      }
    }
  }
}

TEST(Encode, NotFiniteIsNotUndefined) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Traits* t : all_formats()) {
    if (t->encode == nullptr) continue;
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> values = normal_values(512, 1.0f);
      values[5] = bad;
      const std::vector<float> decoded = encode_decode(*t, values);
      const std::vector<float> second(values.begin() + 256, values.end());
      const std::vector<float> alone = encode_decode(*t, second);
      // The other super-block is as if nothing had happened.
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), decoded.begin() + 256)) << t->name;
    }
    std::vector<float> all(256, std::numeric_limits<float>::quiet_NaN());
    encode_decode(*t, all);
  }
}

TEST(Encode, ConventionsOfTheSimpleFormats) {
  std::vector<float> values(32, 0.0f);
  values[0] = 127.0f;  // the scale is 1
  const float ties[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f};
  const int away[] = {1, 2, 3, -1, -2, -3};
  std::copy(std::begin(ties), std::end(ties), values.begin() + 1);
  const std::vector<float> q8 = encode_decode(traits(Type::kQ8_0), values);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(q8[i + 1], static_cast<float>(away[i])) << ties[i];

  // The element of largest magnitude is the lowest level of Q4_0 and Q5_0, with either sign.
  for (const float extreme : {4.0f, -4.0f}) {
    std::fill(values.begin(), values.end(), 0.0f);
    values[9] = extreme;
    Row q4(traits(Type::kQ4_0), 32);
    traits(Type::kQ4_0).encode(values.data(), 32, q4.data());
    EXPECT_EQ(q4.data()[2 + 9] & 15, 0);
    EXPECT_EQ(q4.decode()[9], extreme);
    Row q5(traits(Type::kQ5_0), 32);
    traits(Type::kQ5_0).encode(values.data(), 32, q5.data());
    EXPECT_EQ(q5.data()[6 + 9] & 15, 0);
    EXPECT_EQ(q5.decode()[9], extreme);
  }
}

}  // namespace
}  // namespace sluice::quant
