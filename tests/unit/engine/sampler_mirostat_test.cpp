// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine/sampler.h"
#include "sampler_reference.h"

namespace sluice::engine {
namespace {

// Zipf's law with exponent 1.1, in an order that has nothing to do with the tokens.
std::vector<float> zipf(size_t vocabulary) {
  std::vector<float> logits(vocabulary);
  for (size_t i = 0; i < vocabulary; ++i) {
    logits[i * 7919 % vocabulary] = -1.1f * std::log(static_cast<float>(i + 1));
  }
  return logits;
}

SamplingParams mirostat(int version, float tau) {
  SamplingParams params;
  params.seed = 11;
  params.temperature = 1.0f;
  params.mirostat = version;
  params.mirostat_tau = tau;
  return params;
}

// The mean surprise in bits of what is drawn, once mu has settled.
double mean_surprise(Sampler& sampler, const std::vector<float>& logits) {
  constexpr int kSettle = 300;
  constexpr int kCount = 1500;
  double sum = 0.0;
  for (int i = 0; i < kSettle + kCount; ++i) {
    std::vector<float> given = logits;
    const int32_t token = sampler.sample(given);
    if (i < kSettle) continue;
    for (const Candidate& c : sampler.candidates()) {
      if (c.token == token) sum -= std::log2(c.probability);
    }
  }
  return sum / kCount;
}

TEST(Mirostat, SurpriseSettlesAtTau) {
  const std::vector<float> logits = zipf(5003);
  for (const int version : {1, 2}) {
    for (const float tau : {2.0f, 4.0f, 6.0f}) {
      Sampler sampler(mirostat(version, tau), 5003, reference::no_piece, {}, {});
      EXPECT_NEAR(mean_surprise(sampler, logits), tau, 0.15) << "version " << version;
    }
  }
}

// The first step of version 2 by hand: mu is 2 tau, what is more surprising goes.
TEST(Mirostat, Version2CutsAtMu) {
  const std::vector<float> logits = zipf(1009);
  const auto all = reference::chain(SamplingParams{.temperature = 1.0f, .sequence = ""}, logits, {},
                                    {}, reference::no_piece);
  size_t expected = 0;
  while (-std::log2(all[expected].p) <= 2 * 3.3) ++expected;
  Sampler sampler(mirostat(2, 3.3f), 1009, reference::no_piece, {}, {});
  std::vector<float> given = logits;
  sampler.sample(given);
  EXPECT_EQ(sampler.candidates().size(), expected);
  EXPECT_EQ(sampler.candidates()[0].token, all[0].token);
}

// The first step of version 1: for exact Zipf logits the estimated exponent is the exponent.
TEST(Mirostat, Version1EstimatesTheCount) {
  const std::vector<float> logits = zipf(1009);
  const double s = 1.1;
  const double epsilon = s - 1;
  const double count = std::pow(epsilon * std::exp2(6.0) / (1 - std::pow(1009.0, -epsilon)), 1 / s);
  Sampler sampler(mirostat(1, 3.0f), 1009, reference::no_piece, {}, {});
  std::vector<float> given = logits;
  sampler.sample(given);
  EXPECT_NEAR(static_cast<double>(sampler.candidates().size()), std::floor(count), 1.0);
}

TEST(Mirostat, TakesTheChainsPlaceExceptTemperature) {
  const std::vector<float> logits = zipf(1009);
  for (const int version : {1, 2}) {
    SamplingParams plain = mirostat(version, 5.0f);
    SamplingParams rest = plain;
    rest.top_k = 1;
    rest.repeat_penalty = 5.0f;
    rest.dry_multiplier = 5.0f;
    rest.sequence = "kedpm";
    Sampler a(plain, 1009, reference::no_piece, {}, {});
    Sampler b(rest, 1009, reference::no_piece, {}, {});
    SamplingParams hot = plain;
    hot.temperature = 3.0f;
    Sampler c(hot, 1009, reference::no_piece, {}, {});
    SamplingParams cold = plain;
    cold.temperature = 0.0f;
    Sampler d(cold, 1009, reference::no_piece, {}, {});
    bool differs = false;
    for (int i = 0; i < 50; ++i) {
      const auto next = [&](Sampler& sampler) {
        std::vector<float> given = logits;
        const int32_t token = sampler.sample(given);
        sampler.accept(token);
        return token;
      };
      const int32_t token = next(a);
      EXPECT_EQ(token, next(b));
      differs = differs || token != next(c);
      EXPECT_EQ(next(d), 0);
    }
    EXPECT_TRUE(differs);
  }
}

TEST(Mirostat, ExtremeDistributionsAndTargets) {
  std::vector<float> one(300, -50.0f);
  one[17] = 50.0f;
  const std::vector<float> equal(300, 1.0f);
  for (const int version : {1, 2}) {
    for (const float tau : {0.0f, 5.0f, 100.0f}) {
      SamplingParams params = mirostat(version, tau);
      params.mirostat_eta = 1.0f;
      Sampler sampler(params, 300, reference::no_piece, {}, {});
      for (int i = 0; i < 500; ++i) {
        std::vector<float> given = i % 3 == 0 ? equal : one;
        const int32_t token = sampler.sample(given);
        if (i % 3 != 0) {
          EXPECT_EQ(token, 17);
        }
        ASSERT_FALSE(sampler.candidates().empty());
      }
    }
  }
}

}  // namespace
}  // namespace sluice::engine
