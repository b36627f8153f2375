// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/json_text.h"

#include <algorithm>

#include "base/check.h"
#include "text/unicode.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

constexpr int32_t kMostIndent = 40;
constexpr int32_t kMostDigits = 18;  // after the first

}  // namespace

ExprId JsonText::define(RuleId& rule, const char* name, ExprId (JsonText::*make)()) {
  if (rule < 0) {
    rule = g_.add_rule(name);  // first, since it may refer to itself
    const RuleId id = rule;
    const ExprId expr = (this->*make)();
    g_.rules[static_cast<size_t>(id)].expr = expr;
  }
  return g_.call(rule);
}

ExprId JsonText::space() {
  return define(space_, "space", &JsonText::make_space);
}

ExprId JsonText::make_space() {
  const ExprId indent = g_.repeat(g_.char_class({{' ', ' '}, {'\t', '\t'}}), 0, kMostIndent);
  const ExprId line = g_.sequence({g_.optional(g_.literal("\r")), g_.literal("\n"), indent});
  return g_.optional(g_.choice({g_.literal(" "), line}));
}

ExprId JsonText::any_value() {
  return define(value_, "value", &JsonText::make_value);
}

ExprId JsonText::make_value() {
  return g_.choice({any_object(), any_array(), string(), number(), boolean(), null()});
}

ExprId JsonText::any_object() {
  return define(object_, "object", &JsonText::make_object);
}

ExprId JsonText::make_object() {
  const ExprId member = g_.sequence({string(), g_.literal(":"), space(), any_value()});
  const ExprId more = g_.repeat(g_.sequence({g_.literal(","), space(), member}), 0, kUnlimited);
  return g_.sequence({g_.literal("{"), space(), g_.optional(g_.sequence({member, more, space()})),
                      g_.literal("}")});
}

ExprId JsonText::any_array() {
  return define(array_, "array", &JsonText::make_array);
}

ExprId JsonText::make_array() {
  return array_of(any_value(), 0, kUnlimited);
}

ExprId JsonText::array_of(ExprId item, int32_t least, int32_t most) {
  const ExprId open = g_.sequence({g_.literal("["), space()});
  if (most == 0) return g_.sequence({open, g_.literal("]")});
  const ExprId more = g_.repeat(g_.sequence({g_.literal(","), space(), item}),
                                std::max(least - 1, 0), most == kUnlimited ? most : most - 1);
  ExprId items = g_.sequence({item, more, space()});
  if (least == 0) items = g_.optional(items);
  return g_.sequence({open, items, g_.literal("]")});
}

ExprId JsonText::digits(int32_t least, int32_t most) {
  return g_.repeat(g_.char_class({{'0', '9'}}), least, most);
}

ExprId JsonText::unsigned_number() {
  const ExprId whole = g_.choice(
      {g_.literal("0"), g_.sequence({g_.char_class({{'1', '9'}}), digits(0, kMostDigits)})});
  const ExprId fraction = g_.sequence({g_.literal("."), digits(1, 20)});
  // Up to 279, so that no number is beyond what a double can hold.
  const ExprId exponent =
      g_.choice({digits(1, 2), g_.sequence({g_.literal("1"), digits(2, 2)}),
                 g_.sequence({g_.literal("2"), g_.char_class({{'0', '7'}}), digits(1, 1)})});
  const ExprId power =
      g_.sequence({g_.char_class({{'e', 'e'}, {'E', 'E'}}),
                   g_.optional(g_.char_class({{'+', '+'}, {'-', '-'}})), exponent});
  return g_.sequence({whole, g_.optional(fraction), g_.optional(power)});
}

ExprId JsonText::non_negative() {
  return define(non_negative_, "non-negative", &JsonText::unsigned_number);
}

ExprId JsonText::number() {
  if (number_ < 0)
    number_ = g_.add_rule("number", g_.sequence({g_.optional(g_.literal("-")), unsigned_number()}));
  return g_.call(number_);
}

ExprId JsonText::integer() {
  if (integer_ < 0) {
    const ExprId rest = g_.sequence({g_.char_class({{'1', '9'}}), digits(0, kMostDigits)});
    integer_ = g_.add_rule(
        "integer", g_.sequence({g_.optional(g_.literal("-")), g_.choice({g_.literal("0"), rest})}));
  }
  return g_.call(integer_);
}

ExprId JsonText::integer(std::optional<int64_t> least, std::optional<int64_t> most) {
  if (!least && !most) return integer();
  std::vector<ExprId> parts;
  if (!least || *least < 0) {
    // -x, x from 1 or -most.
    const uint64_t nearest = most && *most < 0 ? static_cast<uint64_t>(-*most) : 1;
    const std::optional<uint64_t> furthest =
        least ? std::optional(static_cast<uint64_t>(-*least)) : std::nullopt;
    parts.push_back(g_.sequence({g_.literal("-"), natural(nearest, furthest)}));
  }
  if (!most || *most >= 0) {
    const uint64_t from = least && *least > 0 ? static_cast<uint64_t>(*least) : 0;
    parts.push_back(
        natural(from, most ? std::optional(static_cast<uint64_t>(*most)) : std::nullopt));
  }
  return g_.choice(std::move(parts));
}

// Numbers without sign from `least`, up to `most` or 19 digits.
ExprId JsonText::natural(uint64_t least, std::optional<uint64_t> most) {
  std::vector<ExprId> parts;
  std::string from = std::to_string(least);
  const std::string to = most ? std::to_string(*most) : std::string();
  while (most && from.size() < to.size()) {
    parts.push_back(same_length(from, std::string(from.size(), '9')));
    const size_t length = from.size();
    from.assign(1, '1').append(length, '0');
  }
  if (most) {
    parts.push_back(same_length(from, to));
  } else {
    parts.push_back(same_length(from, std::string(from.size(), '9')));
    parts.push_back(g_.sequence(
        {g_.char_class({{'1', '9'}}), digits(static_cast<int32_t>(from.size()), kMostDigits)}));
  }
  return g_.choice(std::move(parts));
}

ExprId JsonText::same_length(std::string_view least, std::string_view most) {
  const auto digit = [&](char first, char last) {
    return g_.char_class({{static_cast<uint32_t>(first), static_cast<uint32_t>(last)}});
  };
  const auto rest = static_cast<int32_t>(least.size()) - 1;
  if (rest == 0) return digit(least[0], most[0]);
  if (least[0] == most[0])
    return g_.sequence({digit(least[0], least[0]), same_length(least.substr(1), most.substr(1))});
  const bool from_zeros = least.find_first_not_of('0', 1) == std::string_view::npos;
  const bool to_nines = most.find_first_not_of('9', 1) == std::string_view::npos;
  const char first = from_zeros ? least[0] : static_cast<char>(least[0] + 1);
  const char last = to_nines ? most[0] : static_cast<char>(most[0] - 1);
  std::vector<ExprId> parts;
  if (!from_zeros)
    parts.push_back(
        g_.sequence({digit(least[0], least[0]),
                     same_length(least.substr(1), std::string(least.size() - 1, '9'))}));
  if (first <= last) parts.push_back(g_.sequence({digit(first, last), digits(rest, rest)}));
  if (!to_nines)
    parts.push_back(g_.sequence(
        {digit(most[0], most[0]), same_length(std::string(most.size() - 1, '0'), most.substr(1))}));
  return g_.choice(std::move(parts));
}

ExprId JsonText::boolean() {
  if (boolean_ < 0)
    boolean_ = g_.add_rule("boolean", g_.choice({g_.literal("true"), g_.literal("false")}));
  return g_.call(boolean_);
}

ExprId JsonText::null() {
  return g_.literal("null");
}

ExprId JsonText::escape(std::string_view without) {
  const ExprId hex = g_.char_class({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
  const ExprId d = g_.char_class({{'d', 'd'}, {'D', 'D'}});
  // Halves of surrogate pairs come together only.
  const ExprId plain = g_.choice(
      {g_.sequence({g_.char_class({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}),
                    g_.repeat(hex, 3, 3)}),
       g_.sequence({d, g_.char_class({{'0', '7'}}), g_.repeat(hex, 2, 2)})});
  const ExprId pair =
      g_.sequence({d, g_.char_class({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), hex, hex,
                   g_.literal("\\u"), d, g_.char_class({{'c', 'f'}, {'C', 'F'}}), hex, hex});
  std::vector<Range> named;
  for (const char c : std::string_view("\"\\/bfnrt"))
    if (without.find(c) == std::string_view::npos)
      named.push_back({static_cast<uint32_t>(c), static_cast<uint32_t>(c)});
  const ExprId code = g_.sequence({g_.literal("u"), g_.choice({plain, pair})});
  return g_.sequence({g_.literal("\\"), g_.choice({g_.char_class(std::move(named)), code})});
}

ExprId JsonText::character() {
  if (character_ < 0)
    character_ =
        g_.choice({g_.char_class({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}, true), escape({})});
  return character_;
}

ExprId JsonText::character(const std::vector<Range>& ranges) {
  std::vector<Range> raw;
  std::vector<ExprId> parts;
  for (const Range& r : normal_ranges(ranges, false)) {
    for (uint32_t c = r.first; c <= std::min<uint32_t>(r.last, '\\'); ++c) {
      if (c < 0x20 || c == '"' || c == '\\') {
        std::string text;
        append_utf8(c, text);
        parts.push_back(g_.literal(escaped(text)));
      } else {
        raw.push_back({c, c});
      }
    }
    if (r.last > '\\') raw.push_back({std::max<uint32_t>(r.first, '\\' + 1), r.last});
  }
  if (!raw.empty()) parts.push_back(g_.char_class(std::move(raw)));
  return g_.choice(std::move(parts));
}

ExprId JsonText::string(int32_t least, int32_t most) {
  RuleId& rule = strings_.try_emplace({least, most}, -1).first->second;
  // Characters are part of the rule, so that what may follow is known once for all such strings.
  if (rule < 0) rule = g_.add_rule("string", quoted(g_.repeat(character(), least, most)));
  return g_.call(rule);
}

std::string JsonText::in_quotes(std::string_view text) {
  return ordered_json(text).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string JsonText::escaped(std::string_view text) {
  const std::string whole = in_quotes(text);
  return whole.substr(1, whole.size() - 2);
}

ExprId JsonText::literal(const ordered_json& value) {
  if (value.is_object()) {
    std::vector<ExprId> parts = {g_.literal("{"), space()};
    bool first = true;
    for (const auto& [key, member] : value.items()) {
      if (!std::exchange(first, false)) {
        parts.push_back(g_.literal(","));
        parts.push_back(space());
      }
      parts.push_back(g_.literal(in_quotes(key) + ":"));
      parts.push_back(space());
      parts.push_back(literal(member));
    }
    if (!first) parts.push_back(space());
    parts.push_back(g_.literal("}"));
    return g_.sequence(std::move(parts));
  }
  if (value.is_array()) {
    std::vector<ExprId> parts = {g_.literal("["), space()};
    bool first = true;
    for (const ordered_json& item : value) {
      if (!std::exchange(first, false)) {
        parts.push_back(g_.literal(","));
        parts.push_back(space());
      }
      parts.push_back(literal(item));
    }
    if (!first) parts.push_back(space());
    parts.push_back(g_.literal("]"));
    return g_.sequence(std::move(parts));
  }
  return g_.literal(value.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
}

ExprId JsonText::one_of(std::vector<std::string> strings) {
  for (std::string& s : strings) s = escaped(s);
  std::ranges::sort(strings);
  strings.erase(std::unique(strings.begin(), strings.end()), strings.end());
  // Levels of the tree of beginnings, without recursion over their length: what is common is one
  // literal, so that the depth is that of the branches.
  const auto tree = [&](const auto& self, size_t from, size_t to, size_t skip) -> ExprId {
    const std::string& first = strings[from];
    const std::string& last = strings[to - 1];
    size_t common = skip;
    while (common < first.size() && common < last.size() && first[common] == last[common]) ++common;
    const ExprId beginning = g_.literal(first.substr(skip, common - skip));
    if (to - from == 1) return beginning;
    std::vector<ExprId> parts;
    for (size_t i = from; i < to;) {
      size_t j = i + 1;
      if (strings[i].size() > common)
        while (j < to && strings[j][common] == strings[i][common]) ++j;
      parts.push_back(strings[i].size() == common ? g_.literal("") : self(self, i, j, common));
      i = j;
    }
    const ExprId rest = g_.choice(std::move(parts));
    return common == skip ? rest : g_.sequence({beginning, rest});
  };
  // Texts of thousands of shared beginnings would nest too deeply; those are taken one by one.
  constexpr size_t kLongest = 256;
  if (std::ranges::any_of(strings, [](const std::string& s) { return s.size() > kLongest; })) {
    std::vector<ExprId> parts;
    for (const std::string& s : strings) parts.push_back(g_.literal(s));
    return quoted(g_.choice(std::move(parts)));
  }
  return quoted(tree(tree, 0, strings.size(), 0));
}

ExprId JsonText::string_except(std::vector<std::string> names) {
  constexpr size_t kMostBytes = 20'000;
  std::vector<std::u32string> texts;
  size_t total = 0;
  for (const std::string& name : names) {
    std::u32string text;
    for (std::string_view rest = name; !rest.empty();) {
      const Utf8Character c = decode_utf8(rest);
      text += c.code_point;
      rest.remove_prefix(c.length);
    }
    // Written with a number, it could be spelled in too many ways.
    if (escaped(name).find("\\u") == std::string::npos) texts.push_back(std::move(text));
    total += name.size();
  }
  if (texts.empty() || total > kMostBytes) return string();
  std::ranges::sort(texts);
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  const ExprId any = g_.repeat(character(), 0, kUnlimited);
  const ExprId close = g_.literal("\"");
  // A rule for each beginning of a name: what may follow so that it becomes no name. `names` are
  // sorted, and [from, to) begin with the same `depth` characters.
  const auto after = [&](const auto& self, size_t from, size_t to, size_t depth) -> ExprId {
    const bool is_name = texts[from].size() == depth;
    size_t i = is_name ? from + 1 : from;
    std::vector<ExprId> parts;
    std::vector<Range> known = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    std::string known_escapes;
    while (i < to) {
      size_t j = i + 1;
      const char32_t c = texts[i][depth];
      while (j < to && texts[j][depth] == c) ++j;
      std::string character;
      append_utf8(c, character);
      const std::string spelled = escaped(character);
      if (spelled.size() == 2 && spelled[0] == '\\')
        known_escapes += spelled[1];
      else
        known.push_back({c, c});
      // A rule each keeps expressions flat, however long names are.
      const RuleId rule = g_.add_rule("other-name", self(self, i, j, depth + 1));
      parts.push_back(g_.sequence({g_.literal(spelled), g_.call(rule)}));
      i = j;
    }
    parts.push_back(g_.sequence({g_.char_class(std::move(known), true), any, close}));
    parts.push_back(g_.sequence({escape(known_escapes), any, close}));
    if (!is_name) parts.push_back(close);
    return g_.choice(std::move(parts));
  };
  // Recursion goes as deep as the longest name.
  constexpr size_t kLongestName = 200;
  std::erase_if(texts, [](const std::u32string& t) { return t.size() > kLongestName; });
  if (texts.empty()) return string();
  const RuleId rule =
      g_.add_rule("other-name", g_.sequence({g_.literal("\""), after(after, 0, texts.size(), 0)}));
  return g_.call(rule);
}

}  // namespace sluice::text::grammar
