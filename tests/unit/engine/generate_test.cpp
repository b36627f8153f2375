// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::bytes_as_tokens;
using test::scripted_model;
using test::TestModel;
using test::tiny_model;
using test::TinyEngine;
using testing::HasSubstr;

GenerateResult run(Session& session, Sampler& sampler, const std::vector<int32_t>& prompt,
                   const GenerateOptions& options = {}, const TextSink& sink = nullptr,
                   const std::atomic<bool>* cancel = nullptr) {
  auto result = generate(session, sampler, prompt, options, sink, cancel);
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

// A model that continues each letter of this text with the next one, then ends its turn.
constexpr std::string_view kScript = "The quickly~";

class ScriptedTest : public testing::Test {
 protected:
  TinyEngine engine_{scripted_model(kScript)};
  Session session_ = engine_.session();
  Sampler sampler_ = engine_.greedy();
};

TEST_F(ScriptedTest, GeneratesUntilTheModelEndsItsTurn) {
  std::string streamed;
  const auto result =
      run(session_, sampler_, bytes_as_tokens("T"), {}, [&](auto text) { streamed += text; });
  EXPECT_EQ(result.reason, FinishReason::kEndOfGeneration);
  EXPECT_EQ(result.text, "he quickly~");
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.prompt_tokens, 1);
  EXPECT_EQ(result.reused_tokens, 0);
  EXPECT_EQ(result.generated_tokens, 12);  // the ending one counted
  EXPECT_GE(result.first_token_seconds, result.prompt_seconds);
  EXPECT_GE(result.generate_seconds, 0);
  EXPECT_EQ(session_.length(), 12);  // the prompt and 11 letters
}

TEST_F(ScriptedTest, MaximumOfTokens) {
  for (const int64_t most : {0, 1, 5, 12, 100}) {
    SCOPED_TRACE(most);
    GenerateOptions options;
    options.max_tokens = most;
    const auto result = run(session_, sampler_, bytes_as_tokens("T"), options);
    EXPECT_EQ(result.text, kScript.substr(1, static_cast<size_t>(most)));
    EXPECT_EQ(result.generated_tokens, std::min<int64_t>(most, 12));
    EXPECT_EQ(result.reason, most >= 12 ? FinishReason::kEndOfGeneration : FinishReason::kLength);
  }
}

TEST_F(ScriptedTest, StopStrings) {
  GenerateOptions options;
  options.stop = {"zzz", "ick"};
  std::string streamed;
  const auto result =
      run(session_, sampler_, bytes_as_tokens("T"), options, [&](auto text) { streamed += text; });
  EXPECT_EQ(result.reason, FinishReason::kStopString);
  EXPECT_EQ(result.text, "he qu");
  EXPECT_EQ(streamed, "he qu");
  EXPECT_EQ(result.generated_tokens, 8);
}

// What was held back for a stop string comes out when the text ends otherwise.
TEST_F(ScriptedTest, HeldBackTextComesOutAtTheEnd) {
  GenerateOptions options;
  options.stop = {"ickX", "~!"};
  options.max_tokens = 7;  // "he quic"
  auto result = run(session_, sampler_, bytes_as_tokens("T"), options);
  EXPECT_EQ(result.text, "he quic");
  EXPECT_EQ(result.reason, FinishReason::kLength);
  options.max_tokens = -1;
  result = run(session_, sampler_, bytes_as_tokens("T"), options);
  EXPECT_EQ(result.text, "he quickly~");
  EXPECT_EQ(result.reason, FinishReason::kEndOfGeneration);
}

TEST_F(ScriptedTest, ControlTokensAreShownOnRequest) {
  GenerateOptions options;
  options.show_special = true;
  EXPECT_EQ(run(session_, sampler_, bytes_as_tokens("y"), options).text, "~<|im_end|>");
  EXPECT_EQ(run(session_, sampler_, bytes_as_tokens("y")).text, "~");
}

TEST_F(ScriptedTest, CancelledBetweenTokens) {
  std::atomic<bool> cancel{false};
  std::string streamed;
  const auto result = run(
      session_, sampler_, bytes_as_tokens("T"), {},
      [&](auto text) {
        streamed += text;
        if (streamed == "he q") cancel = true;
      },
      &cancel);
  EXPECT_EQ(result.reason, FinishReason::kCancelled);
  EXPECT_EQ(result.text, "he q");
  EXPECT_EQ(result.generated_tokens, 4);
  // The session goes on from there.
  cancel = false;
  const auto rest = run(session_, sampler_, bytes_as_tokens("The q"), {}, nullptr, &cancel);
  EXPECT_EQ(rest.text, "uickly~");
  EXPECT_EQ(rest.reused_tokens, 4);
}

TEST_F(ScriptedTest, CancelledBeforeThePrompt) {
  const std::atomic<bool> cancel{true};
  const auto result = run(session_, sampler_, bytes_as_tokens("Th"), {}, nullptr, &cancel);
  EXPECT_EQ(result.reason, FinishReason::kCancelled);
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.generated_tokens, 0);
  EXPECT_EQ(result.prompt_tokens, 2);
  EXPECT_EQ(session_.length(), 0);
}

TEST_F(ScriptedTest, AnEmptyPromptIsAnError) {
  const auto result = generate(session_, sampler_, {}, {}, nullptr);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kUsage);
}

TEST_F(ScriptedTest, APromptThatDoesNotFitIsAnError) {
  const std::vector<int32_t> prompt(129, 'a');
  const auto result = generate(session_, sampler_, prompt, {}, nullptr);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kTooLarge);
}

TEST_F(ScriptedTest, AFollowingPromptReadsOnlyWhatIsNew) {
  run(session_, sampler_, bytes_as_tokens("T"));
  auto prompt = bytes_as_tokens("The quickly~");
  prompt.push_back(test::kTurnEnd);
  prompt.push_back('q');
  const auto result = run(session_, sampler_, prompt);
  EXPECT_EQ(result.reused_tokens, 12);
  EXPECT_EQ(result.prompt_tokens, 14);
  EXPECT_EQ(result.text, "uickly~");
}

TEST(Generate, StopsWhenTheContextIsFull) {
  // Two letters that follow each other for ever.
  EngineOptions options;
  options.context = 10;
  TinyEngine engine(scripted_model(std::vector<int32_t>{'a', 'b', 'a'}), options);
  Session session = engine.session();
  Sampler sampler = engine.greedy();
  for (const size_t prompt : {1, 4, 9, 10}) {
    SCOPED_TRACE(prompt);
    const auto result = run(session, sampler, std::vector<int32_t>(prompt, 'a'));
    EXPECT_EQ(result.reason, FinishReason::kContext);
    // The last token needs no position of its own.
    EXPECT_EQ(result.generated_tokens, static_cast<int64_t>(11 - prompt));
    EXPECT_EQ(result.text, std::string("bababababa").substr(0, 11 - prompt));
    EXPECT_EQ(session.length(), 10);
  }
}

// Characters of several bytes come out whole, broken ones as U+FFFD.
TEST(Generate, StreamsWholeCharacters) {
  TinyEngine engine(scripted_model("T\xc3\xa9-\xe2\x82\xac!\xf0\x9f"));
  Session session = engine.session();
  Sampler sampler = engine.greedy();
  std::vector<std::string> pieces;
  const auto result = run(session, sampler, bytes_as_tokens("T"), {},
                          [&](auto text) { pieces.emplace_back(text); });
  EXPECT_EQ(result.text, "é-€!\xef\xbf\xbd");
  EXPECT_EQ(pieces, (std::vector<std::string>{"é", "-", "€", "!", "\xef\xbf\xbd"}));
}

TEST(Generate, AStopStringInsideACharacter) {
  TinyEngine engine(scripted_model("T\xc3\xa9-"));
  Session session = engine.session();
  Sampler sampler = engine.greedy();
  GenerateOptions options;
  options.stop = {"é"};
  const auto result = run(session, sampler, bytes_as_tokens("T"), options);
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.reason, FinishReason::kStopString);
}

TEST(Generate, EndOfTextEndsToo) {
  TinyEngine engine(scripted_model(std::vector<int32_t>{'a', 'b', test::kEndOfText, 'c'}));
  Session session = engine.session();
  Sampler sampler = engine.greedy();
  EXPECT_EQ(run(session, sampler, {'a'}).text, "b");
  EXPECT_EQ(run(session, sampler, {'a'}).reason, FinishReason::kEndOfGeneration);
}

// Control tokens inside an answer are no text; user-defined ones are.
TEST(Generate, AddedTokensInsideTheAnswer) {
  TinyEngine engine(scripted_model(
      std::vector<int32_t>{'a', test::kTurnStart, test::kToolCall, 'b', test::kTurnEnd}));
  Session session = engine.session();
  Sampler sampler = engine.greedy();
  EXPECT_EQ(run(session, sampler, {'a'}).text, "<tool_call>b");
  GenerateOptions options;
  options.show_special = true;
  EXPECT_EQ(run(session, sampler, {'a'}, options).text, "<|im_start|><tool_call>b<|im_end|>");
}

class SampledTest : public testing::Test {
 protected:
  std::string generate_with(uint64_t seed) {
    SamplingParams params;
    params.temperature = 1.5f;
    params.top_k = 0;
    params.top_p = 1;
    params.min_p = 0;
    params.seed = seed;
    params.ignore_eos = true;
    auto sampler = engine_->make_sampler(params);
    EXPECT_TRUE(sampler);
    Session session = engine_.session();
    GenerateOptions options;
    options.max_tokens = 60;
    options.show_special = true;
    last_ = run(session, *sampler, bytes_as_tokens("hello"), options);
    tokens_.assign(session.tokens().begin() + 5, session.tokens().end());
    // The same sampler again: generate() starts its random sequence anew.
    EXPECT_EQ(run(session, *sampler, bytes_as_tokens("hello"), options).text, last_.text);
    return last_.text;
  }

  TinyEngine engine_{tiny_model()};
  GenerateResult last_;
  std::vector<int32_t> tokens_;
};

TEST_F(SampledTest, TheSameSeedGivesTheSameText) {
  const std::string once = generate_with(5);
  EXPECT_EQ(generate_with(5), once);
  EXPECT_NE(generate_with(6), once);
}

TEST_F(SampledTest, NeverPicksARowWithoutText) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    generate_with(seed);
    EXPECT_EQ(last_.reason, FinishReason::kLength);  // ignore_eos
    for (const int32_t token : tokens_) {
      EXPECT_LT(token, test::kUnusedRow);
      EXPECT_FALSE(engine_->tokenizer().is_end_of_generation(token));
    }
  }
}

TEST(Generate, PenaltiesSeeThePrompt) {
  // Greedily 'a' is followed by 'b'; with 'b' in the prompt and a penalty it is not.
  TinyEngine engine(scripted_model("abc"));
  SamplingParams params;
  params.temperature = 0;
  params.presence_penalty = 100;
  auto sampler = engine->make_sampler(params);
  ASSERT_TRUE(sampler);
  Session session = engine.session();
  GenerateOptions options;
  options.max_tokens = 1;
  EXPECT_EQ(run(session, *sampler, bytes_as_tokens("a"), options).text, "b");
  EXPECT_NE(run(session, *sampler, bytes_as_tokens("ba"), options).text, "b");
}

}  // namespace
}  // namespace sluice::engine
