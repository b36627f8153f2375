// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <chrono>

#include "grammar/matching.h"

namespace sluice::text::grammar {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Case {
  const char* schema;
  std::vector<std::string> yes;
  std::vector<std::string> no;
};

TEST(Schema, WhatIsHeldInFull) {
  const Case cases[] = {
      {R"({"type": "boolean"})", {"true", "false"}, {"null", "1", "truefalse"}},
      {R"({"type": "null"})", {"null"}, {"0"}},
      {R"({"type": "integer"})", {"0", "-7", "1234567890123456789"}, {"01", "1.0", "1e3", "-", ""}},
      {R"({"type": "number"})",
       {"0", "-1.5", "1e10", "2.5E-3", "0.30000000000000004", "1e+279"},
       {".5", "1.", "1e", "1e280", "1e999", "+1"}},
      {R"({"type": ["string", "null"]})", {"\"\"", "null"}, {"1"}},
      {R"({"type": "string"})",
       {R"("")", R"("a\"\\\n\u00e9\ud83d\ude00é日😀")"},
       {"\"", "\"\n\"", R"("\x")", R"("\ud83d")", R"("\ude00")", R"("\u12")", "\"\xFF\""}},
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("日本語")", R"("\n\"")", R"("\ud83d\ude00é")"},
       {R"("a")", R"("abcd")"}},
      {R"({"enum": ["a", "ab", "b\"c", 1, null, [1, {"x": 2}]]})",
       {R"("a")", R"("ab")", R"("b\"c")", "1", "null", R"([1, {"x": 2}])", R"([1,{"x":2}])"},
       {R"("abc")", "2", "[1]"}},
      {R"({"const": {"k": [true]}})",
       {R"({"k":[true]})", "{\n  \"k\": [\n    true\n  ]\n}"},
       {"{}"}},
      {R"({"type": "string", "enum": ["x", 3]})", {R"("x")"}, {"3"}},
      {R"({"type": "integer", "minimum": -5, "maximum": 123})",
       {"-5", "-1", "0", "9", "10", "99", "100", "123"},
       {"-6", "124", "200", "1000", "-10", "-0"}},
      {R"({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 1000})",
       {"10", "999"},
       {"9", "1000", "0"}},
      {R"({"type": "integer", "minimum": 17})",
       {"17", "20", "99", "100", "12345"},
       {"16", "9", "-20"}},
      {R"({"type": "integer", "maximum": -17})", {"-17", "-20", "-100"}, {"-16", "17", "0"}},
      {R"({"type": "number", "minimum": 0})", {"0", "1.5"}, {"-1"}},
      {R"({"type": "array", "items": {"type": "integer"}})",
       {"[]", "[1]", "[1, 2,3]", "[\n  1,\n  2\n]"},
       {"[1,]", "[,]", "[\"a\"]"}},
      {R"({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3})",
       {"[1,2]", "[1,2,3]"},
       {"[]", "[1]", "[1,2,3,4]"}},
      {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
      {R"({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false, "minItems": 1})",
       {"[1]", "[1,\"a\"]"},
       {"[]", "[\"a\"]", "[1,\"a\",2]"}},
      {R"({"items": [{"type": "null"}], "additionalItems": {"type": "integer"}})",
       {"[]", "[null]", "[null, 1, 2]"},
       {"[1]", "[null,null]"}},
      {R"({"prefixItems": [true, true], "minItems": 3})", {"[1,2,3]", "[1,2,3,4]"}, {"[1,2]"}},
      {R"({"type": "object"})", {"{}", R"({"a": {"b": []}, "c": 1.5})"}, {"[]", "{\"a\"}"}},
      {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}},
           "required": ["b"]})",
       {R"({"a":1,"b":null})", R"({"b": null})", "{\n\t\"b\": null\n}"},
       {"{}", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,"c":1})", R"({"a":1,"b":null,})"}},
      {R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false})",
       {"{}", R"({"a":1})", R"({"b":1})", R"({"c":1})", R"({"a":1,"c":2})",
        R"({"a":1,"b":2,"c":3})"},
       {R"({"c":1,"a":2})", R"({,"a":1})", R"({"a":1 "b":2})", R"({"d":1})"}},
      {R"({"type": "object", "properties": {}, "additionalProperties": false})",
       {"{}", "{ }"},
       {R"({"a":1})"}},
      {R"({"type": "object", "properties": {"ab": {"type": "null"}},
           "additionalProperties": {"type": "integer"}})",
       {"{}", R"({"ab":null})", R"({"ab":null,"x":1,"y":2})", R"({"a":1})", R"({"abc":1})",
        R"({"":1})", R"({"\n":1})", R"({"é":1})"},
       {R"({"ab":1})", R"({"x":null})", R"({"x":1,"ab":null})"}},
      {R"({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1,
           "maxProperties": 2})",
       {R"({"a":1})", R"({"a":1,"b":2})"},
       {"{}", R"({"a":1,"b":2,"c":3})"}},
      {R"({"type": "object", "patternProperties": {"^x-[a-z]+$": {"type": "integer"}},
           "additionalProperties": false})",
       {"{}", R"({"x-a":1})"},
       {R"({"y":1})", R"({"x-":1})"}},
      {R"({"type": "object", "required": ["q"]})",
       {R"({"q": 1})", R"({"q": 1, "r": 2})"},
       {"{}", R"({"r":1})"}},
      {R"({"anyOf": [{"type": "integer"}, {"type": "boolean"}]})", {"1", "true"}, {"null"}},
      {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
           "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})",
       {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":1})"},
       {"{}"}},
      {R"({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
           {"properties": {"b": {"type": "null"}, "a": {"minimum": 5}}, "required": ["b"]}]})",
       {R"({"a":5,"b":null})"},
       {R"({"a":4,"b":null})", R"({"a":5})"}},
      {R"({"$ref": "#/$defs/n~1a%20b", "$defs": {"n/a b": {"type": "null"}}})", {"null"}, {"1"}},
      {R"({"type": "object", "properties": {"v": {"type": "integer"},
           "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["v", "next"]})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}},
      {R"({"$ref": "#/definitions/a", "minLength": 2, "definitions": {"a": {"type": "string", "maxLength": 3}}})",
       {R"("ab")", R"("abc")"},
       {R"("a")", R"("abcd")"}},
      {R"({"type": "array", "items": {"$ref": "#", "maxItems": 1}})",
       {"[]", "[[],[[]]]"},
       {"[[[],[]]]", "[1]"}},
      {R"({"type": "string", "nullable": true})", {"null", "\"a\""}, {"1"}},
      {"true", {"1", "{}", "[null]"}, {"x"}},
      {"{}", {"1", "\"x\"", R"({"a":[]})"}, {"", "tru"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.schema);
    const Schema s = schema(c.schema);
    EXPECT_THAT(s.notes, IsEmpty());
    for (const std::string& text : c.yes) EXPECT_TRUE(matches(s.program, text)) << text;
    for (const std::string& text : c.no) EXPECT_FALSE(matches(s.program, text)) << text;
  }
}

TEST(Schema, FormatsAndPatterns) {
  const Case cases[] = {
      {R"({"format": "date"})", {"2024-02-29"}, {"2024-13-01", "24-01-01", "2024-01-32"}},
      {R"({"format": "time"})", {"23:59:60Z", "01:02:03.5+01:30"}, {"24:00:00Z", "01:02:03"}},
      {R"({"format": "date-time"})",
       {"2024-01-01T00:00:00Z"},
       {"2024-01-01 00:00:00Z", "2024-01-01"}},
      {R"({"format": "uuid"})",
       {"123e4567-e89b-12d3-a456-426614174000"},
       {"123e4567e89b12d3a456426614174000"}},
      {R"({"pattern": "^[a-z]{2,4}$"})", {"ab", "abcd"}, {"a", "abcde", "AB"}},
      {R"({"pattern": "b+"})", {"b", "abba", "b日"}, {"a", ""}},
      {R"({"pattern": "^(?:foo|ba[rz])-\\d+\\.?$"})", {"foo-1", "baz-22."}, {"foo-", "bat-1"}},
      {R"({"pattern": "^a|b$"})", {"ax", "xb", "a"}, {"xa", "bx"}},
      {R"({"pattern": "^\\w+@[^@\\s]+$"})", {"a_1@b.c", "x@é\\\\"}, {"@b", "a@b c", "a@"}},
      {R"({"pattern": "^.\\t\\\\$"})", {R"(x\t\\)"}, {"xt", "x\t\\"}},
      {R"({"pattern": "^\\u0041[\\x42-C]*?$"})", {"A", "ABC"}, {"D"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.schema);
    const Schema s = schema(c.schema);
    EXPECT_THAT(s.notes, IsEmpty());
    for (const std::string& text : c.yes)
      EXPECT_TRUE(matches(s.program, "\"" + text + "\"")) << text;
    for (const std::string& text : c.no)
      EXPECT_FALSE(matches(s.program, "\"" + text + "\"")) << text;
  }
}

TEST(Schema, WhatIsRelaxedIsReported) {
  const struct {
    const char* schema;
    const char* note;
    const char* allowed;
  } cases[] = {
      {R"({"type": "array", "uniqueItems": true})", "the schema: uniqueItems is not checked",
       "[1,1]"},
      {R"({"properties": {"a": {"not": {"type": "null"}}}})", "/properties/a: not is not checked",
       R"({"a":null})"},
      {R"({"type": "string", "pattern": "(?=a)b"})", "pattern uses what cannot be followed",
       "\"x\""},
      {R"({"type": "string", "format": "email"})", "format has a name that is not checked",
       "\"x\""},
      {R"({"type": "string", "pattern": "^a+$", "maxLength": 2})", "minLength, maxLength",
       "\"aaa\""},
      {R"({"type": "string", "minLength": 3, "maxLength": 2})", "maxLength is below minLength",
       "\"abcd\""},
      {R"({"type": "number", "maximum": 5})", "maximum of numbers", "7"},
      {R"({"type": "integer", "minimum": 5, "maximum": 2})", "maximum is below minimum", "6"},
      {R"({"type": "integer", "multipleOf": 3})", "multipleOf is not checked", "4"},
      {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", "oneOf is read as anyOf", "4"},
      {R"({"$ref": "#/nowhere"})", "$ref is found nowhere", "4"},
      {R"({"$ref": "#"})", "the schema: is what no finite document follows", "4"},
      {R"({"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]})",
       "no finite document", "{}"},
      {R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "no finite document", "4"},
      {R"({"$ref": "http://example.com/x"})", "$ref is found nowhere", "4"},
      {R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})",
       "leads back to itself", "4"},
      {R"({"allOf": [{"$ref": "#"}], "type": "null"})", "leads back to itself", "null"},
      {R"({"allOf": [{"type": "string"}, {"type": "integer"}]})", "type contradicts", "\"a\""},
      {R"({"type": "any"})", "type has an unknown name", "4"},
      {"false", "is false", "4"},
      {R"({"enum": []})", "empty enum", "4"},
      {R"({"anyOf": []})", "anyOf is empty", "4"},
      {R"({"type": "object", "properties": {"a": {}}, "maxProperties": 0})",
       "maxProperties is not checked", R"({"a":1})"},
      {R"({"type": "object", "properties": {"a": {"type": "string", "required": true}}, "minProperties": 1})",
       "minProperties is not checked", "{}"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.schema);
    const Schema s = schema(c.schema);
    EXPECT_THAT(s.notes, Contains(HasSubstr(c.note)));
    EXPECT_TRUE(matches(s.program, c.allowed));
  }
}

TEST(Schema, WhatIsNoSchemaIsAnErrorWithItsPath) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "this is no JSON"},
      {"{\"type\": }", "this is no JSON"},
      {"3", "the document must be an object, true or false, but is number"},
      {R"({"properties": {"a/b": 3}})", "/properties/a~1b must be an object"},
      {R"({"properties": []})", "/properties must be an object, but is array"},
      {R"({"items": {"anyOf": {}}})", "/items/anyOf must be an array"},
      {R"({"type": 3})", "/type must be a string or an array of strings, but is 3"},
      {R"({"type": "string", "minLength": -1})",
       "/minLength must be a whole number from 0, but is -1"},
      {R"({"type": "string", "maxLength": 1.5})", "/maxLength"},
      {R"({"required": [1]})", "/required must be an array of strings"},
      {R"({"enum": "a"})", "/enum must be an array"},
      {R"({"$ref": 1})", "/$ref must be a string"},
      {R"({"allOf": [1]})", "/allOf/0 must be an object"},
      {R"({"minimum": "0"})", "/minimum must be a number"},
  };
  for (const auto& [text, message] : cases) {
    SCOPED_TRACE(text);
    EXPECT_THAT(schema_error(text), HasSubstr(message));
  }
  EXPECT_THAT(schema_error(std::string(1'000'000, '[')), HasSubstr("nested deeper"));
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += R"({"items":)";
  EXPECT_THAT(schema_error((deep + "{}").append(10'000, '}')), HasSubstr("nested deeper"));
}

TEST(Schema, AnyObject) {
  const auto program = compiled(grammar_of_any_object());
  EXPECT_TRUE(matches(program, R"({"a": [1, {"b": null}]})"));
  EXPECT_FALSE(begins(program, "[1]"));
}

// As coding agents send them: 200 tools in 100 KB, long strings within each other.
TEST(Schema, ToolSetsCompileAtOnce) {
  constexpr const char* kTool =
      R"({}{{"type":"object","properties":{{"name":{{"const":"tool_{}"}},"arguments":{{"type":"object","properties":{{"path":{{"type":"string","minLength":1,"maxLength":65536,"description":"{:d>150}"}},"edits":{{"type":"array","minItems":1,"maxItems":2000,"items":{{"type":"object","properties":{{"old":{{"type":"string","maxLength":2000}},"new":{{"type":"string","maxLength":2000}}}},"required":["old","new"]}}}},"options":{{"type":"object","properties":{{}}}}}},"required":["path"]}}}},"required":["name","arguments"]}})";
  std::string tools;
  for (int tool = 0; tool < 200; ++tool)
    tools += fmt::format(fmt::runtime(kTool), tool > 0 ? "," : "", tool, "");
  const std::string text = fmt::format(R"({{"anyOf":[{}]}})", tools);
  ASSERT_GT(text.size(), 100'000u);
  const auto start = std::chrono::steady_clock::now();
  const Schema s = schema(text);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("200 tools, %zu KB: compiled in %.1f ms, %zu nodes\n", text.size() / 1000,
              1e3 * seconds, s.program->nodes.size());
  EXPECT_LT(seconds, 0.5);
  EXPECT_THAT(s.notes, IsEmpty());
  EXPECT_TRUE(matches(
      s.program,
      R"({"name": "tool_199", "arguments": {"path": "a", "edits": [{"old": "x", "new": "y"}], "options": {}}})"));
  EXPECT_FALSE(begins(s.program, R"({"name": "tool_200)"));
}

TEST(Schema, BombsAreRelaxed) {
  // 2^60 schemas, if they were written out.
  std::string defs = R"("a0": {"type": "integer"})";
  for (int i = 1; i < 60; ++i) {
    const std::string one = fmt::format(R"({{"$ref": "#/$defs/a{}"}})", i - 1);
    defs += fmt::format(R"(,"a{}": {{"allOf": [{},{}]}})", i, one, one);
  }
  const auto start = std::chrono::steady_clock::now();
  const Schema all = schema(R"({"$ref": "#/$defs/a59", "$defs": {)" + defs + "}}");
  EXPECT_THAT(all.notes, Contains(HasSubstr("too many")));
  const Schema self = schema(
      R"({"anyOf": [{"properties": {"a": {"$ref": "#", "minItems": 1}, "b": {"$ref": "#", "title": "x", "minItems": 2}}}]})");
  EXPECT_TRUE(begins(self.program, R"({"a":)"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace sluice::text::grammar
