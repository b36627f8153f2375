// SPDX-License-Identifier: Apache-2.0
// Operations that treat each row on its own.
#include <gtest/gtest.h>

#include <cmath>

#include "../quant/random_blocks.h"
#include "fixture.h"

namespace sluice::compute {
namespace {

class RowsTest : public testing::Test {
 protected:
  Backend backend_ = open_cpu();
  std::mt19937 random_{1};
};

std::vector<double> exact_norm(std::span<const float> x, const float* weight, double eps) {
  double sum = 0;
  for (const float value : x) sum += double{value} * value;
  const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  std::vector<double> out;
  for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * (weight ? weight[i] : 1));
  return out;
}

TEST_F(RowsTest, EmbedDecodesTheRowsOfAnyType) {
  for (const quant::Traits* traits : quant::all_formats()) {
    SCOPED_TRACE(traits->name);
    const int64_t cols = traits->block_elements * 3;
    const Weight table = random_weight(traits->type, 10, cols, random_);
    const std::vector<int32_t> ids = {9, 0, 3, 3, 8};
    std::vector<float> out(ids.size() * static_cast<size_t>(cols));
    ASSERT_EQ(backend_->embed(backend_.get(), &table.matrix, ids.data(),
                              static_cast<int64_t>(ids.size()), out.data()),
              0);
    for (size_t i = 0; i < ids.size(); ++i)
      for (int64_t c = 0; c < cols; ++c)
        ASSERT_EQ(out[i * static_cast<size_t>(cols) + static_cast<size_t>(c)],
                  static_cast<float>(table.at(ids[i], c)));
  }
}

TEST_F(RowsTest, RmsNorm) {
  for (const int64_t dim : {1, 2, 31, 64, 100, 2048}) {
    SCOPED_TRACE(dim);
    const int64_t rows = 7;
    auto x = random_floats(static_cast<size_t>(rows * dim), random_, 3);
    x[0] = 1e4f;
    const auto weight = random_floats(static_cast<size_t>(dim), random_);
    std::vector<float> out(x.size());
    ASSERT_EQ(
        backend_->rms_norm(backend_.get(), x.data(), weight.data(), rows, dim, 1e-6f, out.data()),
        0);
    for (int64_t r = 0; r < rows; ++r) {
      const auto expected = exact_norm(row(x, r, dim), weight.data(), 1e-6);
      for (int64_t i = 0; i < dim; ++i) {
        const double e = expected[static_cast<size_t>(i)];
        ASSERT_NEAR(row(out, r, dim)[static_cast<size_t>(i)], e, 1e-6 * std::abs(e));
      }
    }
    // In place, the same bits.
    ASSERT_EQ(
        backend_->rms_norm(backend_.get(), x.data(), weight.data(), rows, dim, 1e-6f, x.data()), 0);
    EXPECT_EQ(x, out);
  }
}

TEST_F(RowsTest, EpsilonStandsInsideTheRoot) {
  const std::vector<float> x = {3e-3f, -4e-3f};
  const std::vector<float> weight = {1, 1};
  std::vector<float> out(2);
  backend_->rms_norm(backend_.get(), x.data(), weight.data(), 1, 2, 1e-4f, out.data());
  const double scale = 1 / std::sqrt(1.25e-5 + 1e-4);
  EXPECT_NEAR(out[0], 3e-3 * scale, 1e-6);
  EXPECT_NEAR(out[1], -4e-3 * scale, 1e-6);

  const std::vector<float> zero = {0, 0};
  backend_->rms_norm(backend_.get(), zero.data(), weight.data(), 1, 2, 1e-6f, out.data());
  EXPECT_EQ(out, zero);
}

struct RopeCase {
  int64_t rows, heads, head_dim, stride, rotary;
  bool weight;
};

class NormRopeTest : public testing::TestWithParam<RopeCase> {};

INSTANTIATE_TEST_SUITE_P(Shapes, NormRopeTest,
                         testing::Values(RopeCase{5, 4, 32, 128, 32, true},
                                         RopeCase{5, 4, 32, 128, 32, false},
                                         RopeCase{3, 2, 32, 64, 8, true},    // partial rotary
                                         RopeCase{3, 2, 32, 64, 8, false},   //
                                         RopeCase{3, 2, 16, 77, 16, true},   // gaps between rows
                                         RopeCase{1, 1, 2, 2, 2, true},      // smallest
                                         RopeCase{9, 3, 128, 400, 64, true}  // several chunks
                                         ));

TEST_P(NormRopeTest, NormalisesThenRotatesPairs) {
  const RopeCase c = GetParam();
  const Backend backend = open_cpu();
  std::mt19937 random(2);
  const auto before = random_floats(static_cast<size_t>(c.rows * c.stride), random, 2);
  const auto weight = random_floats(static_cast<size_t>(c.head_dim), random);
  const int64_t half = c.rotary / 2;
  std::vector<float> cosines, sines;
  for (int64_t i = 0; i < c.rows * half; ++i) {
    const double angle = static_cast<double>(i) * 0.7;
    cosines.push_back(static_cast<float>(std::cos(angle)));
    sines.push_back(static_cast<float>(std::sin(angle)));
  }
  std::vector<float> x = before;
  ASSERT_EQ(backend->norm_rope(backend.get(), x.data(), c.rows, c.heads, c.head_dim, c.stride,
                               c.weight ? weight.data() : nullptr, 1e-6f, cosines.data(),
                               sines.data(), c.rotary),
            0);

  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const auto at = static_cast<size_t>(r * c.stride + h * c.head_dim);
      const std::span<const float> head(before.data() + at, static_cast<size_t>(c.head_dim));
      std::vector<double> expected(head.begin(), head.end());
      if (c.weight) expected = exact_norm(head, weight.data(), 1e-6);
      for (int64_t i = 0; i < half; ++i) {
        const double co = cosines[static_cast<size_t>(r * half + i)];
        const double si = sines[static_cast<size_t>(r * half + i)];
        const double a = expected[static_cast<size_t>(i)];
        const double b = expected[static_cast<size_t>(i + half)];
        expected[static_cast<size_t>(i)] = a * co - b * si;
        expected[static_cast<size_t>(i + half)] = b * co + a * si;
      }
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(x[at + i], expected[i], 3e-6) << "row " << r << " head " << h << " at " << i;
    }
    // What lies between the rows is not touched.
    for (int64_t i = c.heads * c.head_dim; i < c.stride; ++i)
      ASSERT_EQ(x[static_cast<size_t>(r * c.stride + i)],
                before[static_cast<size_t>(r * c.stride + i)]);
  }
}

TEST_F(RowsTest, Gather) {
  const int64_t dim = 5;
  const auto x = random_floats(20, random_);
  const std::vector<int32_t> rows = {3, 0, 3};
  std::vector<float> out(15, -1);
  ASSERT_EQ(backend_->gather(backend_.get(), x.data(), rows.data(), 3, dim, out.data()), 0);
  for (int64_t i = 0; i < 3; ++i)
    for (size_t k = 0; k < 5; ++k)
      EXPECT_EQ(row(out, i, dim)[k], row(x, rows[static_cast<size_t>(i)], dim)[k]);
  ASSERT_EQ(backend_->gather(backend_.get(), x.data(), rows.data(), 0, dim, out.data()), 0);
}

}  // namespace
}  // namespace sluice::compute
