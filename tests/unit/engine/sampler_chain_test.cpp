// SPDX-License-Identifier: Apache-2.0
// The chain against the plain one of sampler_reference.h: the candidates left, and their
// probabilities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "sampler_reference.h"

namespace sluice::engine {
namespace {

// Letters and a breaker, some tokens with several bytes.
std::string_view piece(int32_t token) {
  static const std::vector<std::string> kPieces = {"a", "b", "ab", "\n", "c:", "-", "->", "e"};
  return kPieces[static_cast<size_t>(token) % kPieces.size()];
}

// Runs one sample of both chains after `history`.
void expect_same(const SamplingParams& params, const std::vector<float>& logits,
                 const std::vector<int32_t>& history, const std::vector<int32_t>& banned,
                 const std::string& what) {
  SCOPED_TRACE(what);
  const auto vocabulary = static_cast<int64_t>(logits.size());
  const Status valid = validate(params, vocabulary);
  ASSERT_TRUE(valid) << valid.error().message;
  Sampler sampler(params, vocabulary, piece, banned, {});
  for (const int32_t token : history) sampler.accept(token);
  std::vector<float> given = logits;
  const int32_t token = sampler.sample(given);

  const auto expected = reference::chain(params, logits, history, banned, piece);
  const auto left = sampler.candidates();
  ASSERT_EQ(left.size(), expected.size());
  bool found = false;
  for (size_t i = 0; i < left.size(); ++i) {
    ASSERT_EQ(left[i].token, expected[i].token) << "rank " << i;
    ASSERT_NEAR(left[i].logit, expected[i].logit, 1e-4 * (1 + std::abs(expected[i].logit)));
    ASSERT_NEAR(left[i].probability, expected[i].p, 2e-5 * expected[i].p + 1e-9);
    found = found || left[i].token == token;
  }
  EXPECT_TRUE(found) << "sampled token " << token << " is no candidate";
}

SamplingParams nothing() {
  SamplingParams params;
  params.seed = 7;
  params.temperature = 1.0f;
  params.top_k = 0;
  params.top_p = 1.0f;
  params.min_p = 0.0f;
  return params;
}

// Every truncation alone, in vocabularies that take the dense, the selecting and the sorting paths.
TEST(SamplerChain, EachSamplerAlone) {
  struct Case {
    const char* name;
    void (*set)(SamplingParams&);
  };
  const Case cases[] = {
      {"nothing", [](SamplingParams&) {}},
      {"temperature 0.3", [](SamplingParams& p) { p.temperature = 0.3f; }},
      {"temperature 5", [](SamplingParams& p) { p.temperature = 5.0f; }},
      {"greedy", [](SamplingParams& p) { p.temperature = 0.0f; }},
      {"dynatemp", [](SamplingParams& p) { p.dynatemp_range = 0.7f; }},
      {"top_k 1", [](SamplingParams& p) { p.top_k = 1; }},
      {"top_k 40", [](SamplingParams& p) { p.top_k = 40; }},
      {"top_k 3000", [](SamplingParams& p) { p.top_k = 3000; }},
      {"top_p 0", [](SamplingParams& p) { p.top_p = 0.0f; }},
      {"top_p 0.5", [](SamplingParams& p) { p.top_p = 0.5f; }},
      {"top_p 0.95", [](SamplingParams& p) { p.top_p = 0.95f; }},
      {"top_p 0.999", [](SamplingParams& p) { p.top_p = 0.999f; }},
      {"min_p 0.05", [](SamplingParams& p) { p.min_p = 0.05f; }},
      {"min_p 1e-4", [](SamplingParams& p) { p.min_p = 1e-4f; }},
      {"min_p 1", [](SamplingParams& p) { p.min_p = 1.0f; }},
      {"typical 0.2", [](SamplingParams& p) { p.typical_p = 0.2f; }},
      {"typical 0.9", [](SamplingParams& p) { p.typical_p = 0.9f; }},
      {"top_n_sigma 1", [](SamplingParams& p) { p.top_n_sigma = 1.0f; }},
      {"top_n_sigma 3", [](SamplingParams& p) { p.top_n_sigma = 3.0f; }},
      {"xtc 0.1", [](SamplingParams& p) { p.xtc_probability = 1.0f; }},
      {"xtc 0.01", [](SamplingParams& p) { p.xtc_probability = 1.0f, p.xtc_threshold = 0.01f; }},
      {"xtc 0.6", [](SamplingParams& p) { p.xtc_probability = 1.0f, p.xtc_threshold = 0.6f; }},
  };
  std::mt19937_64 random(1);
  for (const size_t vocabulary : {1, 2, 7, 40, 129, 1000, 9001}) {
    const std::vector<float> logits = reference::make_logits(random, vocabulary);
    for (const Case& c : cases) {
      for (const int min_keep : {0, 3, 100}) {
        SamplingParams params = nothing();
        params.min_keep = min_keep;
        c.set(params);
        expect_same(params, logits, {}, {},
                    fmt::format("{}, vocabulary {}, min_keep {}", c.name, vocabulary, min_keep));
      }
    }
  }
}

// Peaked at the top, flat in the tail: the nucleus is larger than the part that is looked at first.
TEST(SamplerChain, LargeNucleus) {
  std::vector<float> logits(20000);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = i % 7 == 0 ? 5.0f : static_cast<float>((i * 7919) % 20011) / 20011;
  }
  for (const float p : {0.5f, 0.9f, 0.97f, 0.9999f}) {
    SamplingParams params = nothing();
    params.top_p = p;
    expect_same(params, logits, {}, {}, fmt::format("top_p {}", p));
    params = nothing();
    params.typical_p = p;
    expect_same(params, logits, {}, {}, fmt::format("typical {}", p));
  }
}

// Any samplers with any parameters in any order, also repeated.
TEST(SamplerChain, RandomChains) {
  std::mt19937_64 random(2);
  const auto uniform = [&](double low, double high) {
    return static_cast<float>(low + (high - low) * static_cast<double>(random() % 10007) / 10007);
  };
  const auto one_of = [&](std::initializer_list<double> values) {
    return static_cast<float>(*(values.begin() + random() % values.size()));
  };
  for (int round = 0; round < 600; ++round) {
    const size_t vocabulary = round % 10 == 0 ? 5000 : 2 + random() % 300;
    SamplingParams p;
    p.seed = random();
    p.temperature = one_of({0.0, 0.5, 0.8, 1.0, 1.7});
    p.dynatemp_range = one_of({0.0, 0.0, 0.4, 2.0});
    p.dynatemp_exponent = one_of({1.0, 0.5, 2.0});
    p.top_k = static_cast<int>(random() % 4 == 0 ? 0 : 1 + random() % 120);
    p.top_p = one_of({1.0, 0.95, 0.8, 0.3});
    p.min_p = one_of({0.0, 0.05, 0.3});
    p.typical_p = one_of({1.0, 1.0, 0.95, 0.5});
    p.top_n_sigma = one_of({-1.0, -1.0, 1.0, 2.5});
    p.xtc_probability = one_of({0.0, 0.0, 1.0});
    p.xtc_threshold = uniform(0.02, 0.3);
    p.repeat_last_n = static_cast<int>(one_of({-1, 0, 5, 64}));
    p.repeat_penalty = one_of({1.0, 1.2, 0.8});
    p.presence_penalty = one_of({0.0, 0.5, -0.5});
    p.frequency_penalty = one_of({0.0, 0.2});
    p.dry_multiplier = one_of({0.0, 0.8});
    p.dry_allowed_length = static_cast<int>(random() % 4);
    p.dry_penalty_last_n = static_cast<int>(one_of({-1, 0, 6, 64}));
    p.dry_sequence_breakers = {"\n", ":", "a->b", "bb"};
    p.min_keep = static_cast<int>(one_of({0, 0, 1, 5}));
    p.logit_bias = {{static_cast<int32_t>(random() % vocabulary), uniform(-9, 9)},
                    {static_cast<int32_t>(random() % vocabulary), uniform(-9, 9)}};
    std::shuffle(p.sequence.begin(), p.sequence.end(), random);
    if (round % 3 == 0) p.sequence += p.sequence.substr(0, 2);
    if (round % 5 == 0) p.sequence.resize(random() % p.sequence.size());
    std::vector<int32_t> history(random() % 120);
    for (int32_t& token : history) {
      token = static_cast<int32_t>(random() % std::min<size_t>(vocabulary, 6));
    }
    const std::vector<int32_t> banned = {static_cast<int32_t>(random() % vocabulary)};
    expect_same(p, reference::make_logits(random, vocabulary), history, banned,
                fmt::format("round {}, sequence {}", round, p.sequence));
    if (HasFatalFailure()) return;
  }
}

TEST(SamplerChain, OrderMatters) {
  // p = 0.5, 0.3, 0.2: min_p 0.5 keeps two as it is, three at temperature 2, one at temperature
  // 0.5.
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  const auto left = [&](const char* sequence, float temperature) {
    SamplingParams p = nothing();
    p.min_p = 0.5f;
    p.temperature = temperature;
    p.sequence = sequence;
    Sampler sampler(p, 3, reference::no_piece, {}, {});
    std::vector<float> given = logits;
    sampler.sample(given);
    return sampler.candidates().size();
  };
  EXPECT_EQ(left("mt", 2.0f), 2u);
  EXPECT_EQ(left("tm", 2.0f), 3u);
  EXPECT_EQ(left("mt", 0.5f), 2u);
  EXPECT_EQ(left("tm", 0.5f), 1u);
  EXPECT_EQ(left("t", 0.5f), 3u);
}

TEST(SamplerChain, TiesGoToTheLowerToken) {
  for (const size_t vocabulary : {5, 300, 30000}) {
    std::vector<float> logits(vocabulary, 1.0f);
    SamplingParams p = nothing();
    p.top_k = 3;
    Sampler sampler(p, static_cast<int64_t>(vocabulary), reference::no_piece, {0}, {});
    std::vector<float> given = logits;
    sampler.sample(given);
    const auto left = sampler.candidates();
    ASSERT_EQ(left.size(), 3u);
    for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(left[static_cast<size_t>(i)].token, i + 1);

    p.top_k = 0;
    p.temperature = 0.0f;
    Sampler greedy(p, static_cast<int64_t>(vocabulary), reference::no_piece, {0}, {});
    given = logits;
    EXPECT_EQ(greedy.sample(given), 1);
  }
}

}  // namespace
}  // namespace sluice::engine
