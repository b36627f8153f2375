// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/gbnf.h"

#include <gmock/gmock.h>

#include <chrono>

#include "grammar/matching.h"
#include "text/unicode.h"

namespace sluice::text::grammar {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Case {
  const char* grammar;
  std::vector<std::string> yes;
  std::vector<std::string> no;
};

TEST(Gbnf, EveryConstruct) {
  const Case cases[] = {
      {R"(root ::= "yes" | "no")", {"yes", "no"}, {"", "y", "yesno", "Yes"}},
      {R"(root ::= "a" ("b" | "c" "d")* "e")", {"ae", "abe", "acde", "abcdbe"}, {"ace", "ab"}},
      {R"(root ::= [a-c_]+)", {"a", "cab_"}, {"", "d", "A"}},
      {R"(root ::= [^a-c]{2})", {"xy", "é日", "😀\n"}, {"x", "xa", "xyz"}},
      {R"(root ::= "x"? "y"+)", {"y", "xyy"}, {"x", "xxy"}},
      {R"(root ::= "a"{2,3} "b"{2,} "c"{,2} "d"{2})",
       {"aabbdd", "aaabbbbbcdd", "aabbccdd"},
       {"abbdd", "aaaabbdd", "aabdd", "aabbcccdd", "aabbd"}},
      {R"(root ::= "\x41\u00e9\U0001F600\n\t\r\\\"")", {"Aé😀\n\t\r\\\""}, {"A"}},
      {R"(root ::= [\]\[\-\^\\])", {"]", "[", "-", "^", "\\"}, {"a"}},
      {R"(root ::= [a-])", {"a", "-"}, {"b"}},
      {"root ::= .", {"a", "é", "\n", "日", "😀"}, {"", "ab"}},
      {"root ::= a b # comment\n# another\na ::= \"1\"\nb ::= \"2\" |\n  \"3\"\n",
       {"12", "13"},
       {"1", "23"}},
      {"root ::=\n  (\n \"a\" # in a group\n |\n \"b\"\n)\n", {"a", "b"}, {"ab"}},
      {"root ::= (\"a\")(\"b\"){0}", {"a"}, {"ab"}},
      {"root ::= \"a\" |", {"a", ""}, {"b"}},
      {"root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", "(()"}},
      {"root ::= rule-1_x\r\nrule-1_x ::= \"q\"\r\n", {"q"}, {""}},
      // What may be empty, over and over.
      {"root ::= (\"a\"*)* \"b\"", {"b", "aab"}, {"a"}},
      {"root ::= (\"a\"? \"b\"?){3}", {"", "ab", "aab", "ababab", "bbb"}, {"abababa", "bbbb"}},
      {"root ::= (\"a\"{0,1000}){0,1000} \"b\"", {"b", "aaab"}, {"a"}},
      // Turning into itself is one more way to the same place.
      {"root ::= root | \"a\"", {"a"}, {"", "aa"}},
      {"root ::= a\na ::= b | \"x\"\nb ::= a | \"y\"", {"x", "y"}, {"xy"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.grammar);
    const auto program = gbnf(c.grammar);
    for (const std::string& text : c.yes) EXPECT_TRUE(matches(program, text)) << text;
    for (const std::string& text : c.no) EXPECT_FALSE(matches(program, text)) << text;
  }
}

TEST(Gbnf, CharactersAreWholeUtf8) {
  const auto program = gbnf("root ::= [à-ü]+ [一-龥] [^\\x00-\\x7F]");
  EXPECT_TRUE(matches(program, "éü中é"));
  EXPECT_FALSE(begins(program, "\x80"));
  EXPECT_FALSE(begins(program, "\xC3\xBF"));  // ÿ
  EXPECT_FALSE(begins(program, "\xED\xA0"));  // a surrogate
  EXPECT_FALSE(begins(program, "\xC0\x80"));  // overlong
  EXPECT_FALSE(begins(gbnf("root ::= ."), "\xF4\x90"));
  // Every code point is in exactly one of a class and its opposite.
  const auto in = gbnf("root ::= [\\u0041-\\u07ff\\u0900-\\U00012345]");
  const auto out = gbnf("root ::= [^\\u0041-\\u07ff\\u0900-\\U00012345]");
  for (uint32_t c = 1; c <= kLastCodePoint; c = c * 9 / 8 + 1) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(c, text);
    const bool inside = (c >= 0x41 && c <= 0x7FF) || (c >= 0x900 && c <= 0x12345);
    EXPECT_EQ(matches(in, text), inside) << c;
    EXPECT_EQ(matches(out, text), !inside) << c;
  }
}

TEST(Gbnf, ErrorsNameLineAndColumn) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "line 1, column 1: there is no rule 'root'"},
      {"a ::= \"x\"", "no rule 'root'"},
      {"root ::= b", "line 1, column 10: rule 'b' is not defined"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule 'root' is defined twice"},
      {"root = \"a\"", "line 1, column 6: '::=' is expected"},
      {"root ::= \"a", "line 1, column 10: this '\"' is never closed"},
      {"root ::= [a", "line 1, column 10: this '[' is never closed"},
      {"root ::=\n (\"a\"", "line 2, column 2: this '(' is never closed"},
      {"root ::= \"a\")", "line 1, column 13: unexpected ')'"},
      {"root ::= *", "line 1, column 10: there is nothing before '*'"},
      {"root ::= \"a\"{3,2}", "line 1, column 13: {3,2}: the least is above the most"},
      {"root ::= \"a\"{x}", "column 14: a number is expected"},
      {"root ::= \"a\"{1", "'}' is expected"},
      {"root ::= \"a\"{1,99999999999}", "at most 2147483646 repetitions"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"\\x4\"", "2 hexadecimal digits"},
      {"root ::= \"\\ud800\"", "D800 is not a character"},
      {"root ::= \"\\U00110000\"", "is not a character"},
      {"root ::= [b-a]", "ends before it begins"},
      {"root ::= []", "no character is in this class"},
      {"root ::= \"\xFF\"", "not UTF-8"},
      {"root ::= <think>", "tokens by number or name are not supported"},
      {"root ::= $", "unexpected '$'"},
      {"? ::= \"a\"", "a rule's name"},
      {"root ::= root \"a\" | \"b\"", "rule 'root' begins with itself"},
      {"root ::= \"a\"? root \"b\" | \"c\"", "rule 'root' begins with itself"},
      {"root ::= a\na ::= b \"x\" | \"y\"\nb ::= a", "begins with itself"},
  };
  for (const auto& [source, message] : cases) {
    SCOPED_TRACE(source);
    const std::string error = gbnf_error(source);
    EXPECT_THAT(error, StartsWith("grammar: "));
    EXPECT_THAT(error, HasSubstr(message));
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

// What is too large is refused, or works, at once.
TEST(Gbnf, AttacksAreRefusedOrHarmless) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(gbnf_error(std::string("root ::= ").append(500'000, '(')),
              HasSubstr("groups in each other"));
  EXPECT_THAT(gbnf_error(std::string(2 << 20, ' ')), HasSubstr("bytes, at most"));
  EXPECT_THAT(gbnf_error(std::string("root ::= \"a\"").append(1000, '?')),
              HasSubstr("too many repetitions"));
  std::string wide = "root ::= ";
  for (int i = 0; i < 100'000; ++i) wide += "[^x]";
  EXPECT_THAT(gbnf_error(wide), HasSubstr("more than 500000 nodes"));
  EXPECT_TRUE(matches(gbnf("root ::= \"a\"{1,1000000000}"), "aaa"));
  EXPECT_EQ(gbnf("root ::= ((\"a\"{1,9999}){1,9999}){1,9999}")->nodes.size(), 8u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Gbnf, TooAmbiguousTextsAreRefused) {
  // Each new place multiplies the ways to read the text before it.
  std::string source = "root ::= ";
  for (int i = 0; i < 4; ++i) source += "((\"a\" | \"aa\"){1,400}){1,400} ";
  Matcher matcher(gbnf(source), byte_trie());
  bool refused = false;
  for (int i = 0; i < 400 && !refused; ++i) {
    const auto mask = matcher.mask();
    refused = !mask || !matcher.accept("a");
    if (!mask) {
      EXPECT_EQ(mask.error().kind, ErrorKind::kTooLarge);
      EXPECT_THAT(mask.error().message, HasSubstr("too ambiguous"));
    }
  }
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace sluice::text::grammar
