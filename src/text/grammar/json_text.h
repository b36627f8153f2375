// SPDX-License-Identifier: Apache-2.0
// Rules for the parts of JSON texts. White space: after an opening bracket, a comma or a colon and
// before a closing bracket, one space, or a new line and up to 40 spaces or tabs.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

class JsonText {
 public:
  explicit JsonText(Grammar& grammar) : g_(grammar) {}

  ExprId space();
  ExprId any_value();
  ExprId any_object();
  ExprId any_array();
  ExprId number();        // at most 19 digits before the point, 20 behind it, exponents below 280
  ExprId non_negative();  // the same
  ExprId integer();       // at most 19 digits
  // Integers within the bounds, which are below 10^18 in size and in order; none: no bound.
  ExprId integer(std::optional<int64_t> least, std::optional<int64_t> most);
  ExprId boolean();
  ExprId null();
  ExprId string() { return string(0, kUnlimited); }
  ExprId string(int32_t least, int32_t most);  // in characters
  ExprId quoted(ExprId content) {
    return g_.sequence({g_.literal("\""), content, g_.literal("\"")});
  }
  // Exactly this value; objects and arrays with space where it may be.
  ExprId literal(const nlohmann::ordered_json& value);
  // One of the strings; common beginnings are shared.
  ExprId one_of(std::vector<std::string> strings);
  // A string that is none of `names`. (A name that is spelled with escapes it does not need
  // counts as another one.)
  ExprId string_except(std::vector<std::string> names);
  // A list of `item`s in brackets, `least` to `most` of them.
  ExprId array_of(ExprId item, int32_t least, int32_t most);

  // A character within a string, escapes included; with bounds: those of the ranges, in every
  // spelling that is needed for them.
  ExprId character();
  ExprId character(const std::vector<Range>& ranges);
  static std::string in_quotes(std::string_view text);
  static std::string escaped(std::string_view text);  // without the quotes

 private:
  ExprId define(RuleId& rule, const char* name, ExprId (JsonText::*make)());
  ExprId escape(std::string_view without);  // but for these letters behind the backslash
  ExprId make_space();
  ExprId make_value();
  ExprId make_object();
  ExprId make_array();
  ExprId unsigned_number();
  ExprId digits(int32_t least, int32_t most);
  ExprId natural(uint64_t least, std::optional<uint64_t> most);
  ExprId same_length(std::string_view least, std::string_view most);

  Grammar& g_;
  RuleId space_ = -1, value_ = -1, object_ = -1, array_ = -1;
  RuleId number_ = -1, non_negative_ = -1, integer_ = -1, boolean_ = -1;
  std::map<std::pair<int32_t, int32_t>, RuleId> strings_;
  ExprId character_ = -1;
};

}  // namespace sluice::text::grammar
