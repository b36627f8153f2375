// SPDX-License-Identifier: Apache-2.0
#include "server/answer_parser.h"

#include <gtest/gtest.h>

namespace sluice::server {
namespace {

// "thought:...|text:...|call:name|arguments:...|end"
std::string parse(const std::string& text, size_t cut, AnswerParser::Options options = {}) {
  AnswerParser parser(options);
  std::vector<Piece> pieces;
  for (size_t at = 0; at < text.size(); at += cut) parser.push(text.substr(at, cut), pieces);
  parser.finish(pieces);
  std::string result;
  std::optional<Piece::Kind> last;
  for (const Piece& piece : pieces) {
    static constexpr const char* kNames[] = {"thought:", "text:", "call:", "arguments:", "end"};
    if (last != piece.kind || piece.kind == Piece::Kind::kCall) {
      if (!result.empty()) result += '|';
      result += kNames[static_cast<int>(piece.kind)];
    }
    result += piece.text;
    last = piece.kind;
  }
  return result;
}

// However it is cut.
void expect(const std::string& text, const std::string& parts, AnswerParser::Options options = {}) {
  for (size_t cut = 1; cut <= text.size() + 1; ++cut)
    ASSERT_EQ(parse(text, cut, options), parts) << "cut every " << cut;
}

constexpr AnswerParser::Options kCalls{.calls = true};

TEST(AnswerParser, Text) {
  expect("", "");
  expect("Hello", "text:Hello");
  expect("  Hello \n", "text:  Hello \n");
  expect("a < b and <thin air>", "text:a < b and <thin air>");
  expect("<tool_call>{}</tool_call>", "text:<tool_call>{}</tool_call>");  // none were offered
}

TEST(AnswerParser, Thoughts) {
  expect("<think>\nLet me see.\n</think>\n\nYes.", "thought:Let me see.|text:Yes.");
  expect("\n<think>a\n\nb</think>c", "thought:a\n\nb|text:c");
  expect("<think>\n\n</think>\n\nYes.", "text:Yes.");
  expect("<think>never ends", "thought:never ends");
  expect("<thinking about it", "text:<thinking about it");
  expect("No. <think>late</think>", "text:No. <think>late</think>");
  expect("Let me see.\n</think>\n\nYes.", "thought:Let me see.|text:Yes.", {.in_thought = true});
  expect("<think>a</think>b", "text:<think>a</think>b", {.thoughts = false});
}

TEST(AnswerParser, Calls) {
  expect(
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": "
      "\"}\\\"\"}]}}\n</tool_call>",
      "call:f|arguments:{\"a\": [1, {\"b\": \"}\\\"\"}]}|end", kCalls);
  expect(
      "One moment.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
      "<tool_call>{\"name\":\"g\",\"arguments\":{\"x\":1}}</tool_call>",
      "text:One moment.|call:f|arguments:{}|end|call:g|arguments:{\"x\":1}|end", kCalls);
  expect("<think>I call.</think>\n\n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
         "thought:I call.|call:f|arguments:{}|end", kCalls);
  // What stands in a string is no mark.
  expect("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"</tool_call>\"}}</tool_call>",
         "call:f|arguments:{\"x\": \"</tool_call>\"}|end", kCalls);
}

TEST(AnswerParser, CallsThatAreWrittenOtherwise) {
  expect("<tool_call>{\"arguments\": {\"x\": 1}, \"name\": \"f\"}</tool_call>",
         "call:f|arguments:{\"x\": 1}|end", kCalls);
  expect("<tool_call>{\"name\": \"f\"}</tool_call>", "call:f|arguments:{}|end", kCalls);
  expect("<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}</tool_call>",
         "call:f|arguments:{\"x\": 1}|end", kCalls);
  expect("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}",
         "call:f|arguments:{\"x\": 1}|end", kCalls);
  // A closing mark is forgotten, text follows.
  expect("<tool_call>{\"name\": \"f\", \"arguments\": {}} and so on",
         "call:f|arguments:{}|end|text:and so on", kCalls);
}

TEST(AnswerParser, WhatOnlyLooksLikeACallIsText) {
  expect("<tool_call>f(1)</tool_call>", "text:<tool_call>f(1)</tool_call>", kCalls);
  expect("<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>",
         "text:<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>", kCalls);
  expect("<tool_call>{\"nam", "text:<tool_call>{\"nam", kCalls);
  expect("<tool_call><tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
         "text:<tool_call>|call:f|arguments:{}|end", kCalls);
  expect("<tool_ca", "text:<tool_ca", kCalls);
  expect("ends with blanks \n", "text:ends with blanks \n", kCalls);
}

// An answer that is cut in the middle of its arguments.
TEST(AnswerParser, CutArguments) {
  expect("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"abc",
         "call:f|arguments:{\"x\": \"abc|end", kCalls);
}

}  // namespace
}  // namespace sluice::server
