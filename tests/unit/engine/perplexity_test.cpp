// SPDX-License-Identifier: Apache-2.0
#include "engine/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::tiny_model;
using test::TinyEngine;
using testing::HasSubstr;

class PerplexityTest : public testing::Test {
 protected:
  PerplexityTest() {
    std::mt19937 random(9);
    for (int i = 0; i < 200; ++i) tokens_.push_back(static_cast<int32_t>(random() % 256));
  }

  // Each window read token by token in a session of its own; -log p of every token of its second
  // half, in double.
  std::vector<double> losses(int64_t window) {
    std::vector<double> out;
    for (size_t w = 0; (w + 1) * static_cast<size_t>(window) <= tokens_.size(); ++w) {
      Session session = engine_.session();
      for (int64_t i = 0; i + 1 < window; ++i) {
        const size_t at = w * static_cast<size_t>(window) + static_cast<size_t>(i);
        EXPECT_TRUE(session.feed(std::span(tokens_).subspan(at, 1)));
        if (i < window / 2) continue;
        double sum = 0;
        for (const float logit : session.logits()) sum += std::exp(double{logit});
        out.push_back(std::log(sum) - session.logits()[static_cast<size_t>(tokens_[at + 1])]);
      }
    }
    return out;
  }

  TinyEngine engine_{tiny_model()};
  Session session_ = engine_.session();
  std::vector<int32_t> tokens_;
};

TEST_F(PerplexityTest, IsTheMeanOverSecondHalves) {
  for (const int64_t window : {4, 25, 64, 99, 100}) {
    SCOPED_TRACE(window);
    const auto expected = losses(window);
    double mean = 0;
    for (const double loss : expected) mean += loss / static_cast<double>(expected.size());
    double variance = 0;
    for (const double loss : expected)
      variance += (loss - mean) * (loss - mean) / static_cast<double>(expected.size());
    std::vector<int64_t> chunks;
    const auto result =
        perplexity(session_, tokens_, window, [&](const Perplexity& p, int64_t windows) {
          chunks.push_back(p.chunks);
          EXPECT_EQ(windows, 200 / window);
          EXPECT_GT(p.value, 0);
        });
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->tokens, static_cast<int64_t>(expected.size()));
    EXPECT_EQ(result->chunks, 200 / window);
    EXPECT_EQ(chunks.size(), static_cast<size_t>(200 / window));
    EXPECT_NEAR(result->value, std::exp(mean), 1e-5 * std::exp(mean));
    const double error =
        std::exp(mean) * std::sqrt(variance / (static_cast<double>(expected.size()) - 1));
    EXPECT_NEAR(result->error, error, 1e-4 * error);
  }
}

// Windows of 4 score the one token behind the second half's first: tokens 3, 7, ...
TEST_F(PerplexityTest, ScoresTheSecondHalfOnly) {
  tokens_.resize(8);
  const auto result = perplexity(session_, tokens_, 4);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->tokens, 2);
  auto other = tokens_;
  other[1] ^= 3;  // context matters
  EXPECT_NE(perplexity(session_, other, 4)->value, result->value);
}

TEST_F(PerplexityTest, WhatTheSessionHeldBeforeDoesNotMatter) {
  const auto once = perplexity(session_, tokens_, 50);
  ASSERT_TRUE(once);
  ASSERT_TRUE(session_.feed(std::vector<int32_t>{1, 2, 3}));
  const auto again = perplexity(session_, tokens_, 50);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->value, once->value);
}

TEST_F(PerplexityTest, TooLittleTextOrUnfitWindowsAreErrors) {
  for (const int64_t window : {-1, 0, 3, 129, 1000}) {
    const auto result = perplexity(session_, tokens_, window);
    ASSERT_FALSE(result) << window;
    EXPECT_EQ(result.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(result.error().message, HasSubstr("128"));
  }
  const auto result = perplexity(session_, tokens_, 101);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(result.error().message, HasSubstr("200"));
  EXPECT_THAT(result.error().message, HasSubstr("202"));
  tokens_[150] = 100000;
  EXPECT_FALSE(perplexity(session_, tokens_, 50));
}

}  // namespace
}  // namespace sluice::engine
