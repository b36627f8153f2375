// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/answer_grammar.h"

#include <gmock/gmock.h>

#include "grammar/matching.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

const ordered_json kCity = ordered_json::parse(
    R"({"type": "object", "properties": {"city": {"$ref": "#/$defs/name"}}, "required": ["city"],
        "$defs": {"name": {"type": "string", "maxLength": 9}}})");
const ordered_json kCount = ordered_json::parse(
    R"({"type": "object", "properties": {"n": {"$ref": "#/$defs/name"}}, "required": ["n"],
        "$defs": {"name": {"type": "integer"}}})");
constexpr const char* kParis =
    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": "
    "\"Paris\"}}\n</tool_call>";
constexpr const char* kTwo = "<tool_call>{\"name\":\"count\",\"arguments\":{\"n\":2}}</tool_call>";

void add_tools(AnswerGrammar& grammar) {
  ASSERT_TRUE(grammar.add_tool("weather", &kCity, "a"));
  ASSERT_TRUE(grammar.add_tool("count", &kCount, "b"));
  ASSERT_TRUE(grammar.add_tool("any \"thing\"", nullptr, "c"));
}

std::shared_ptr<const Program> whole(Thoughts thoughts, bool several, bool document = false) {
  AnswerGrammar grammar;
  add_tools(grammar);
  if (document) {
    EXPECT_TRUE(grammar.set_document(kCount, ""));
  }
  const SchemaGrammar made = grammar.whole(thoughts, several);
  EXPECT_TRUE(made.notes.empty());
  return compiled(made.grammar);
}

TEST(AnswerGrammar, CallsOfTools) {
  const auto one = whole(Thoughts::kNone, false);
  EXPECT_TRUE(matches(one, kParis));
  EXPECT_TRUE(matches(one, kTwo));
  EXPECT_TRUE(
      matches(one, R"(<tool_call>{"name": "any \"thing\"", "arguments": {"x": [1]}}</tool_call>)"));
  EXPECT_FALSE(begins(one, "Sure"));
  EXPECT_FALSE(begins(one, "<think>"));
  EXPECT_FALSE(begins(one, "<tool_call>{\"name\": \"other"));
  // Each tool's references are within its own schema.
  EXPECT_FALSE(begins(one, "<tool_call>{\"name\":\"count\",\"arguments\":{\"n\":\""));
  EXPECT_FALSE(begins(one, "<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":2"));
  EXPECT_FALSE(begins(one, std::string(kTwo) + "\n<tool_call>"));
  const auto several = whole(Thoughts::kNone, true);
  EXPECT_TRUE(matches(several, std::string(kTwo) + "\n" + kParis + kTwo));
  EXPECT_FALSE(begins(several, std::string(kTwo) + "and"));
}

TEST(AnswerGrammar, CallsOrADocument) {
  const auto either = whole(Thoughts::kNone, true, true);
  EXPECT_TRUE(matches(either, R"({"n": 7})"));
  EXPECT_TRUE(matches(either, kParis));
  EXPECT_FALSE(begins(either, std::string(kTwo) + "{"));
  AnswerGrammar object;
  object.set_any_object();
  EXPECT_TRUE(matches(compiled(object.whole(Thoughts::kNone, true).grammar), R"({"a": null})"));
  AnswerGrammar words;
  ASSERT_TRUE(words.set_gbnf("root ::= \"yes\" | \"no\""));
  const auto program = compiled(words.whole(Thoughts::kMayCome, true).grammar);
  EXPECT_TRUE(matches(program, "yes"));
  EXPECT_TRUE(matches(program, "<think>maybe</think>no"));
  EXPECT_FALSE(begins(program, "maybe"));
}

TEST(AnswerGrammar, ThoughtsComeFirst) {
  const auto may = whole(Thoughts::kMayCome, false);
  EXPECT_TRUE(matches(may, kTwo));
  EXPECT_TRUE(
      matches(may, std::string("<think>\nA <tool_call> or a </thin</<think></think>\n\n") + kTwo));
  EXPECT_FALSE(matches(may, "<think> </think>"));
  EXPECT_FALSE(begins(may, "<think>a</think>b"));
  EXPECT_FALSE(begins(may, "\n\n\n"));
  const auto open = whole(Thoughts::kOpen, false);
  EXPECT_TRUE(matches(open, std::string("日 so be it</think>\n") + kTwo));
  EXPECT_TRUE(matches(open, std::string("</think>") + kTwo));
  EXPECT_FALSE(matches(open, std::string(kTwo)));  // only a thought
  EXPECT_TRUE(begins(open, std::string(kTwo)));
}

// Every end of the mark that comes again at its beginning.
TEST(AnswerGrammar, TextThroughAMark) {
  for (const std::string mark : {"aab", "abab", "x", "</think>"}) {
    Grammar g;
    g.root = g.add_rule("root", g.sequence({g.through(mark), g.literal("!")}));
    const auto program = compiled(g);
    for (uint32_t seed = 0; seed < 20'000; ++seed) {
      std::string text;
      for (uint32_t rest = seed; rest > 0; rest /= 7) {
        const uint32_t n = rest % 7;
        if (n == 5)
          text += "é";
        else if (n == 6)
          text += mark;
        else
          text += mark[n % mark.size()];
      }
      const size_t end = text.find(mark);
      const bool right = end != std::string::npos && end + mark.size() == text.size();
      ASSERT_EQ(matches(program, text + "!"), right) << mark << ": " << text;
    }
  }
}

TEST(AnswerGrammar, NotesAndErrorsNameTheTool) {
  AnswerGrammar grammar;
  const ordered_json unique = {{"type", "array"}, {"uniqueItems", true}};
  ASSERT_TRUE(grammar.add_tool("f", &unique, "tools[0].function.parameters"));
  const ordered_json wrong = {{"properties", {{"a", {{"type", 3}}}}}};
  const Status status = grammar.add_tool("g", &wrong, "tools[1].function.parameters");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("/properties/a/type must be a string"));
  const SchemaGrammar made = grammar.calls_in_text();
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_EQ(describe(made.notes[0]), "tools[0].function.parameters: uniqueItems is not checked");
}

TEST(AnswerGrammar, ATextIsFreeUntilItCalls) {
  for (const bool several : {false, true}) {
    AnswerGrammar grammar;
    add_tools(grammar);
    const Trigger trigger = grammar.trigger(Thoughts::kMayCome, several);
    Matcher matcher(compiled(grammar.calls_in_text().grammar), byte_trie(), trigger);
    EXPECT_TRUE(matcher.accept("<think>a <tool_call>b</tool_call> </think>Let us see."));
    EXPECT_TRUE(matcher.free() && matcher.may_end());
    EXPECT_TRUE(matcher.accept("<tool_call>"));
    EXPECT_FALSE(matcher.may_end());
    EXPECT_FALSE(matcher.accept("b"));
    EXPECT_TRUE(matcher.accept(std::string(kTwo).substr(11)));
    EXPECT_TRUE(matcher.may_end());
    EXPECT_EQ(matcher.done(), !several);
    EXPECT_EQ(matcher.accept("\nand <tool_call>"), several);
  }
}

}  // namespace
}  // namespace sluice::text::grammar
