// SPDX-License-Identifier: Apache-2.0
// Kernels on floats and conversions, at every level of this machine.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include "levels.h"
#include "random_blocks.h"

namespace sluice::cpu {
namespace {

using quant::ActBlock;
using quant::Traits;
using quant::Type;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUnit = 0x1p-24;
const int64_t kSizes[] = {1, 7, 15, 16, 17, 31, 32, 33, 64, 100, 128, 768, 2048, 4099};

class Floats : public testing::TestWithParam<TestLevel> {
 protected:
  const Kernels& kernels() const { return *GetParam().kernels; }
  std::vector<float> normal(int64_t n) {
    std::normal_distribution<float> distribution;
    std::vector<float> result(static_cast<size_t>(n));
    for (float& v : result) v = distribution(random_);
    return result;
  }
  std::mt19937 random_{23};
};

bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(Floats, Dot) {
  for (const int64_t n : kSizes) {
    const auto a = normal(n), b = normal(n);
    double exact = 0, terms = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double term =
          static_cast<double>(a[static_cast<size_t>(i)]) * b[static_cast<size_t>(i)];
      exact += term;
      terms += std::fabs(term);
    }
    // 32 lanes, then five additions.
    const double factor = (static_cast<double>(n) / 32 + 7) * kUnit;
    EXPECT_NEAR(kernels().dot(a.data(), b.data(), n), exact, factor * terms) << n;
  }
  EXPECT_EQ(kernels().dot(nullptr, nullptr, 0), 0.0f);
}

TEST_P(Floats, Axpy) {
  for (const int64_t n : kSizes) {
    const auto x = normal(n);
    auto y = normal(n + 1);
    const auto before = y;
    kernels().axpy(-1.75f, x.data(), y.data(), n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i)
      EXPECT_EQ(y[i], std::fma(-1.75f, x[i], before[i]));
    EXPECT_EQ(y[static_cast<size_t>(n)], before[static_cast<size_t>(n)]) << "wrote past the end";
  }
}

TEST_P(Floats, RmsNorm) {
  for (const int64_t n : kSizes) {
    const auto x = normal(n), weight = normal(n);
    std::vector<float> expected(static_cast<size_t>(n)), found(static_cast<size_t>(n + 1), 7.0f);
    reference().rms_norm(x.data(), weight.data(), n, 1e-6f, expected.data());
    kernels().rms_norm(x.data(), weight.data(), n, 1e-6f, found.data());
    // The sums are in double: the factors differ by one rounding at most.
    for (size_t i = 0; i < static_cast<size_t>(n); ++i)
      EXPECT_NEAR(found[i], expected[i], 4 * kUnit * std::fabs(expected[i])) << n;
    EXPECT_EQ(found[static_cast<size_t>(n)], 7.0f);
    auto in_place = x;
    kernels().rms_norm(in_place.data(), weight.data(), n, 1e-6f, in_place.data());
    found.pop_back();
    EXPECT_TRUE(equal_bits(in_place, found));
  }
}

TEST_P(Floats, ExpOverTheWholeRange) {
  std::vector<float> x;
  for (float v = -104.5f; v < 89.5f; v += 0.00917f) x.push_back(v);
  for (float v = 1e-10f; v < 1.0f; v *= 1.7f) x.insert(x.end(), {v, -v});
  std::vector<float> y = x;
  kernels().exp(y.data(), 0.0f, static_cast<int64_t>(y.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    if (exact > std::numeric_limits<float>::max()) {
      EXPECT_EQ(y[i], kInfinity) << x[i];
    } else {
      // One unit in the last place of a subnormal is 2^-149.
      EXPECT_NEAR(y[i], exact, 3e-7 * exact + 0x1p-149) << x[i];
    }
  }
  std::vector<float> special = {0.0f,  -0.0f, kInfinity, -kInfinity, 1000.0f, -1000.0f, -3e38f,
                                3e38f, 88.7f, 88.73f,    -87.3f,     -103.9f, -104.1f};
  std::vector<float> result = special;
  kernels().exp(result.data(), 0.0f, static_cast<int64_t>(result.size()));
  for (size_t i = 0; i < special.size(); ++i) {
    const float exact = std::exp(special[i]);
    if (std::isinf(exact))
      EXPECT_EQ(result[i], exact) << special[i];
    else
      EXPECT_NEAR(result[i], exact, 3e-7 * static_cast<double>(exact) + 0x1p-149) << special[i];
  }
  EXPECT_EQ(result[0], 1.0f);
  float nan = std::numeric_limits<float>::quiet_NaN();
  kernels().exp(&nan, 0.0f, 1);
  EXPECT_TRUE(std::isnan(nan));
  std::vector<float> shifted = {3.0f, 5.0f, -kInfinity};
  kernels().exp(shifted.data(), 5.0f, 3);
  EXPECT_NEAR(shifted[0], std::exp(-2.0f), 1e-7f);
  EXPECT_EQ(shifted[1], 1.0f);
  EXPECT_EQ(shifted[2], 0.0f);
}

TEST_P(Floats, SwiGlu) {
  for (const int64_t n : kSizes) {
    auto gate = normal(n + 1);
    for (float& v : gate) v *= 8;
    const auto up = normal(n), before = gate;
    kernels().swiglu(gate.data(), up.data(), n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const double g = before[i];
      const double exact = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
      EXPECT_NEAR(gate[i], exact, 1e-6 * std::fabs(exact));
    }
    EXPECT_EQ(gate[static_cast<size_t>(n)], before[static_cast<size_t>(n)]);
  }
  float limits[] = {-1000.0f, 1000.0f, 0.0f, -88.0f};
  const float ones[] = {1, 1, 1, 1};
  kernels().swiglu(limits, ones, 4);
  EXPECT_EQ(limits[0], 0.0f);
  EXPECT_EQ(limits[1], 1000.0f);
  EXPECT_EQ(limits[2], 0.0f);
  EXPECT_NEAR(limits[3], -88.0 * std::exp(-88.0), 1e-42);
}

TEST_P(Floats, SigmoidGate) {
  for (const int64_t n : kSizes) {
    auto gate = normal(n);
    for (float& v : gate) v *= 8;
    auto x = normal(n + 1);
    const auto before = x;
    kernels().sigmoid_gate(gate.data(), n, x.data());
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const double exact = before[i] / (1 + std::exp(-static_cast<double>(gate[i])));
      EXPECT_NEAR(x[i], exact, 1e-6 * std::fabs(exact));
    }
    EXPECT_EQ(x[static_cast<size_t>(n)], before[static_cast<size_t>(n)]);
  }
}

TEST_P(Floats, ConvolutionOfChannels) {
  for (const int64_t taps : {1, 2, 4})
    for (const int64_t n : kSizes) {
      const auto x = normal(taps * n), weight = normal(taps * n);
      std::vector<float> expected(static_cast<size_t>(n)), found(static_cast<size_t>(n + 1), 7.0f);
      std::vector<const float*> inputs;
      for (int64_t j = 0; j < taps; ++j) inputs.push_back(x.data() + j * n);
      reference().conv_silu(inputs.data(), weight.data(), n, taps, n, expected.data());
      kernels().conv_silu(inputs.data(), weight.data(), n, taps, n, found.data());
      for (size_t i = 0; i < static_cast<size_t>(n); ++i)
        EXPECT_NEAR(found[i], expected[i], 5e-6) << taps << " taps, " << n;
      EXPECT_EQ(found[static_cast<size_t>(n)], 7.0f) << "wrote past the end";
    }
}

// What one call of the delta rule needs; made once, so that levels get the same.
struct DeltaCase {
  std::vector<float> keys, queries, match, decay, beta, values, state;
  DeltaTokens tokens{};
  int64_t strips = 0;

  std::vector<float> run(const Kernels& kernels) {
    std::vector<float> out(values.size());
    kernels.delta_rule(tokens, state.data(), strips, values.data(), strips * kDeltaStrip,
                       out.data(), strips * kDeltaStrip);
    out.insert(out.end(), state.begin(), state.end());
    return out;
  }
};

std::unique_ptr<DeltaCase> delta_case(int64_t count, int64_t dim, int64_t strips) {
  std::mt19937 random(static_cast<uint32_t>(count * 1000 + dim));
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> unit;
  auto c = std::make_unique<DeltaCase>();
  const auto fill = [&](std::vector<float>& to, int64_t n, float scale) {
    for (int64_t i = 0; i < n; ++i) to.push_back(scale * normal(random));
  };
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  fill(c->keys, count * dim, scale);
  fill(c->queries, count * dim, scale);
  fill(c->values, count * strips * kDeltaStrip, 1);
  fill(c->state, strips * dim * kDeltaStrip, 1);
  for (int64_t t = 0; t < count; ++t) {
    double sum = 0;
    for (int64_t i = 0; i < dim; ++i) {
      const auto at = static_cast<size_t>(t * dim + i);
      sum += static_cast<double>(c->keys[at]) * c->queries[at];
    }
    c->match.push_back(static_cast<float>(sum));
    c->decay.push_back(unit(random));
    c->beta.push_back(unit(random));
  }
  c->tokens = {count,           dim,           c->keys.data(), c->queries.data(), c->match.data(),
               c->decay.data(), c->beta.data()};
  c->strips = strips;
  return c;
}

TEST_P(Floats, DeltaRule) {
  for (const int64_t count : {0, 1, 2, 33})
    for (const int64_t dim : {1, 2, 15, 128})
      for (const int64_t strips : {1, 3}) {
        const auto expected = delta_case(count, dim, strips)->run(reference());
        const auto found = delta_case(count, dim, strips)->run(kernels());
        double error = 0, size = 0;
        for (size_t i = 0; i < expected.size(); ++i) {
          error += std::pow(static_cast<double>(expected[i]) - found[i], 2);
          size += std::pow(static_cast<double>(expected[i]), 2);
        }
        EXPECT_LE(std::sqrt(error / size), 1e-6) << count << " tokens, " << dim;
      }
}

TEST_P(Floats, RowsOfFloatWeights) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
    const Traits& t = quant::traits(type);
    const auto product = kernels().dot_rows_float[static_cast<uint32_t>(type)];
    for (const int64_t n : kSizes) {
      constexpr int64_t kRows = 33, kActs = 32;
      const size_t row_bytes = quant::row_bytes(type, n);
      std::vector<uint8_t> storage(1 + kRows * row_bytes);  // odd addresses, no spare bytes
      std::vector<float> decoded(static_cast<size_t>(kRows * n));
      const auto values = normal(kRows * n), x = normal(kActs * n);
      t.encode(values.data(), kRows * n, storage.data() + 1);
      t.decode(storage.data() + 1, kRows * n, decoded.data());

      std::vector<float> all(kRows * kActs);
      product(storage.data() + 1, row_bytes, kRows, n, x.data(), kActs, all.data(), kRows);
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t a = 0; a < 3; ++a) {
          double exact = 0, terms = 0;
          for (int64_t i = 0; i < n; ++i) {
            const double term = static_cast<double>(decoded[static_cast<size_t>(r * n + i)]) *
                                x[static_cast<size_t>(a * n + i)];
            exact += term;
            terms += std::fabs(term);
          }
          // 16 lanes, then four additions.
          const double factor = (static_cast<double>(n) / 16 + 6) * kUnit;
          ASSERT_NEAR(all[static_cast<size_t>(a * kRows + r)], exact, factor * terms)
              << t.name << " n " << n;
        }
      for (const int64_t rows : {1, 2, 3, 8})
        for (const int64_t acts : {1, 2, 3, 5, 32}) {
          std::vector<float> part(static_cast<size_t>(rows * acts));
          product(storage.data() + 1, row_bytes, rows, n, x.data(), acts, part.data(), rows);
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t a = 0; a < acts; ++a)
              ASSERT_EQ(std::bit_cast<uint32_t>(part[static_cast<size_t>(a * rows + r)]),
                        std::bit_cast<uint32_t>(all[static_cast<size_t>(a * kRows + r)]))
                  << t.name << " n " << n << ", " << rows << " x " << acts;
        }
    }
  }
}

TEST_P(Floats, QuantizeIsTheScalarOneBitForBit) {
  for (const int64_t n : {32, 64, 224, 256, 288, 768, 2048}) {
    for (int kind = 0; kind < 8; ++kind) {
      auto x = normal(n);
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t j = i / 32;
        if (kind == 1) x[i] = 0.0f;
        if (kind == 2) x[i] *= 1e-38f;  // around the smallest
        if (kind == 3) x[i] *= 1e38f;   // some infinities
        if (kind == 4 && j % 2) x[i] = i % 32 == 5 ? kInfinity : x[i];
        if (kind == 5 && j % 2) x[i] = i % 32 == 31 ? -std::nanf("") : x[i];
        if (kind == 6) x[i] = static_cast<float>(static_cast<int>(i % 255) - 127) * 0.5f;  // ties
        if (kind == 7) x[i] = i % 32 == 0 ? 127.0f : std::ldexp(1.0f, -static_cast<int>(i % 40));
      }
      const auto blocks = static_cast<size_t>(quant::act_blocks(n));
      std::vector<ActBlock> expected(blocks), found(blocks);
      std::memset(static_cast<void*>(found.data()), 0x55, blocks * sizeof(ActBlock));
      reference().quantize(x.data(), n, expected.data());
      kernels().quantize(x.data(), n, found.data());
      for (size_t b = 0; b < blocks; ++b) {
        for (int j = 0; j < 8; ++j) {
          if (std::isnan(expected[b].scale[j]))
            ASSERT_TRUE(std::isnan(found[b].scale[j]));
          else
            ASSERT_EQ(found[b].scale[j], expected[b].scale[j]) << kind;
        }
        ASSERT_EQ(std::memcmp(found[b].q, expected[b].q, sizeof(found[b].q)), 0) << kind;
        ASSERT_EQ(std::memcmp(found[b].sum, expected[b].sum, sizeof(found[b].sum)), 0) << kind;
      }
    }
  }
}

TEST_P(Floats, DecodeIsTheScalarOneBitForBit) {
  for (const Traits* t : quant::all_formats()) {
    const auto id = static_cast<uint32_t>(t->type);
    for (const int64_t blocks : {1, 3, 17}) {
      const int64_t n = blocks * t->block_elements;
      const quant::Row row = quant::random_row(*t, n, random_);
      std::vector<float> expected(static_cast<size_t>(n)), found(static_cast<size_t>(n));
      t->decode(row.data(), n, expected.data());
      kernels().decode[id](row.data(), n, found.data());
      for (size_t i = 0; i < expected.size(); ++i) {
        if (std::isnan(expected[i]))
          ASSERT_TRUE(std::isnan(found[i])) << t->name;
        else
          ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
              << t->name << " element " << i;
      }
    }
  }
}

TEST_P(Floats, EncodeIsTheScalarOneByteForByte) {
  for (const Type type :
       {Type::kF32, Type::kF16, Type::kBF16, Type::kQ8_0, Type::kQ4_0, Type::kIQ4_NL}) {
    const Traits& t = quant::traits(type);
    for (const int64_t n : {32, 96, 128, 1024}) {
      for (const float factor : {1.0f, 1e-4f, 1e-7f, 1e-42f, 3e4f, 1e37f, 0.0f}) {
        auto values = normal(n);
        for (float& v : values) v *= factor;
        if (type == Type::kF16 || type == Type::kBF16) {
          values[3] = std::nanf("");
          values[4] = -kInfinity;
          values[5] = 65519.99f;
          values[6] = 65520.0f;
          values[7] = 3.4e38f;
          for (size_t i = 8; i < 32; ++i)
            values[i] = std::bit_cast<float>(static_cast<uint32_t>(random_()));
        }
        std::vector<uint8_t> expected(quant::row_bytes(type, n) + 1),
            found(quant::row_bytes(type, n) + 1);
        t.encode(values.data(), n, expected.data() + 1);
        kernels().encode[static_cast<uint32_t>(type)](values.data(), n, found.data() + 1);
        ASSERT_EQ(found, expected) << t.name << " n " << n << " times " << factor;
      }
    }
  }
  // Row lengths that no vector divides.
  for (const Type type : {Type::kF16, Type::kBF16})
    for (const int64_t n : {1, 5, 9, 23}) {
      const auto values = normal(n);
      std::vector<uint8_t> expected(2 * static_cast<size_t>(n) + 2, 9), found = expected;
      quant::traits(type).encode(values.data(), n, expected.data());
      kernels().encode[static_cast<uint32_t>(type)](values.data(), n, found.data());
      EXPECT_EQ(found, expected);
    }
}

TEST(FloatLevels, AllLevelsGiveTheSameBits) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  constexpr int64_t kN = 1000;
  std::vector<float> a(kN), b(kN);
  for (float& v : a) v = 10 * normal(random);
  for (float& v : b) v = normal(random);
  struct Results {
    float dot;
    std::vector<float> norm, glu, exp, sum, gate, conv, delta;
  };
  const auto results = [&](const Kernels& k) {
    Results r{k.dot(a.data(), b.data(), kN), a, a, a, a, a, a, delta_case(20, 128, 2)->run(k)};
    k.sigmoid_gate(b.data(), kN, r.gate.data());
    const float* inputs[] = {a.data(), b.data()};
    k.conv_silu(inputs, a.data(), kN / 2, 2, kN / 2, r.conv.data());
    k.rms_norm(a.data(), b.data(), kN, 1e-6f, r.norm.data());
    k.swiglu(r.glu.data(), b.data(), kN);
    k.exp(r.exp.data(), 3.0f, kN);
    k.axpy(0.3f, b.data(), r.sum.data(), kN);
    return r;
  };
  const Results first = results(*levels()[0].kernels);
  for (const TestLevel& level : levels()) {
    const Results other = results(*level.kernels);
    EXPECT_EQ(std::bit_cast<uint32_t>(first.dot), std::bit_cast<uint32_t>(other.dot));
    EXPECT_TRUE(equal_bits(first.norm, other.norm)) << level.name;
    EXPECT_TRUE(equal_bits(first.glu, other.glu)) << level.name;
    EXPECT_TRUE(equal_bits(first.exp, other.exp)) << level.name;
    EXPECT_TRUE(equal_bits(first.sum, other.sum)) << level.name;
    EXPECT_TRUE(equal_bits(first.gate, other.gate)) << level.name;
    EXPECT_TRUE(equal_bits(first.conv, other.conv)) << level.name;
    EXPECT_TRUE(equal_bits(first.delta, other.delta)) << level.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Floats, testing::ValuesIn(levels()), [](const auto& level) {
  std::string name = level.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

}  // namespace
}  // namespace sluice::cpu
