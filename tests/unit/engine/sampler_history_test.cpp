// SPDX-License-Identifier: Apache-2.0
// Penalties and DRY: what of the history counts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "sampler_reference.h"

namespace sluice::engine {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

// Token i is the byte i; the penalties of a text, by byte.
class History : public ::testing::Test {
 protected:
  History() {
    params_.seed = 1;
    params_.temperature = 1.0f;
    params_.dry_base = 2.0f;
  }

  std::map<char, float> penalties(std::string_view text, float logit = 0.0f) {
    const Status valid = validate(params_, kVocabulary);
    EXPECT_TRUE(valid) << valid.error().message;
    Sampler sampler(params_, kVocabulary, byte_of, {}, {});
    for (const char c : text) sampler.accept(c);
    std::vector<float> logits(kVocabulary, logit);
    sampler.sample(logits);
    std::map<char, float> changed;
    for (const Candidate& c : sampler.candidates()) {
      if (c.logit != logit) changed[static_cast<char>(c.token)] = logit - c.logit;
    }
    return changed;
  }

  static std::string_view byte_of(int32_t token) {
    static const std::string kBytes = [] {
      std::string bytes;
      for (int i = 0; i < kVocabulary; ++i) bytes += static_cast<char>(i);
      return bytes;
    }();
    return std::string_view(kBytes).substr(static_cast<size_t>(token), 1);
  }

  static constexpr int64_t kVocabulary = 128;
  SamplingParams params_;
};

class Penalties : public History {
 protected:
  Penalties() { params_.sequence = "e"; }
};

class Dry : public History {
 protected:
  Dry() {
    params_.sequence = "d";
    params_.dry_multiplier = 1.0f;
  }
};

TEST_F(Penalties, FrequencyAndPresence) {
  params_.frequency_penalty = 0.5f;
  params_.presence_penalty = 2.0f;
  EXPECT_THAT(penalties("abca"),
              UnorderedElementsAre(Pair('a', 3.0f), Pair('b', 2.5f), Pair('c', 2.5f)));
  EXPECT_THAT(penalties(""), IsEmpty());
}

TEST_F(Penalties, RepeatShrinksPositiveAndGrowsNegative) {
  params_.repeat_penalty = 2.0f;
  EXPECT_THAT(penalties("aab", 4.0f), UnorderedElementsAre(Pair('a', 2.0f), Pair('b', 2.0f)));
  EXPECT_THAT(penalties("aab", -4.0f), UnorderedElementsAre(Pair('a', 4.0f), Pair('b', 4.0f)));
}

TEST_F(Penalties, WindowCountsTheLastTokens) {
  params_.frequency_penalty = 1.0f;
  params_.repeat_last_n = 3;
  EXPECT_THAT(penalties("aaab"), UnorderedElementsAre(Pair('a', 2.0f), Pair('b', 1.0f)));
  EXPECT_THAT(penalties("aaabcd"),
              UnorderedElementsAre(Pair('b', 1.0f), Pair('c', 1.0f), Pair('d', 1.0f)));
  params_.repeat_last_n = 1;
  EXPECT_THAT(penalties("abcabc"), UnorderedElementsAre(Pair('c', 1.0f)));
  params_.repeat_last_n = 0;
  EXPECT_THAT(penalties("abc"), IsEmpty());
  const std::string text = "a" + std::string(1000, 'b');
  params_.repeat_last_n = 64;
  EXPECT_THAT(penalties(text), UnorderedElementsAre(Pair('b', 64.0f)));
  params_.repeat_last_n = -1;
  EXPECT_THAT(penalties(text), UnorderedElementsAre(Pair('a', 1.0f), Pair('b', 1000.0f)));
  params_.repeat_last_n = std::numeric_limits<int>::max();
  EXPECT_THAT(penalties(text), UnorderedElementsAre(Pair('a', 1.0f), Pair('b', 1000.0f)));
}

TEST_F(Dry, PenaltyGrowsWithTheRepeatedPassage) {
  EXPECT_THAT(penalties("abcXab"), UnorderedElementsAre(Pair('c', 1.0f)));
  EXPECT_THAT(penalties("abcdXabc"), UnorderedElementsAre(Pair('d', 2.0f)));
  EXPECT_THAT(penalties("abcdeXabcd"), UnorderedElementsAre(Pair('e', 4.0f)));
  params_.dry_multiplier = 0.5f;
  params_.dry_base = 3.0f;
  EXPECT_THAT(penalties("abcdeXabcd"), UnorderedElementsAre(Pair('e', 4.5f)));
}

TEST_F(Dry, ShortPassagesGoFree) {
  EXPECT_THAT(penalties("abXa"), IsEmpty());
  EXPECT_THAT(penalties("abcd"), IsEmpty());
  EXPECT_THAT(penalties(""), IsEmpty());
  EXPECT_THAT(penalties("ab"), IsEmpty());
  params_.dry_allowed_length = 1;
  EXPECT_THAT(penalties("abXa"), UnorderedElementsAre(Pair('b', 1.0f)));
  params_.dry_allowed_length = 4;
  EXPECT_THAT(penalties("abcdXabc"), IsEmpty());
}

TEST_F(Dry, EveryContinuationByItsLongestPassage) {
  EXPECT_THAT(penalties("abcX bcY bcX abc"),
              UnorderedElementsAre(Pair('X', 2.0f), Pair('Y', 1.0f)));
  EXPECT_THAT(penalties("aaaaa"), UnorderedElementsAre(Pair('a', 4.0f))) << "overlapping itself";
}

TEST_F(Dry, BreakersEndThePassage) {
  EXPECT_THAT(penalties("a:bcdXa:bc"), UnorderedElementsAre(Pair('d', 1.0f)));
  EXPECT_THAT(penalties("ab:cXab:"), IsEmpty()) << "nothing repeated since the breaker";
  EXPECT_THAT(penalties("ab:cdXab:c"), IsEmpty()) << "one token is not enough";
  params_.dry_sequence_breakers = {};
  EXPECT_THAT(penalties("ab:cXab:"), UnorderedElementsAre(Pair('c', 2.0f)));
}

TEST_F(Dry, BreakersThemselvesAreNeverPenalised) {
  EXPECT_THAT(penalties("abc\nXabc"), IsEmpty());
  params_.dry_sequence_breakers = {};
  EXPECT_THAT(penalties("abc\nXabc"), UnorderedElementsAre(Pair('\n', 2.0f)));
}

TEST_F(Dry, BreakersOverSeveralTokens) {
  params_.dry_sequence_breakers = {"<->", "--"};
  EXPECT_THAT(penalties("a<->bcdXa<->bc"), UnorderedElementsAre(Pair('d', 1.0f)));
  EXPECT_THAT(penalties("a<-bcdXa<-bc"), UnorderedElementsAre(Pair('d', 8.0f)));
  EXPECT_THAT(penalties("a<--cdXa<--c"), IsEmpty());
}

TEST_F(Dry, Window) {
  params_.dry_penalty_last_n = 6;
  EXPECT_THAT(penalties("abcXab"), UnorderedElementsAre(Pair('c', 1.0f)));
  params_.dry_penalty_last_n = 5;
  EXPECT_THAT(penalties("abcXab"), IsEmpty());
  params_.dry_penalty_last_n = 0;
  EXPECT_THAT(penalties("abcXab"), IsEmpty());
  const std::string far = "abc" + std::string(500, 'X') + "ab";
  params_.dry_penalty_last_n = 64;
  EXPECT_THAT(penalties(far), IsEmpty());
  params_.dry_penalty_last_n = -1;
  EXPECT_THAT(penalties(far), UnorderedElementsAre(Pair('c', 1.0f)));
}

TEST_F(Dry, OffValues) {
  params_.dry_base = 0.5f;
  EXPECT_THAT(penalties("abcXab"), IsEmpty());
  params_.dry_base = 2.0f;
  params_.dry_multiplier = 0.0f;
  EXPECT_THAT(penalties("abcXab"), IsEmpty());
}

TEST_F(Dry, HugePenaltyIsNoBan) {
  params_.dry_penalty_last_n = -1;
  params_.sequence = "dt";
  std::vector<float> logits(kVocabulary, -std::numeric_limits<float>::infinity());
  logits['a'] = 1.0f;
  Sampler sampler(params_, kVocabulary, byte_of, {}, {});
  for (int i = 0; i < 5000; ++i) sampler.accept('a');
  EXPECT_EQ(sampler.sample(logits), 'a') << "the only one there is";
}

// A text that makes naive matching quadratic: 200 000 tokens of one kind.
TEST_F(Dry, LinearTime) {
  params_.dry_penalty_last_n = -1;
  Sampler sampler(params_, kVocabulary, byte_of, {}, {});
  for (int i = 0; i < 200000; ++i) sampler.accept('a');
  std::vector<float> logits(kVocabulary, 0.0f);
  const auto start = std::chrono::steady_clock::now();
  sampler.sample(logits);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

}  // namespace
}  // namespace sluice::engine
