// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "fixture.h"

namespace sluice::compute {
namespace {

using quant::Type;

struct Choice {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

class RouteTest : public testing::Test {
 protected:
  Choice route(const std::vector<float>& x, int64_t rows, const Weight& router, int64_t k) {
    Choice choice;
    choice.ids.resize(static_cast<size_t>(rows * k), -1);
    choice.weights.resize(choice.ids.size(), -1);
    EXPECT_EQ(backend_->route(backend_.get(), x.data(), rows, router.matrix.cols, &router.matrix, k,
                              choice.ids.data(), choice.weights.data()),
              0);
    return choice;
  }

  // Softmax over all experts, the k largest, renormalised; in double.
  void expect_like_softmax(const std::vector<float>& x, int64_t rows, const Weight& router,
                           int64_t k) {
    const Choice choice = route(x, rows, router, k);
    for (int64_t r = 0; r < rows; ++r) {
      const auto logits = exact_product(router, row(x, r, router.matrix.cols));
      std::vector<int32_t> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
      });
      double total = 0;
      for (const double logit : logits) total += std::exp(logit);
      double chosen = 0;
      for (int64_t i = 0; i < k; ++i)
        chosen += std::exp(logits[static_cast<size_t>(order[static_cast<size_t>(i)])]) / total;
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        const int32_t id = order[static_cast<size_t>(i)];
        EXPECT_EQ(row(choice.ids, r, k)[static_cast<size_t>(i)], id) << "row " << r;
        const double p = std::exp(logits[static_cast<size_t>(id)]) / total / chosen;
        EXPECT_NEAR(row(choice.weights, r, k)[static_cast<size_t>(i)], p, 1e-5);
        sum += row(choice.weights, r, k)[static_cast<size_t>(i)];
      }
      EXPECT_NEAR(sum, 1, 1e-6);
    }
  }

  Backend backend_ = open_cpu();
  std::mt19937 random_{4};
};

TEST_F(RouteTest, ChoosesTheMostProbable) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
    const Weight router = random_weight(type, 128, 96, random_);
    for (const int64_t rows : {1, 2, 33})
      expect_like_softmax(random_floats(static_cast<size_t>(rows * 96), random_, 2), rows, router,
                          8);
  }
}

// A quantised router meets the activations as they are, not rounded to 8 bits.
TEST_F(RouteTest, QuantisedRouter) {
  for (const Type type : {Type::kQ8_0, Type::kQ4_K, Type::kQ6_K}) {
    const Weight router = random_weight(type, 40, 256, random_);
    expect_like_softmax(random_floats(9 * 256, random_, 2), 9, router, 6);
  }
}

TEST_F(RouteTest, OneAndAll) {
  const Weight router = random_weight(Type::kF32, 17, 32, random_);
  const auto x = random_floats(5 * 32, random_);
  expect_like_softmax(x, 5, router, 1);
  expect_like_softmax(x, 5, router, 17);
}

TEST_F(RouteTest, TiesGoToTheLowerId) {
  // Experts 1, 4 and 6 share one row, and are the best; 0, 2 and 3 share the second best.
  Weight router = random_weight(Type::kF32, 7, 32, random_);
  const auto x = random_floats(32, random_);
  float best[32], second[32], other[32];
  for (int i = 0; i < 32; ++i) {
    best[i] = x[static_cast<size_t>(i)];
    second[i] = best[i] / 2;
    other[i] = -best[i];
  }
  uint8_t* rows = router.blocks();
  for (const int e : {1, 4, 6}) std::memcpy(rows + e * sizeof(best), best, sizeof(best));
  for (const int e : {0, 2, 3}) std::memcpy(rows + e * sizeof(best), second, sizeof(second));
  std::memcpy(rows + 5 * sizeof(best), other, sizeof(other));
  EXPECT_EQ(route(x, 1, router, 2).ids, (std::vector<int32_t>{1, 4}));
  EXPECT_EQ(route(x, 1, router, 5).ids, (std::vector<int32_t>{1, 4, 6, 0, 2}));
  EXPECT_EQ(route(x, 1, router, 7).ids, (std::vector<int32_t>{1, 4, 6, 0, 2, 3, 5}));
  const Choice two = route(x, 1, router, 2);
  EXPECT_EQ(two.weights[0], 0.5f);
  EXPECT_EQ(two.weights[1], 0.5f);
}

TEST_F(RouteTest, EqualLogitsGiveThePlainAverage) {
  Weight router = random_weight(Type::kF32, 6, 32, random_);
  std::fill(router.bytes->begin(), router.bytes->end(), uint8_t{0});
  const Choice choice = route(random_floats(2 * 32, random_), 2, router, 6);
  EXPECT_EQ(choice.ids, (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}));
  for (const float weight : choice.weights) EXPECT_NEAR(weight, 1.0 / 6, 1e-7);
}

TEST_F(RouteTest, LargeLogitsDoNotOverflow) {
  const Weight router = random_weight(Type::kF32, 12, 32, random_);
  const Choice choice = route(random_floats(32, random_, 1e6f), 1, router, 4);
  EXPECT_EQ(choice.weights[0], 1);
  for (const float weight : choice.weights) EXPECT_TRUE(std::isfinite(weight));
}

}  // namespace
}  // namespace sluice::compute
