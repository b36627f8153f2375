// SPDX-License-Identifier: Apache-2.0
// dot against the exact value of decoded weights times dequantised activations.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "random_blocks.h"

namespace sluice::quant {
namespace {

struct Exact {
  double value = 0;
  double magnitude = 0;  // of all terms, the offset of a format with a min counted apart
};

// `levels` are the values without the min: only their magnitude matters.
Exact exact_dot(const std::vector<float>& weights, const std::vector<float>& levels,
                const std::vector<ActBlock>& x) {
  Exact result;
  for (size_t i = 0; i < weights.size(); ++i) {
    const ActBlock& block = x[i / 256];
    const double a = double{block.scale[i % 256 / 32]} * block.q[i % 256];
    result.value += weights[i] * a;
    result.magnitude += std::fabs(levels[i] * a) + std::fabs((weights[i] - levels[i]) * a);
  }
  return result;
}

// The row with its mins cleared.
std::vector<float> without_min(const Traits& t, const Row& row, int64_t n) {
  Row copy = row;
  const size_t offset = t.type == Type::kQ2_K ? 82 : 2;
  switch (t.type) {
    case Type::kQ4_1:
    case Type::kQ5_1:
    case Type::kQ2_K:
    case Type::kQ4_K:
    case Type::kQ5_K:
      for (int64_t b = 0; b < n / t.block_elements; ++b) {
        std::memset(copy.data() + b * t.block_bytes + static_cast<int64_t>(offset), 0, 2);
      }
      break;
    default:
      break;
  }
  return copy.decode();
}

void expect_exact(const Traits& t, const Row& row, const std::vector<ActBlock>& x, int64_t n) {
  const Exact exact = exact_dot(row.decode(), without_min(t, row, n), x);
  // Two roundings make a term's factor, one the product, and there are at most two terms per 32
  // elements to add; decoding rounds too.
  const double operations = 5.0 + 2.0 * static_cast<double>(n) / 32.0;
  const double bound = operations * 0x1p-24 * exact.magnitude + 1e-44;
  EXPECT_NEAR(t.dot(row.data(), x.data(), n), exact.value, bound) << t.name << ", n = " << n;
}

std::vector<ActBlock> random_activations(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(random);
  std::vector<ActBlock> x(static_cast<size_t>(act_blocks(n)));
  quantize_activations(values.data(), n, x.data());
  return x;
}

TEST(Dot, IsTheExactValueUpToFloatRounding) {
  std::mt19937 random(7);
  for (const Traits* t : block_formats()) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      for (const int64_t n : {256, 1024}) {
        expect_exact(*t, random_row(*t, n, random), random_activations(n, random), n);
      }
    }
  }
}

TEST(Dot, ShortRowsReadOnlyTheirPartOfTheLastBlock) {
  std::mt19937 random(8);
  for (const Traits* t : block_formats()) {
    if (t->block_elements != 32) continue;
    for (const int64_t n : {32, 64, 224, 288, 736}) {
      std::vector<ActBlock> x = random_activations(n, random);
      for (int j = static_cast<int>(n % 256 / 32); j < 8; ++j) {
        x.back().scale[j] = std::numeric_limits<float>::quiet_NaN();
      }
      expect_exact(*t, random_row(*t, n, random), x, n);
    }
  }
}

TEST(Dot, ExtremeLevelsScalesAndActivations) {
  for (const Traits* t : block_formats()) {
    for (const int fill : {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0, 0x55}) {
      for (const int half : {0x0000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xfbff}) {
        Row row(*t, 512);
        std::memset(row.data(), fill, row.size());
        row.set_scales(static_cast<uint16_t>(half), static_cast<uint8_t>(half >> 9));
        for (const int pattern : {0, 1, 2, 3}) {
          std::vector<ActBlock> x(2);
          for (ActBlock& block : x) {
            for (float& scale : block.scale) scale = 0.75f;
            for (int i = 0; i < 256; ++i) {
              const bool negative = pattern == 1 || (pattern == 2 && i % 2 == 1);
              block.q[i] = pattern == 3 ? 0 : negative ? -127 : 127;
            }
            for (int g = 0; g < 16; ++g) {
              int sum = 0;
              for (int i = 0; i < 16; ++i) sum += block.q[16 * g + i];
              block.sum[g] = static_cast<int16_t>(sum);
            }
          }
          expect_exact(*t, row, x, 512);
        }
      }
    }
  }
}

// The largest integers: every group at its extreme, so that nothing may overflow or lose a bit.
TEST(Dot, LargestSumsAreExact) {
  std::vector<ActBlock> x(1);
  for (float& scale : x[0].scale) scale = 1.0f;
  std::memset(x[0].q, 127, 256);
  for (int16_t& sum : x[0].sum) sum = 16 * 127;

  Row q6(traits(Type::kQ6_K), 256);  // q = -32, scale = -128
  std::memset(q6.data() + 192, 0x80, 16);
  q6.set_scales(0x3c00, 0);
  EXPECT_EQ(traits(Type::kQ6_K).dot(q6.data(), x.data(), 256), 256.0f * 32 * 128 * 127);

  Row q8(traits(Type::kQ8_0), 256);
  std::memset(q8.data(), 0x80, q8.size());  // q = -128
  q8.set_scales(0x3c00, 0);
  EXPECT_EQ(traits(Type::kQ8_0).dot(q8.data(), x.data(), 256), -256.0f * 128 * 127);

  Row q4(traits(Type::kQ4_K), 256);  // q = 15, s = z = 63
  std::memset(q4.data(), 0xff, q4.size());
  q4.set_scales(0x3c00, 0);
  EXPECT_EQ(traits(Type::kQ4_K).dot(q4.data(), x.data(), 256), 256.0f * 14 * 63 * 127);

  Row iq4(traits(Type::kIQ4_XS), 256);  // level -127, scale -32
  iq4.set_scales(0x3c00, 0);
  EXPECT_EQ(traits(Type::kIQ4_XS).dot(iq4.data(), x.data(), 256), 256.0f * 127 * 32 * 127);
}

TEST(Dot, FloatActivationsSumDecodedWeightsInDouble) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  for (const Traits* t : all_formats()) {
    const int64_t n = 768;
    Row row(*t, n);
    if (t->is_float) {
      std::vector<float> values(n);
      for (float& v : values) v = normal(random);
      t->encode(values.data(), n, row.data());
    } else {
      row = random_row(*t, n, random);
    }
    std::vector<float> x(n);
    for (float& v : x) v = normal(random);
    const std::vector<float> weights = row.decode();
    double exact = 0, magnitude = 0;
    for (size_t i = 0; i < n; ++i) {
      exact += double{weights[i]} * x[i];
      magnitude += std::fabs(double{weights[i]} * x[i]);
    }
    EXPECT_NEAR(t->dot_f32(row.data(), x.data(), n), exact, 1e-12 * magnitude) << t->name;
    EXPECT_GT(magnitude, 0.0);
  }
}

TEST(Dot, NothingTimesAnythingIsZero) {
  for (const Traits* t : block_formats()) {
    Row row(*t, 256);
    std::vector<ActBlock> x(1);
    std::memset(x.data(), 0, sizeof(ActBlock));
    EXPECT_EQ(t->dot(row.data(), x.data(), 256), 0.0f) << t->name;
    EXPECT_EQ(t->dot(row.data(), x.data(), 0), 0.0f) << t->name;
  }
}

}  // namespace
}  // namespace sluice::quant
