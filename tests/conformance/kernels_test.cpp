// SPDX-License-Identifier: Apache-2.0
// Products of quantised rows, at every level of this machine.
//
// Two bounds are checked, with u = 2^-24 and T the sum of |terms| of an output:
// - against the exact value (in double): (n / 256 + 16) u T. A vector kernel adds n / 256 terms in
//   each of eight lanes and then the lanes (3 additions); a term itself has at most six roundings
//   (two scales and two mins, the activation's scale and the decoded reference weights).
// - against the scalar function: 1e-5 T, the contract of quant::Traits::dot. That one adds n / 32
// or
//   n / 16 terms one by one, so for n = 4096 its own worst case is of this size.
// A term is below 2^-126 only with subnormal scales; there an absolute error of 2^-128 per 32
// elements is allowed, since the scalar function rounds d * scale before it multiplies by an
// integer.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "levels.h"
#include "packed_acts.h"
#include "random_blocks.h"

namespace sluice::cpu {
namespace {

using quant::ActBlock;
using quant::Traits;
using quant::Type;

constexpr int64_t kMaxRows = 33;
constexpr int64_t kMaxActs = 32;

struct Case {
  const Traits* type;
  int64_t n;
  size_t row_bytes;
  std::vector<uint8_t> storage;  // rows from an odd address to the very end
  std::vector<ActBlock> acts;

  const uint8_t* weights() const { return storage.data() + 1; }
  uint8_t* weights() { return storage.data() + 1; }
  int64_t act_blocks() const { return quant::act_blocks(n); }
};

Case make_case(const Traits& t, int64_t n, std::mt19937& random) {
  Case c{&t, n, quant::row_bytes(t.type, n), {}, {}};
  c.storage.resize(1 + kMaxRows * c.row_bytes);
  c.storage.shrink_to_fit();
  for (int64_t r = 0; r < kMaxRows; ++r) {
    const quant::Row row = quant::random_row(t, n, random);
    std::memcpy(c.weights() + static_cast<size_t>(r) * c.row_bytes, row.data(), c.row_bytes);
  }
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  c.acts.resize(static_cast<size_t>(kMaxActs * c.act_blocks()));
  for (int64_t a = 0; a < kMaxActs; ++a) {
    for (float& v : x) v = normal(random);
    quant::quantize_activations(x.data(), n, c.acts.data() + a * c.act_blocks());
  }
  return c;
}

std::vector<float> run(const Kernels& kernels, const Case& c, int64_t rows, int64_t acts) {
  std::vector<float> out(static_cast<size_t>(rows * acts), -1.0f);
  const PackedActs x = pack(kernels, c.acts, c.act_blocks());
  kernels.dot_rows[static_cast<uint32_t>(c.type->type)](
      c.weights(), c.row_bytes, rows, c.n, x.rows.data(), acts, out.data(), rows, nullptr);
  return out;
}

// The row with all levels zero: minus the mins, for formats that have them.
std::vector<float> mins_of(const Traits& t, const uint8_t* row, int64_t n) {
  std::vector<float> mins(static_cast<size_t>(n), 0.0f);
  size_t begin, end;  // of the levels in a block
  switch (t.type) {
    case Type::kQ4_1:
    case Type::kQ5_1:
      begin = 4;
      end = static_cast<size_t>(t.block_bytes);
      break;
    case Type::kQ2_K:
      begin = 16;
      end = 80;
      break;
    case Type::kQ4_K:
    case Type::kQ5_K:
      begin = 16;
      end = static_cast<size_t>(t.block_bytes);
      break;
    default:
      return mins;
  }
  std::vector<uint8_t> copy(row, row + quant::row_bytes(t.type, n));
  for (size_t at = 0; at < copy.size(); at += static_cast<size_t>(t.block_bytes))
    std::memset(copy.data() + at + begin, 0, end - begin);
  t.decode(copy.data(), n, mins.data());
  return mins;
}

struct Exact {
  double value = 0;
  double terms = 0;  // sum of |terms|
};

class Reference {
 public:
  Reference(const Case& c, int64_t row) : c_(c), weights_(static_cast<size_t>(c.n)) {
    const uint8_t* data = c.weights() + static_cast<size_t>(row) * c.row_bytes;
    c.type->decode(data, c.n, weights_.data());
    mins_ = mins_of(*c.type, data, c.n);
  }
  Exact product(int64_t act) const {
    const ActBlock* x = c_.acts.data() + act * c_.act_blocks();
    Exact result;
    for (int64_t i = 0; i < c_.n; ++i) {
      const ActBlock& block = x[i / 256];
      const double value = static_cast<double>(block.scale[i % 256 / 32]) * block.q[i % 256];
      const double weight = weights_[static_cast<size_t>(i)];
      const double min = mins_[static_cast<size_t>(i)];
      result.value += weight * value;
      result.terms += (std::fabs(weight - min) + std::fabs(min)) * std::fabs(value);
    }
    return result;
  }

 private:
  const Case& c_;
  std::vector<float> weights_;
  std::vector<float> mins_;
};

void expect_close(const Kernels& kernels, const Case& c, int64_t rows, int64_t acts) {
  const std::vector<float> expected = run(reference(), c, rows, acts);
  const std::vector<float> found = run(kernels, c, rows, acts);
  const double u = std::ldexp(1.0, -24);
  const double factor = (static_cast<double>(c.n) / 256 + 16) * u;
  const double tiny = std::ldexp(static_cast<double>(c.n) / 32, -128);
  for (int64_t r = 0; r < rows; ++r) {
    const Reference reference(c, r);
    for (int64_t a = 0; a < acts; ++a) {
      const auto at = static_cast<size_t>(a * rows + r);
      const Exact exact = reference.product(a);
      ASSERT_TRUE(std::isfinite(found[at]));
      ASSERT_NEAR(found[at], exact.value, factor * exact.terms + tiny)
          << c.type->name << " n " << c.n << " row " << r << " activation " << a;
      ASSERT_NEAR(found[at], expected[at], 1e-5 * exact.terms + tiny)
          << c.type->name << " n " << c.n << " row " << r << " activation " << a;
    }
  }
}

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

class DotRows : public testing::TestWithParam<const Traits*> {
 protected:
  std::mt19937 random_{17};
};

TEST_P(DotRows, AgreesWithScalarAndIsTheSameForAnyBatch) {
  const Traits& t = *GetParam();
  std::vector<int64_t> sizes = {256, 512, 768, 2048, 4096};
  if (t.block_elements == 32) sizes.insert(sizes.end(), {32, 224, 800, 4128});
  for (const int64_t n : sizes) {
    const Case c = make_case(t, n, random_);
    std::vector<float> first_level;
    for (const TestLevel& level : levels()) {
      SCOPED_TRACE(level.name);
      ASSERT_NO_FATAL_FAILURE(expect_close(*level.kernels, c, kMaxRows, 5));
      const std::vector<float> all = run(*level.kernels, c, kMaxRows, kMaxActs);
      for (const int64_t rows : {1, 3, 8, 33})
        for (const int64_t acts : {1, 2, 3, 5, 32}) {
          const std::vector<float> part = run(*level.kernels, c, rows, acts);
          for (int64_t a = 0; a < acts; ++a)
            for (int64_t r = 0; r < rows; ++r)
              ASSERT_TRUE(same_bits(part[static_cast<size_t>(a * rows + r)],
                                    all[static_cast<size_t>(a * kMaxRows + r)]))
                  << t.name << " n " << n << ", " << rows << " x " << acts << ", row " << r
                  << " activation " << a;
        }
      if (first_level.empty()) first_level = all;
      ASSERT_EQ(std::memcmp(first_level.data(), all.data(), all.size() * sizeof(float)), 0)
          << "levels differ, " << t.name << " n " << n;
    }
  }
}

// The largest magnitudes that int8 pairs can reach, where int16 sums would overflow.
TEST_P(DotRows, ExtremeLevels) {
  const Traits& t = *GetParam();
  for (const int byte : {0x80, 0x7f, 0xff, 0x00, 0x88, 0xf0, 0x0f}) {
    Case c = make_case(t, 512, random_);
    for (int64_t r = 0; r < kMaxRows; ++r) {
      quant::Row row(t, c.n);
      std::memset(row.data(), byte, row.size());
      row.set_scales(0x3555, 125);
      std::memcpy(c.weights() + static_cast<size_t>(r) * c.row_bytes, row.data(), c.row_bytes);
    }
    for (size_t b = 0; b < c.acts.size(); ++b) {
      const size_t act = b / static_cast<size_t>(c.act_blocks());  // + +, - -, + -, - +
      for (size_t i = 0; i < 256; ++i)
        c.acts[b].q[i] = (act + (act % 4 >= 2 ? i : 0)) % 2 ? -127 : 127;
    }
    for (ActBlock& block : c.acts)
      for (int g = 0; g < 16; ++g) {
        int sum = 0;
        for (int i = 0; i < 16; ++i) sum += block.q[16 * g + i];
        block.sum[g] = static_cast<int16_t>(sum);
      }
    for (const TestLevel& level : levels()) {
      SCOPED_TRACE(level.name);
      ASSERT_NO_FATAL_FAILURE(expect_close(*level.kernels, c, 3, 5)) << byte;
    }
  }
}

TEST_P(DotRows, ExtremeScales) {
  const Traits& t = *GetParam();
  struct Scales {
    uint16_t half;
    uint8_t exponent;
    float act;
  };
  for (const Scales& scales : {Scales{0x0001, 0, 1.0f},      // subnormal
                               Scales{0x0001, 1, 1e-38f},    // products underflow
                               Scales{0x83ff, 2, 1e-40f},    // subnormal on both sides
                               Scales{0x7bff, 150, 1e20f},   // largest
                               Scales{0x0000, 3, 1e30f}}) {  // zero
    Case c = make_case(t, 768, random_);
    for (int64_t r = 0; r < kMaxRows; ++r) {
      quant::Row row(t, c.n);
      uint8_t* data = c.weights() + static_cast<size_t>(r) * c.row_bytes;
      std::memcpy(row.data(), data, c.row_bytes);
      row.set_scales(scales.half, scales.exponent);
      std::memcpy(data, row.data(), c.row_bytes);
    }
    for (ActBlock& block : c.acts)
      for (float& scale : block.scale) scale = scales.act;
    for (const TestLevel& level : levels()) {
      SCOPED_TRACE(level.name);
      ASSERT_NO_FATAL_FAILURE(expect_close(*level.kernels, c, 5, 3)) << scales.half;
    }
  }
}

TEST_P(DotRows, NanActivationsGiveNan) {
  const Traits& t = *GetParam();
  Case c = make_case(t, 768, random_);
  for (int64_t a = 0; a < kMaxActs; ++a) {
    ActBlock& block = c.acts[static_cast<size_t>(a * 3 + a % 3)];
    const int group = static_cast<int>(a % 8);
    block.scale[group] = std::numeric_limits<float>::quiet_NaN();
    std::memset(block.q + 32 * group, 0, 32);
    block.sum[2 * group] = block.sum[2 * group + 1] = 0;
  }
  for (const TestLevel& level : levels())
    for (const float value : run(*level.kernels, c, 3, kMaxActs))
      ASSERT_TRUE(std::isnan(value)) << level.name;
}

TEST_P(DotRows, ZeroActivationsGiveZero) {
  const Traits& t = *GetParam();
  Case c = make_case(t, 512, random_);
  std::memset(static_cast<void*>(c.acts.data()), 0, c.acts.size() * sizeof(ActBlock));
  for (const TestLevel& level : levels())
    for (const float value : run(*level.kernels, c, 3, 3)) ASSERT_EQ(value, 0.0f) << level.name;
}

INSTANTIATE_TEST_SUITE_P(Types, DotRows, testing::ValuesIn(quant::block_formats()),
                         [](const auto& type) { return std::string(type.param->name); });

TEST(Levels, OverrideTookEffect) {
  const Kernels& scalar = *levels()[0].kernels;
  EXPECT_STREQ(scalar.isa, "scalar");
  for (const TestLevel& level : levels()) {
    if (level.name.find(' ') == std::string::npos) {  // not one of the tests' own
      EXPECT_EQ(level.kernels, select_kernels(level.name.c_str()));
      EXPECT_EQ(level.kernels->isa, level.name);
      EXPECT_NE(std::string(available_levels()).find(level.name), std::string::npos);
    }
    if (level.kernels == &scalar) continue;
    for (const Traits* t : quant::block_formats()) {
      const auto id = static_cast<uint32_t>(t->type);
      EXPECT_NE(level.kernels->dot_rows[id], scalar.dot_rows[id]) << t->name;
    }
    for (const Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
      const auto id = static_cast<uint32_t>(type);
      EXPECT_NE(level.kernels->dot_rows_float[id], scalar.dot_rows_float[id]);
    }
    EXPECT_NE(level.kernels->quantize, scalar.quantize);
    EXPECT_NE(level.kernels->dot, scalar.dot);
    EXPECT_NE(level.kernels->axpy, scalar.axpy);
    EXPECT_NE(level.kernels->rms_norm, scalar.rms_norm);
    EXPECT_NE(level.kernels->swiglu, scalar.swiglu);
    EXPECT_NE(level.kernels->exp, scalar.exp);
  }
  // Every level has integer products of its own.
  for (size_t i = 1; i < levels().size(); ++i) {
    const auto id = static_cast<uint32_t>(Type::kQ4_K);
    EXPECT_NE(levels()[i].kernels->dot_rows[id], levels()[i - 1].kernels->dot_rows[id]);
  }
}

TEST(Levels, Selection) {
  EXPECT_EQ(select_kernels("no such level"), nullptr);
  EXPECT_EQ(select_kernels(""), nullptr);
  const Kernels* best = select_kernels(nullptr);
  ASSERT_NE(best, nullptr);
  const std::string names = available_levels();
  EXPECT_EQ(names.rfind(best->isa), names.size() - std::strlen(best->isa)) << names;
}

}  // namespace
}  // namespace sluice::cpu
