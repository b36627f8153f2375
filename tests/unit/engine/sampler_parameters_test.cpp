// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "engine/sampler.h"

namespace sluice::engine {
namespace {

using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Change = std::function<void(SamplingParams&)>;

void expect_refused(const char* name, const char* range, const Change& change) {
  SamplingParams params;
  change(params);
  const Status status = validate(params, 100);
  ASSERT_FALSE(status) << name;
  EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(status.error().message, HasSubstr(name));
  EXPECT_THAT(status.error().message, HasSubstr(range));
}

void expect_accepted(const Change& change) {
  SamplingParams params;
  change(params);
  const Status status = validate(params, 100);
  EXPECT_TRUE(status) << status.error().message;
}

TEST(SamplingParameters, DefaultsAreValid) {
  expect_accepted([](SamplingParams&) {});
}

TEST(SamplingParameters, RangesOfNumbers) {
  struct Number {
    const char* name;
    float SamplingParams::*field;
    float low, high;
    const char* range;
  };
  const Number numbers[] = {
      {"temperature", &SamplingParams::temperature, -1e30f, 1e30f, "finite"},
      {"dynatemp_range", &SamplingParams::dynatemp_range, 0, 1e30f, "at least 0"},
      {"dynatemp_exponent", &SamplingParams::dynatemp_exponent, 0, 1e30f, "at least 0"},
      {"top_p", &SamplingParams::top_p, 0, 1, "between 0 and 1"},
      {"min_p", &SamplingParams::min_p, 0, 1, "between 0 and 1"},
      {"typical_p", &SamplingParams::typical_p, 0, 1, "between 0 and 1"},
      {"top_n_sigma", &SamplingParams::top_n_sigma, -1e30f, 1e30f, "finite"},
      {"xtc_probability", &SamplingParams::xtc_probability, 0, 1, "between 0 and 1"},
      {"xtc_threshold", &SamplingParams::xtc_threshold, 0, 1, "between 0 and 1"},
      {"repeat_penalty", &SamplingParams::repeat_penalty, 1e-6f, 1e30f, "at least 0"},
      {"presence_penalty", &SamplingParams::presence_penalty, -100, 100, "between -100 and 100"},
      {"frequency_penalty", &SamplingParams::frequency_penalty, -100, 100, "between -100 and 100"},
      {"dry_multiplier", &SamplingParams::dry_multiplier, 0, 1e30f, "at least 0"},
      {"dry_base", &SamplingParams::dry_base, 0, 1e30f, "at least 0"},
      {"mirostat_tau", &SamplingParams::mirostat_tau, 0, 100, "between 0 and 100"},
      {"mirostat_eta", &SamplingParams::mirostat_eta, 0, 1, "between 0 and 1"},
  };
  for (const Number& n : numbers) {
    for (const float good : {n.low, n.high}) {
      expect_accepted([&](SamplingParams& p) { p.*n.field = good; });
    }
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      expect_refused(n.name, "", [&](SamplingParams& p) { p.*n.field = bad; });
    }
    if (n.low > -1e30f) {
      expect_refused(n.name, n.range, [&](SamplingParams& p) { p.*n.field = n.low - 0.01f; });
    }
    if (n.high < 1e30f) {
      expect_refused(n.name, n.range, [&](SamplingParams& p) { p.*n.field = n.high + 0.01f; });
    }
  }
  expect_refused("repeat_penalty", "greater than 0", [](auto& p) { p.repeat_penalty = 0.0f; });
}

TEST(SamplingParameters, RangesOfCounts) {
  expect_refused("repeat_last_n", "at least -1", [](auto& p) { p.repeat_last_n = -2; });
  expect_refused("dry_penalty_last_n", "at least -1", [](auto& p) { p.dry_penalty_last_n = -2; });
  expect_refused("dry_allowed_length", "at least 0", [](auto& p) { p.dry_allowed_length = -1; });
  expect_refused("min_keep", "at least 0", [](auto& p) { p.min_keep = -1; });
  expect_refused("mirostat", "0 (off), 1 or 2", [](auto& p) { p.mirostat = 3; });
  expect_refused("mirostat", "0 (off), 1 or 2", [](auto& p) { p.mirostat = -1; });
  expect_accepted([](auto& p) { p.repeat_last_n = p.dry_penalty_last_n = -1; });
  expect_accepted([](auto& p) { p.top_k = std::numeric_limits<int>::min(); });
  expect_accepted([](auto& p) { p.top_k = std::numeric_limits<int>::max(); });
  SamplingParams params;
  EXPECT_FALSE(validate(params, 0));
  EXPECT_FALSE(validate(params, int64_t{1} << 40));
}

TEST(SamplingParameters, Lists) {
  expect_refused("logit_bias[1]", "between 0 and 99", [](auto& p) {
    p.logit_bias = {{0, 1.0f}, {100, 1.0f}};
  });
  expect_refused("logit_bias[0]", "between 0 and 99", [](auto& p) { p.logit_bias = {{-1, 0}}; });
  expect_refused("logit_bias[0]", "finite", [](auto& p) { p.logit_bias = {{0, kNan}}; });
  expect_refused("logit_bias[0]", "finite", [](auto& p) { p.logit_bias = {{0, kInfinity}}; });
  expect_accepted([](auto& p) { p.logit_bias = {{99, -kInfinity}, {0, 1e30f}}; });
  expect_refused("dry_sequence_breakers[0]", "between 1 and",
                 [](auto& p) { p.dry_sequence_breakers = {""}; });
  expect_refused("dry_sequence_breakers[1]", "between 1 and", [](auto& p) {
    p.dry_sequence_breakers = {"a", std::string(1000, 'a')};
  });
  expect_refused("dry_sequence_breakers", "at most",
                 [](auto& p) { p.dry_sequence_breakers.assign(1000, "a"); });
  expect_accepted([](auto& p) { p.dry_sequence_breakers = {}; });
}

TEST(SamplingParameters, SequenceLetters) {
  expect_refused("'z'", "edskypmxt", [](auto& p) { p.sequence = "kz"; });
  expect_refused("sequence", "at most", [](auto& p) { p.sequence = std::string(1000, 'k'); });
  expect_accepted([](auto& p) { p.sequence = ""; });
  expect_accepted([](auto& p) { p.sequence = "tkkt"; });
}

TEST(SamplerSequence, NamesAndLetters) {
  const auto parsed = [](std::string_view text) {
    const auto result = parse_sampler_sequence(text);
    return result ? *result : "error: " + result.error().message;
  };
  EXPECT_EQ(parsed("penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"),
            "edskypmxt");
  EXPECT_EQ(parsed("edkypmxt"), "edkypmxt");
  EXPECT_EQ(parsed("top_k"), "k");
  EXPECT_EQ(parsed(" top-k ; min-p;temp "), "kmt");
  EXPECT_EQ(parsed("temp"), "t") << "a name before letters";
  EXPECT_EQ(parsed("typical;nucleus;typical_p"), "ypy");
  EXPECT_EQ(parsed("t;"), "error: " + parse_sampler_sequence("t;").error().message);
  EXPECT_EQ(parsed(""), "");
  EXPECT_EQ(parsed(";;top_k;"), "k");
}

TEST(SamplerSequence, Errors) {
  for (const char* text : {"top_k;nonsense", "kq", "infill", "k;p", "\xff"}) {
    const auto result = parse_sampler_sequence(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(result.error().message, HasSubstr("unknown sampler"));
    EXPECT_THAT(result.error().message, HasSubstr("top_k"));
  }
  EXPECT_FALSE(parse_sampler_sequence(std::string(1000, 'k')));
}

}  // namespace
}  // namespace sluice::engine
