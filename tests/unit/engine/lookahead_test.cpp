// SPDX-License-Identifier: Apache-2.0
// Guessing ahead changes how fast a text comes, and nothing else.
#include "engine/lookahead.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/generate.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::bytes_as_tokens;
using test::drafting_model;
using test::scripted_drafting_model;
using test::TinyEngine;
using Tokens = std::vector<int32_t>;

constexpr std::string_view kScript = "The quickly~";

Sampler sampler_of(TinyEngine& engine, const SamplingParams& params) {
  auto sampler = engine->make_sampler(params);
  if (!sampler) throw std::runtime_error(sampler.error().message);
  return std::move(*sampler);
}

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

struct Answer {
  GenerateResult result;
  Tokens tokens;  // what the session holds afterwards
};

Answer answer(Session& session, Sampler& sampler, const Tokens& prompt, GenerateOptions options,
              DraftPolicy* drafts) {
  options.drafts = drafts;
  auto result = generate(session, sampler, prompt, options, nullptr);
  if (!result) throw std::runtime_error(result.error().message);
  return {std::move(*result), {session.tokens().begin(), session.tokens().end()}};
}

void expect_same(const Answer& a, const Answer& b) {
  EXPECT_EQ(a.result.text, b.result.text);
  EXPECT_EQ(a.result.reason, b.result.reason);
  EXPECT_EQ(a.result.generated_tokens, b.result.generated_tokens);
  EXPECT_EQ(a.result.reused_tokens, b.result.reused_tokens);
  EXPECT_EQ(a.tokens, b.tokens);
}

// A policy whose guesses cost nothing, so that it wants as many as there may be.
DraftPolicy eager(int64_t most) {
  return DraftPolicy(most, [] { return 0.0; });
}

TEST(Lookahead, RightGuessesAreTakenWithoutAnotherPass) {
  TinyEngine engine(scripted_drafting_model(kScript));
  for (const int64_t most : {1, 2, 3, 7}) {
    Session session = engine.session();
    Sampler sampler = engine.greedy();
    DraftPolicy policy = eager(most);
    int64_t most_right = 0;
    for (int i = 0; i < 10; ++i) {  // at first every number of guesses is tried
      session.truncate(0);
      const Answer got = answer(session, sampler, bytes_as_tokens("T"), {}, &policy);
      EXPECT_EQ(got.result.text, "he quickly~");
      EXPECT_EQ(got.result.reason, FinishReason::kEndOfGeneration);
      // Only behind the end there may be wrong ones.
      EXPECT_LE(got.result.guessed_tokens - got.result.right_guesses, most) << most;
      most_right = std::max(most_right, got.result.right_guesses);
    }
    // 11 letters are read, of each `most` + 1 all but one without a pass of their own.
    EXPECT_EQ(most_right, 11 - (11 + most) / (most + 1)) << most;
    EXPECT_EQ(session.length(), 12);
  }
}

TEST(Lookahead, WrongGuessesAreLeftOut) {
  TinyEngine engine(scripted_drafting_model(kScript, "hic"));
  TinyEngine plain(scripted_drafting_model(kScript, "hic"));
  for (const int64_t most : {1, 2, 3, 7}) {
    Session session = engine.session(), expected = plain.session();
    Sampler sampler = engine.greedy(), other = plain.greedy();
    DraftPolicy policy = eager(most);
    const Answer got = answer(session, sampler, bytes_as_tokens("T"), {}, &policy);
    EXPECT_GT(got.result.guessed_tokens, got.result.right_guesses);
    EXPECT_GT(got.result.right_guesses, 0);
    expect_same(got, answer(expected, other, bytes_as_tokens("T"), {}, nullptr));
  }
}

// Random weights, so that nearly every guess is wrong; with penalties and a chain of samplers.
TEST(Lookahead, TheSameTextForAnySampling) {
  std::vector<SamplingParams> ways(4);
  ways[0].temperature = 0;
  ways[1].temperature = 0.3f;
  ways[2].temperature = 1.5f;
  ways[2].top_k = 0;
  ways[3].repeat_penalty = 1.3f;
  ways[3].mirostat = 2;
  TinyEngine engine(drafting_model());
  const Tokens prompt = bytes_as_tokens("What is it?");
  for (SamplingParams& params : ways)
    for (const uint64_t seed : {1, 2, 3}) {
      params.seed = seed;
      params.ignore_eos = true;
      GenerateOptions options;
      options.max_tokens = 60;
      Session expected_session = engine.session();
      Sampler expected_sampler = sampler_of(engine, params);
      const Answer expected = answer(expected_session, expected_sampler, prompt, options, nullptr);
      EXPECT_EQ(expected.result.guessed_tokens, 0);
      for (const int64_t most : {1, 3, 7}) {
        Session session = engine.session();
        Sampler sampler = sampler_of(engine, params);
        DraftPolicy policy = eager(most);
        const Answer got = answer(session, sampler, prompt, options, &policy);
        EXPECT_GT(got.result.guessed_tokens, 0);
        expect_same(got, expected);
        // The session goes on as if nothing had been guessed.
        Tokens more = got.tokens;
        for (const int32_t token : prompt) more.push_back(token);
        Session other = engine.session();
        ASSERT_TRUE(other.feed(more));
        ASSERT_TRUE(session.reuse(more));
        EXPECT_TRUE(std::ranges::equal(session.logits(), other.logits()));
      }
    }
}

TEST(Lookahead, LimitsAreKept) {
  for (const int64_t context : {4, 7, 12, 128}) {
    EngineOptions engine_options;
    engine_options.context = context;
    TinyEngine engine(scripted_drafting_model(kScript, "i"), engine_options);
    for (const int64_t most_tokens : {0, 1, 2, 5, 11, 12, 100})
      for (const std::vector<std::string>& stop :
           {std::vector<std::string>{}, {"qu"}, {"uic"}, {"zz"}}) {
        SCOPED_TRACE(testing::Message() << context << " " << most_tokens);
        GenerateOptions options;
        options.max_tokens = most_tokens;
        options.stop = stop;
        Session session = engine.session(), expected = engine.session();
        Sampler sampler = engine.greedy();
        DraftPolicy policy = eager(3);
        const Answer got = answer(session, sampler, bytes_as_tokens("Th"), options, &policy);
        expect_same(got, answer(expected, sampler, bytes_as_tokens("Th"), options, nullptr));
      }
  }
}

// Turns, another answer to the last message, an earlier one changed: with checkpoints and without.
TEST(Lookahead, Conversations) {
  TinyEngine engine(drafting_model());
  for (const bool keep : {false, true}) {
    Session session = engine.session(), expected = engine.session();
    for (Session* s : {&session, &expected})
      if (keep) s->keep_checkpoints({8, uint64_t{1} << 30, 4});
    SamplingParams params = greedy();
    params.ignore_eos = true;
    Sampler sampler = sampler_of(engine, params);
    DraftPolicy policy = eager(3);
    GenerateOptions options;
    options.max_tokens = 15;
    Tokens prompt = bytes_as_tokens("first message");
    for (int turn = 0; turn < 3; ++turn) {
      const Answer got = answer(session, sampler, prompt, options, &policy);
      expect_same(got, answer(expected, sampler, prompt, options, nullptr));
      const Answer again = answer(session, sampler, prompt, options, &policy);
      EXPECT_EQ(again.result.text, got.result.text);
      answer(expected, sampler, prompt, options, nullptr);
      prompt = again.tokens;
      for (const int32_t token : bytes_as_tokens("more")) prompt.push_back(token);
    }
    prompt.resize(20);
    const Answer got = answer(session, sampler, prompt, options, &policy);
    EXPECT_EQ(got.result.text, answer(expected, sampler, prompt, options, nullptr).result.text);
  }
}

// Guesses that take longer than what they save are not made any more.
TEST(Lookahead, IsOffWhereItDoesNotPay) {
  TinyEngine engine(drafting_model());
  double time = 0;
  DraftPolicy policy(3, [&] { return time += 1; });  // every look at the clock is a second
  Session session = engine.session();
  SamplingParams params;
  params.seed = 1;
  params.ignore_eos = true;
  Sampler sampler = sampler_of(engine, params);
  GenerateOptions options;
  options.max_tokens = 100;
  // A step with guesses looks twice as often.
  const Answer got = answer(session, sampler, bytes_as_tokens("W"), options, &policy);
  EXPECT_EQ(got.result.generated_tokens, 100);
  EXPECT_LT(got.result.guessed_tokens, 60);
}

TEST(Lookahead, ModelsThatCannotGuess) {
  TinyEngine engine(test::tiny_model(1, "qwen3next"));
  Session session = engine.session();
  Sampler sampler = engine.greedy();
  DraftPolicy policy = eager(3);
  GenerateOptions options;
  options.max_tokens = 10;
  EXPECT_EQ(answer(session, sampler, bytes_as_tokens("W"), options, &policy).result.guessed_tokens,
            0);
}

}  // namespace
}  // namespace sluice::engine
