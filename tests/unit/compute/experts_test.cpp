// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../quant/random_blocks.h"
#include "fixture.h"

namespace sluice::compute {
namespace {

using quant::Type;

struct Expert {
  Weight gate, up, down;
  std::vector<int32_t> rows;
  std::vector<float> weights;

  sluice_expert view() const {
    return {gate.matrix, up.matrix,      down.matrix,
            rows.data(), weights.data(), static_cast<int32_t>(rows.size())};
  }
};

double silu(double z) {
  return z / (1 + std::exp(-z));
}

class ExpertsTest : public testing::Test {
 protected:
  Expert expert(std::array<Type, 3> types, int64_t dim, int64_t hidden, std::vector<int32_t> rows) {
    Expert e{random_weight(types[0], hidden, dim, random_),
             random_weight(types[1], hidden, dim, random_),
             random_weight(types[2], dim, hidden, random_),
             std::move(rows),
             {}};
    e.weights = random_floats(e.rows.size(), random_);
    return e;
  }

  // g++ 12 miscompiles a braced list of these at -O3.
  static std::vector<Expert> only(Expert e) {
    std::vector<Expert> one;
    one.push_back(std::move(e));
    return one;
  }

  std::vector<float> run(const std::vector<Expert>& experts, const std::vector<float>& x,
                         int64_t rows, int64_t dim, std::vector<float> out) {
    std::vector<sluice_expert> views;
    for (const Expert& e : experts) views.push_back(e.view());
    EXPECT_EQ(backend_->experts(backend_.get(), x.data(), rows, dim, views.data(),
                                static_cast<int32_t>(views.size()), out.data()),
              0);
    return out;
  }

  static std::vector<double> exact(const std::vector<Expert>& experts, const std::vector<float>& x,
                                   int64_t dim, const std::vector<float>& out) {
    std::vector<double> sum(out.begin(), out.end());
    for (const Expert& e : experts)
      for (size_t i = 0; i < e.rows.size(); ++i) {
        const auto input = row(x, e.rows[i], dim);
        const auto gate = exact_product(e.gate, input);
        const auto up = exact_product(e.up, input);
        std::vector<float> hidden;
        for (size_t h = 0; h < gate.size(); ++h)
          hidden.push_back(static_cast<float>(silu(gate[h]) * up[h]));
        const auto y = exact_product(e.down, hidden);
        for (int64_t d = 0; d < dim; ++d)
          sum[static_cast<size_t>(e.rows[i] * dim + d)] +=
              double{e.weights[i]} * y[static_cast<size_t>(d)];
      }
    return sum;
  }

  // Relative error of what was added to a random `out`.
  void expect_close(const std::vector<Expert>& experts, int64_t rows, int64_t dim, double bound) {
    const auto x = random_floats(static_cast<size_t>(rows * dim), random_);
    const std::vector<float> before = random_floats(x.size(), random_, 0.1f);
    const auto expected = exact(experts, x, dim, before);
    const auto after = run(experts, x, rows, dim, before);
    EXPECT_LE(relative_error(after, expected), bound);
  }

  Backend backend_ = open_cpu();
  std::mt19937 random_{5};
};

constexpr double kFloat = 2e-6;    // float sums only
constexpr double kRounded = 0.02;  // two roundings of activations to 8 bits

TEST_F(ExpertsTest, OneExpertOfEveryTypeWithAnEncoder) {
  for (const quant::Traits* traits : quant::all_formats()) {
    if (!traits->encode) continue;
    SCOPED_TRACE(traits->name);
    const Type t = traits->type;
    expect_close(only(expert({t, t, t}, 256, 256, {0, 1, 2})), 3, 256,
                 traits->is_float ? kFloat : kRounded);
  }
}

TEST_F(ExpertsTest, PartsOfDifferentTypes) {
  for (const auto& types : {std::array{Type::kQ4_K, Type::kQ4_K, Type::kQ6_K},
                            std::array{Type::kF32, Type::kQ8_0, Type::kF16},
                            std::array{Type::kQ8_0, Type::kBF16, Type::kQ4_K},
                            std::array{Type::kF16, Type::kF32, Type::kQ5_K}})
    expect_close(only(expert(types, 256, 256, {2, 0})), 3, 256, kRounded);
}

TEST_F(ExpertsTest, SizesThatAreNoMultipleOfAChunk) {
  for (const int64_t hidden : {1, 31, 33, 70})
    for (const int64_t dim : {1, 47, 64}) {
      SCOPED_TRACE(testing::Message() << hidden << " x " << dim);
      const Type t = Type::kF32;
      expect_close(only(expert({t, t, t}, dim, hidden, {1, 0})), 2, dim, kFloat);
    }
  const Type q = Type::kQ8_0;
  expect_close(only(expert({q, q, q}, 96, 160, {0, 1})), 2, 96, kRounded);
}

// Rows that several experts share, experts with runs, gaps and any order of rows.
TEST_F(ExpertsTest, ExpertsShareRows) {
  for (const Type t : {Type::kF32, Type::kQ8_0}) {
    std::vector<Expert> experts;
    for (const auto& rows : std::vector<std::vector<int32_t>>{
             {0, 1, 2, 3}, {4, 3, 2}, {0}, {5, 1, 2, 4}, {}, {3, 0, 5}})
      experts.push_back(expert({t, t, t}, 64, 96, rows));
    expect_close(experts, 6, 64, t == Type::kF32 ? kFloat : kRounded);
  }
}

TEST_F(ExpertsTest, MoreRowsThanOnePass) {
  std::vector<int32_t> rows;
  for (int32_t r = 0; r < 50; ++r) rows.push_back(r);
  std::vector<Expert> experts = {expert({Type::kF16, Type::kF16, Type::kF16}, 64, 64, rows)};
  std::shuffle(rows.begin(), rows.end(), random_);
  rows.resize(21);
  experts.push_back(expert({Type::kF16, Type::kF16, Type::kF16}, 64, 64, rows));
  expect_close(experts, 50, 64, kFloat);
}

TEST_F(ExpertsTest, RowsThatNobodyChoseAreUntouched) {
  const auto x = random_floats(4 * 64, random_);
  const auto before = random_floats(4 * 64, random_);
  const Type t = Type::kQ8_0;
  const auto after =
      run({expert({t, t, t}, 64, 64, {2}), expert({t, t, t}, 64, 64, {})}, x, 4, 64, before);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i] == before[i], i / 64 != 2) << i;
}

TEST_F(ExpertsTest, NoExpertsAddNothing) {
  const auto x = random_floats(64, random_);
  EXPECT_EQ(run({}, x, 1, 64, x), x);
  const Type t = Type::kQ8_0;
  EXPECT_EQ(run({expert({t, t, t}, 64, 64, {})}, x, 1, 64, x), x);
}

TEST_F(ExpertsTest, TheWeightScalesTheOutput) {
  const Type t = Type::kF32;
  Expert e = expert({t, t, t}, 32, 32, {0});
  const auto x = random_floats(32, random_);
  e.weights = {1};
  const auto once = run({e}, x, 1, 32, std::vector<float>(32));
  e.weights = {-4};
  const auto scaled = run({e}, x, 1, 32, std::vector<float>(32));
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(scaled[i], -4 * once[i]);
}

// The order of `experts` is the order of the float sum: one call equals calls one after another.
TEST_F(ExpertsTest, SumsInTheOrderOfExperts) {
  const Type t = Type::kF32;
  std::vector<Expert> experts;
  for (int i = 0; i < 8; ++i) experts.push_back(expert({t, t, t}, 64, 48, {0, 1, 2}));
  // Sizes that make float addition depend on its order.
  for (size_t i = 0; i < experts.size(); ++i)
    for (float& weight : experts[i].weights) weight *= std::pow(30.0f, static_cast<float>(i % 3));
  const auto x = random_floats(3 * 64, random_);
  const std::vector<float> start(3 * 64);
  std::vector<float> one_by_one = start;
  for (const Expert& e : experts) one_by_one = run({e}, x, 3, 64, one_by_one);
  EXPECT_EQ(run(experts, x, 3, 64, start), one_by_one);
  std::reverse(experts.begin(), experts.end());
  EXPECT_NE(run(experts, x, 3, 64, start), one_by_one);
}

// silu of very negative values is -0, of very large ones the value itself: no NaN from inf / inf.
TEST_F(ExpertsTest, ExtremeGatesStayFinite) {
  const Type t = Type::kF32;
  Expert e = expert({t, t, t}, 1, 2, {0});
  const float gate[] = {-1, 1}, up[] = {1, 1}, down[] = {1, 1};
  std::memcpy(e.gate.blocks(), gate, sizeof(gate));
  std::memcpy(e.up.blocks(), up, sizeof(up));
  std::memcpy(e.down.blocks(), down, sizeof(down));
  e.weights = {1};
  for (const float x : {1e3f, 1e10f, -1e10f}) {
    const auto out = run({e}, {x}, 1, 1, {0});
    EXPECT_FLOAT_EQ(out[0], std::abs(x) * x) << x;
  }
}

}  // namespace
}  // namespace sluice::compute
