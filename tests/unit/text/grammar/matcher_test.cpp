// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/matcher.h"

#include <gmock/gmock.h>

#include <chrono>
#include <random>

#include "grammar/matching.h"
#include "packed_vocabulary.h"

namespace sluice::text::grammar {
namespace {

std::shared_ptr<const TokenTrie> trie_of(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  for (size_t i = 0; i < texts.size(); ++i)
    if (!texts[i].empty()) tokens.emplace_back(texts[i], static_cast<int32_t>(i));
  return std::make_shared<const TokenTrie>(std::move(tokens), texts.size());
}

std::shared_ptr<const TokenTrie> qwen_trie() {
  static const auto trie = [] {
    std::vector<std::pair<std::string_view, int32_t>> tokens;
    for (Token t = 0; t < qwen3().size(); ++t)
      if (qwen3().kind(t) == TokenKind::kNormal && !qwen3().bytes(t).empty())
        tokens.emplace_back(qwen3().bytes(t), t);
    return std::make_shared<const TokenTrie>(std::move(tokens),
                                             static_cast<size_t>(qwen3().size()));
  }();
  return trie;
}

bool has(const TokenMask& mask, size_t token) {
  return (mask.words[token / 64] >> (token % 64) & 1) != 0;
}

// Every token is in the mask exactly if the grammar accepts it, tried one by one by a matcher
// without any mask behind it.
void expect_exact(const std::shared_ptr<const Program>& program,
                  const std::vector<std::string>& texts,
                  const std::shared_ptr<const TokenTrie>& trie, std::string_view text,
                  const Trigger& trigger = {}) {
  Matcher matcher(program, trie, trigger);
  for (size_t i = 0; i <= text.size(); ++i) {
    const auto mask = matcher.mask();
    ASSERT_TRUE(mask) << mask.error().message;
    for (size_t t = 0; t < texts.size(); ++t) {
      Matcher other(program, byte_trie(), trigger);
      ASSERT_TRUE(other.accept(text.substr(0, i)));
      ASSERT_EQ(has(**mask, t), !texts[t].empty() && other.accept(texts[t]))
          << text.substr(0, i) << " + " << texts[t];
    }
    EXPECT_EQ((*mask)->may_end, matcher.may_end());
    if (i < text.size()) {
      ASSERT_TRUE(matcher.accept(text.substr(i, 1))) << text.substr(0, i + 1);
    }
  }
}

// Tokens that begin, end and lie in the middle of what JSON is made of.
const std::vector<std::string>& json_tokens() {
  static const std::vector<std::string> tokens = [] {
    std::vector<std::string> out = {
        "",     "{\"",   "\":",     "\": ", "\",",   "\", \"", "\"}",     "\"}}",  "}}",
        "]}",   "[[",    "null",    "true", "false", "abc",    "ab",      "b\"",   "\\n",
        "\\",   "\\u00", "12",      ", ",   ",\n",   "\n  ",   "\":[",    "é",     "\xE6",
        "\x97", "日本",  "a\",\"b", "\"\"", "{}",    "[]",     "{\"a\":", "1,2,3", "-0.5e"};
    for (int b = 0; b < 256; ++b) out.emplace_back(1, static_cast<char>(b));
    return out;
  }();
  return tokens;
}

TEST(Matcher, MasksAreExact) {
  const auto trie = trie_of(json_tokens());
  expect_exact(compiled(grammar_of_any_object()), json_tokens(), trie,
               R"({"a\n": [1, 2.5e3, {"b": null}], "é日": "\u00e9"})");
  expect_exact(schema(R"({"type": "object", "properties": {"a": {"type": "string", "maxLength": 4},
                          "ab": {"enum": ["abc", "ab", 12, null]}, "b": {"type": "array",
                          "items": {"type": "string", "minLength": 1, "maxLength": 2}, "maxItems": 3}}})")
                   .program,
               json_tokens(), trie, R"({"a":"日b\"", "ab": "ab", "b": ["a", "bb","é"]})");
  expect_exact(
      gbnf("root ::= (\"a\" | \"ab\" | \"b\" (\"c\" | \"\"))* [^x]{2,3} | \"12\"{1,40} \"}\""),
      json_tokens(), trie, "aabbcab");
  expect_exact(gbnf("root ::= item{2,300} \"}\"\nitem ::= \"a\" | \"ab\" | \"b\""), json_tokens(),
               trie, "ababab}");
}

TEST(Matcher, MasksWithATriggerAreExact) {
  std::vector<std::string> texts = json_tokens();
  for (const char* more :
       {"<t", "<t>", "t>", "<t>{", "x<t>[", "}<t>", "}<", "<<t>{\"", "}}<t>{", "} <t>1"})
    texts.emplace_back(more);
  expect_exact(compiled(grammar_of_any_object()), texts, trie_of(texts), "a<<t<t>{\"a\":{}} x <t>{",
               {"<t>"});
}

TEST(Matcher, MasksWithPausesAreExact) {
  std::vector<std::string> texts = json_tokens();
  for (const char* more : {"<t>", "<p>", "</p>", "</p><t>", "</p><t>{", "<p><t>", "<p></p><t>[",
                           "p>", "<t>{}", "<t>{}<", "{}<t>"})
    texts.emplace_back(more);
  const auto object = compiled(grammar_of_any_object());
  const auto trie = trie_of(texts);
  const std::string text = "<<p<t>{</p <</p>a<t>{\"a\":{}}";
  expect_exact(object, texts, trie, "a<p<<p>" + text, {"<t>", false, "<p>", "</p>"});
  expect_exact(object, texts, trie, text, {"<t>", true, "<p>", "</p>", true});
}

TEST(Matcher, ATriggerForOnceEndsTheText) {
  Matcher matcher(schema(R"({"enum": ["a"]})").program, byte_trie(), {"<x>", true});
  EXPECT_TRUE(matcher.accept("no <x"));
  EXPECT_TRUE(matcher.may_end() && !matcher.done());
  EXPECT_TRUE(matcher.accept(">\"a\""));
  EXPECT_TRUE(matcher.may_end() && matcher.done() && !matcher.free());
  EXPECT_FALSE(matcher.accept(" "));
  matcher.reset();
  EXPECT_TRUE(matcher.accept("<x>\""));
}

TEST(Matcher, ATriggerStartsAndEndsTheGrammar) {
  Matcher matcher(schema(R"({"enum": ["a"]})").program, byte_trie(), {"<<x>"});
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(matcher.free() && matcher.may_end() && !matcher.done());
    EXPECT_TRUE(matcher.accept("any <<<x"));  // the first '<' is none of it
    EXPECT_TRUE(matcher.free());
    EXPECT_FALSE(matcher.accept(">b"));
    EXPECT_TRUE(matcher.accept(">\"a"));
    EXPECT_TRUE(!matcher.free() && !matcher.may_end());
    EXPECT_FALSE(matcher.accept("b"));
    EXPECT_TRUE(matcher.accept("\" and more"));
  }
}

TEST(Matcher, EndsAndResets) {
  Matcher matcher(gbnf("root ::= \"ab\" \"c\"?"), byte_trie());
  EXPECT_FALSE(matcher.may_end());
  EXPECT_TRUE(matcher.accept("ab"));
  EXPECT_TRUE(matcher.may_end());
  EXPECT_FALSE(matcher.done());
  EXPECT_FALSE(matcher.accept("ca"));
  EXPECT_TRUE(matcher.accept("c"));
  EXPECT_TRUE(matcher.done());
  const auto mask = matcher.mask();
  ASSERT_TRUE(mask);
  EXPECT_THAT((*mask)->words, testing::Each(0));
  EXPECT_TRUE((*mask)->may_end);
  matcher.reset();
  EXPECT_FALSE(matcher.may_end());
  EXPECT_TRUE(matcher.accept("ab"));
}

// Masks and places are forgotten when they become many; the text goes on.
TEST(Matcher, LongTextsTakeNoMoreMemory) {
  const auto program =
      schema(
          R"({"type": "array", "items": {"type": "string", "maxLength": 65536}, "maxItems": 100000})")
          .program;
  Matcher matcher(program, byte_trie());
  ASSERT_TRUE(matcher.accept("["));
  for (int item = 0; item < 4; ++item) {
    ASSERT_TRUE(matcher.accept("\""));
    for (int i = 0; i < 60'000; ++i) {
      if (i % 1000 == 0) {
        ASSERT_TRUE(matcher.mask());
      }
      ASSERT_TRUE(matcher.accept("x"));
    }
    ASSERT_TRUE(matcher.accept("\","));
  }
  ASSERT_TRUE(matcher.accept(std::string("\"").append(65'536, 'y')));
  EXPECT_FALSE(matcher.accept("y"));
  EXPECT_TRUE(matcher.accept("\"]"));
  EXPECT_TRUE(matcher.done());
}

// The cost of masks for Qwen3's 151,936 tokens while a document is generated, against what a step
// of decoding takes.
TEST(Matcher, MasksCostLittle) {
  const struct {
    const char* name;
    std::shared_ptr<const Program> program;
  } grammars[] = {
      {"any object", compiled(grammar_of_any_object())},
      {"schema", schema(R"({"type": "object", "properties": {
          "title": {"type": "string", "maxLength": 80}, "done": {"type": "boolean"},
          "items": {"type": "array", "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "price": {"type": "number"},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}}},
            "required": ["name", "price", "tags"]}}}, "required": ["title", "done", "items"]})")
                     .program},
  };
  nlohmann::ordered_json document = {{"title", "A list of things that somebody wrote down"},
                                     {"done", true}};
  for (int i = 0; i < 20; ++i)
    document["items"].push_back(
        {{"name", "The thing with number " + std::to_string(i) + ", 很好的东西 \"quoted\""},
         {"price", 12.5 * i},
         {"tags", {"red", "blue"}}});
  const std::vector<Token> tokens = qwen3().encode(document.dump(1), SpecialTokens::kText);
  (void)qwen_trie();
  for (const auto& grammar : grammars) {
    Matcher matcher(grammar.program, qwen_trie());
    double total = 0;
    double longest = 0;
    for (const Token token : tokens) {
      const auto start = std::chrono::steady_clock::now();
      const auto mask = matcher.mask();
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      total += seconds;
      longest = std::max(longest, seconds);
      ASSERT_TRUE(mask);
      ASSERT_TRUE(has(**mask, static_cast<size_t>(token))) << qwen3().bytes(token);
      ASSERT_TRUE(matcher.accept(qwen3().bytes(token)));
    }
    EXPECT_TRUE(matcher.done());
    const double mean = total / static_cast<double>(tokens.size());
    std::printf("%s: %zu tokens, mask %.1f us on average, %.2f ms at most\n", grammar.name,
                tokens.size(), 1e6 * mean, 1e3 * longest);
    EXPECT_LT(mean, 1e-3);
  }
}

}  // namespace
}  // namespace sluice::text::grammar
