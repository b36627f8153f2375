// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>

#include "../text/packed_vocabulary.h"
#include "engine/answer_form.h"
#include "engine/generate.h"
#include "gguf/gguf.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::bytes_as_tokens;
using test::TinyEngine;
using testing::HasSubstr;

constexpr float kBanned = -std::numeric_limits<float>::infinity();

// The vocabulary of the model that comes with the program.
const text::Tokenizer& embedded() {
  static const text::Tokenizer tokenizer = [] {
    auto file = gguf::Gguf::open(SLUICE_ROOT "/models/sluice-tiny.gguf");
    if (!file) throw std::runtime_error(file.error().message);
    auto loaded = load_tokenizer(*file);
    if (!loaded) throw std::runtime_error(loaded.error().message);
    return std::move(*loaded);
  }();
  return tokenizer;
}

std::shared_ptr<const GrammarVocabulary> vocabulary() {
  static const auto made = GrammarVocabulary::create(embedded(), embedded().size() + 3);
  return made;
}

std::vector<float> ones() {
  return std::vector<float>(static_cast<size_t>(embedded().size()) + 3, 1.0f);
}

Constraint from_schema(std::string_view schema, const text::grammar::Trigger& trigger = {}) {
  auto made = Constraint::from_schema(vocabulary(), schema, trigger);
  if (!made) throw std::runtime_error(made.error().message);
  return std::move(*made);
}

// apply() leaves exactly those tokens that accept() takes, along a random text.
void expect_exact(Constraint constraint, uint32_t seed, int steps) {
  std::mt19937 random(seed);
  std::vector<text::Token> so_far;
  for (int step = 0; step < steps && !constraint.done(); ++step) {
    std::vector<float> logits = ones();
    ASSERT_TRUE(constraint.apply(logits));
    std::vector<text::Token> allowed;
    Constraint other = constraint.fork();
    for (text::Token t = 0; t < embedded().size(); ++t) {
      const bool ends = embedded().is_end_of_generation(t);
      // What was accepted cannot be taken back: every token is tried from the beginning.
      other.reset();
      for (const text::Token before : so_far) ASSERT_TRUE(other.accept(before));
      ASSERT_EQ(logits[static_cast<size_t>(t)] > kBanned, other.accept(t))
          << t << " " << embedded().bytes(t);
      if (logits[static_cast<size_t>(t)] > kBanned && !ends) allowed.push_back(t);
    }
    if (allowed.empty()) break;
    so_far.push_back(allowed[random() % allowed.size()]);
    ASSERT_TRUE(constraint.accept(so_far.back()));
  }
}

TEST(Constraint, LeavesExactlyWhatCanCome) {
  expect_exact(
      from_schema(R"({"type": "object", "properties": {"a": {"type": "string", "maxLength": 9},
                               "b": {"enum": ["red", "green"]}, "c": {"type": "array", "items": {"type": "integer"}}}})"),
      1, 12);
  expect_exact(from_schema(R"({"type": "array", "items": {"type": "integer"}})",
                           {"<tool", false, "<think>", "</think>", true}),
               2, 6);
  auto gbnf = Constraint::from_gbnf(vocabulary(), "root ::= [a-z ]+ (\".\" [0-9]{1,3})?");
  ASSERT_TRUE(gbnf) << gbnf.error().message;
  expect_exact(std::move(*gbnf), 3, 8);
}

TEST(Constraint, TheEndIsAllowedOnlyWhereTheTextMayEnd) {
  Constraint constraint = from_schema(R"({"const": true})");
  std::vector<float> logits = ones();
  ASSERT_TRUE(constraint.apply(logits));
  const auto ends = [&] {
    return std::ranges::all_of(vocabulary()->end_of_generation(),
                               [&](auto t) { return logits[static_cast<size_t>(t)] > kBanned; });
  };
  ASSERT_FALSE(vocabulary()->end_of_generation().empty());
  EXPECT_FALSE(ends());
  for (const text::Token t : vocabulary()->end_of_generation()) EXPECT_FALSE(constraint.accept(t));
  for (const text::Token t : embedded().encode("true", text::SpecialTokens::kText))
    EXPECT_TRUE(constraint.accept(t));
  EXPECT_TRUE(constraint.may_end() && constraint.done());
  logits = ones();
  ASSERT_TRUE(constraint.apply(logits));
  EXPECT_TRUE(ends());
  EXPECT_EQ(std::ranges::count(logits, 1.0f),
            static_cast<std::ptrdiff_t>(vocabulary()->end_of_generation().size()));
  for (const text::Token t : vocabulary()->end_of_generation()) EXPECT_TRUE(constraint.accept(t));
}

TEST(Constraint, NothingLeftIsAnError) {
  Constraint constraint = from_schema(R"({"const": true})");
  std::vector<float> logits(ones().size(), kBanned);
  const Status status = constraint.apply(logits);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("logit_bias"));
}

TEST(Constraint, ErrorsAndNotes) {
  const auto gbnf = Constraint::from_gbnf(vocabulary(), "root ::= x");
  ASSERT_FALSE(gbnf);
  EXPECT_THAT(gbnf.error().message, HasSubstr("line 1, column 10"));
  const auto schema = Constraint::from_schema(vocabulary(), std::string_view("[]"));
  ASSERT_FALSE(schema);
  EXPECT_EQ(schema.error().kind, ErrorKind::kUsage);
  EXPECT_EQ(from_schema(R"({"type": "array", "uniqueItems": true})").notes().size(), 1u);
}

// All that a constraint adds to a step on Qwen3's vocabulary, of a step that takes 2 ms on fast
// machines: masks, logits, and telling of the token.
TEST(Constraint, CostsLittleBesideAStep) {
  const text::Tokenizer& tokenizer = text::qwen3();
  const auto begin = std::chrono::steady_clock::now();
  const auto words = GrammarVocabulary::create(tokenizer, 151936);
  const std::chrono::duration<double, std::milli> made = std::chrono::steady_clock::now() - begin;
  nlohmann::ordered_json document = {{"name", "search"}, {"arguments", {{"limit", 12}}}};
  for (int i = 0; i < 30; ++i)
    document["arguments"]["queries"].push_back("Words number " + std::to_string(i) +
                                               ", 很好的东西");
  const nlohmann::ordered_json parameters = {
      {"type", "object"},
      {"properties",
       {{"limit", {{"type", "integer"}, {"minimum", 1}, {"maximum", 500}}},
        {"queries", {{"type", "array"}, {"items", {{"type", "string"}, {"maxLength", 200}}}}}}}};
  AnswerForm form;
  form.tools = {{"search", parameters, "tools[0]"}};
  const std::string call = fmt::format("<tool_call>\n{}\n</tool_call>", document.dump());
  for (const bool must : {true, false}) {
    form.must_call = must;
    form.thoughts = Thoughts::kMayCome;
    auto constraint = constrain(words, form);
    ASSERT_TRUE(constraint) << constraint.error().error.message;
    std::string text = call;
    if (!must)
      for (int i = 0; i < 200; ++i) text.insert(0, "Free text. ");
    const auto tokens = tokenizer.encode(text, text::SpecialTokens::kParse);
    const std::vector<float> fresh(151936, 1.0f);
    for (const char* round : {"first", "again"}) {
      double total = 0;
      double longest = 0;
      constraint->reset();
      for (const text::Token token : tokens) {
        std::vector<float> logits = fresh;
        const auto start = std::chrono::steady_clock::now();
        ASSERT_TRUE(constraint->apply(logits));
        ASSERT_TRUE(constraint->accept(token)) << tokenizer.bytes(token);
        const std::chrono::duration<double, std::micro> time =
            std::chrono::steady_clock::now() - start;
        total += time.count();
        longest = std::max(longest, time.count());
        ASSERT_GT(logits[static_cast<size_t>(token)], kBanned);
      }
      const double mean = total / static_cast<double>(tokens.size());
      std::printf("%s, %s: %zu tokens, %.1f us on average, %.2f ms at most\n",
                  must ? "a call" : "text and a call", round, tokens.size(), mean, longest / 1000);
      EXPECT_LT(mean, 1000);
    }
    std::printf("the vocabulary's tree: %.0f ms, a text: %.1f MiB\n", made.count(),
                static_cast<double>(constraint->bytes()) / (1 << 20));
  }
}

// A model that would write something else.
TEST(Constraint, GeneratedTextsFollow) {
  TinyEngine engine(test::tiny_model());
  Session session = engine.session();
  const auto words = engine->grammar_vocabulary();
  auto constraint = Constraint::from_schema(
      words, std::string_view(
                 R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3},
              "ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 1, "maximum": 30}},
              "required": ["name", "ok", "n"]})"));
  ASSERT_TRUE(constraint) << constraint.error().message;
  int finished = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SamplingParams params;
    params.seed = seed;
    params.temperature = seed == 0 ? 0.0f : 1.5f;
    params.repeat_penalty = 1.3f;
    auto sampler = engine->make_sampler(params);
    ASSERT_TRUE(sampler);
    GenerateOptions options;
    options.constraint = &*constraint;
    const auto result = generate(session, *sampler, bytes_as_tokens("Hello"), options, nullptr);
    ASSERT_TRUE(result) << result.error().message;
    if (result->reason == FinishReason::kContext) continue;  // a random model may like white space
    ++finished;
    EXPECT_EQ(result->reason, FinishReason::kEndOfGeneration);
    const auto document = nlohmann::json::parse(result->text, nullptr, false);
    ASSERT_TRUE(document.is_object()) << result->text;
    EXPECT_TRUE(document["name"].is_string() && document["ok"].is_boolean()) << result->text;
    EXPECT_TRUE(document["n"] >= 1 && document["n"] <= 30) << result->text;
  }
  EXPECT_GE(finished, 15);
}

}  // namespace
}  // namespace sluice::engine
