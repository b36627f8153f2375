// SPDX-License-Identifier: Apache-2.0
// What a text may look like: rules over characters. Written by people (gbnf.h) or made from a JSON
// schema (json_schema.h), compiled by program.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text::grammar {

using ExprId = int32_t;
using RuleId = int32_t;

// Code points first..last.
struct Range {
  uint32_t first;
  uint32_t last;
  auto operator<=>(const Range&) const = default;
};

constexpr uint32_t kLastCodePoint = 0x10FFFF;
constexpr int32_t kUnlimited = std::numeric_limits<int32_t>::max();

struct Expr {
  enum class Kind : uint8_t { kLiteral, kClass, kSequence, kChoice, kRepeat, kRule };
  Kind kind = Kind::kLiteral;
  std::string bytes;          // kLiteral; may be empty
  std::vector<Range> ranges;  // kClass: sorted, not empty, no two touch, no surrogates
  std::vector<ExprId> parts;  // kSequence, kChoice; kRepeat: one
  int32_t min = 0;            // kRepeat
  int32_t max = 0;            // kRepeat; kUnlimited
  RuleId rule = -1;           // kRule
};

struct Rule {
  std::string name;  // for messages
  ExprId expr = -1;  // -1: not defined yet
};

// Expressions refer to each other by index, and are added bottom up.
struct Grammar {
  std::vector<Expr> exprs;
  std::vector<Rule> rules;
  RuleId root = -1;

  ExprId literal(std::string bytes);
  // `ranges` in any order; what is left after dropping surrogates must not be empty.
  ExprId char_class(std::vector<Range> ranges, bool negated = false);
  ExprId sequence(std::vector<ExprId> parts);  // none: the empty text
  ExprId choice(std::vector<ExprId> parts);    // at least one
  ExprId repeat(ExprId part, int32_t min, int32_t max);
  ExprId optional(ExprId part) { return repeat(part, 0, 1); }
  ExprId call(RuleId rule);
  RuleId add_rule(std::string name, ExprId expr = -1);
  // Any text up to the first `mark` (ASCII, not empty), and that.
  ExprId through(std::string_view mark);

 private:
  ExprId add(Expr expr);
  // Equal literals, classes and calls are one expression.
  std::map<std::string, ExprId, std::less<>> literals_;
  std::map<std::vector<Range>, ExprId> classes_;
  std::map<RuleId, ExprId> calls_;
};

// Sorted, joined, without surrogates; `negated`: all the other code points.
std::vector<Range> normal_ranges(std::vector<Range> ranges, bool negated);

}  // namespace sluice::text::grammar
