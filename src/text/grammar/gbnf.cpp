// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/gbnf.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "text/quoted.h"
#include "text/unicode.h"

namespace sluice::text::grammar {
namespace {

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source) {}

  Result<Grammar> parse() {
    if (source_.size() > kMaxGrammarBytes)
      return fail(ErrorKind::kTooLarge, "grammar: {} bytes, at most {} are read", source_.size(),
                  kMaxGrammarBytes);
    skip_space(true);
    while (!at_end()) {
      SLUICE_TRY(rule());
      skip_space(true);
    }
    const auto root = names_.find("root");
    if (root == names_.end())
      return error(0, "there is no rule 'root': the text to generate follows it");
    for (const auto& [name, id] : names_) {
      if (grammar_.rules[static_cast<size_t>(id)].expr < 0)
        return error(first_use_[static_cast<size_t>(id)],
                     fmt::format("rule {} is not defined", quoted(name)));
    }
    grammar_.root = root->second;
    return std::move(grammar_);
  }

 private:
  tl::unexpected<Error> error(size_t at, std::string_view what) const {
    size_t line = 1;
    size_t begin = 0;
    for (size_t i = 0; i < std::min(at, source_.size()); ++i) {
      if (source_[i] != '\n') continue;
      ++line;
      begin = i + 1;
    }
    return fail(ErrorKind::kUsage, "grammar: line {}, column {}: {}", line, at - begin + 1, what);
  }

  bool at_end() const { return at_ >= source_.size(); }
  char peek() const { return at_end() ? '\0' : source_[at_]; }

  void skip_space(bool newlines) {
    while (!at_end()) {
      const char c = source_[at_];
      if (c == '#') {
        while (!at_end() && source_[at_] != '\n' && source_[at_] != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  Result<std::string> name() {
    const size_t begin = at_;
    while (!at_end() && is_name(source_[at_])) ++at_;
    if (at_ == begin) return error(at_, "a rule's name (letters, digits, '-') is expected here");
    return std::string(source_.substr(begin, at_ - begin));
  }

  RuleId rule_id(const std::string& name, size_t at) {
    const auto [found, fresh] = names_.try_emplace(name, -1);
    if (fresh) {
      found->second = grammar_.add_rule(name);
      first_use_.push_back(at);
    }
    return found->second;
  }

  Status rule() {
    const size_t begin = at_;
    SLUICE_ASSIGN(const std::string rule_name, name());
    skip_space(false);
    if (source_.substr(at_, 3) != "::=")
      return error(at_, fmt::format("'::=' is expected after the name {}", quoted(rule_name)));
    at_ += 3;
    skip_space(true);
    const auto id = static_cast<size_t>(rule_id(rule_name, begin));
    if (grammar_.rules[id].expr >= 0)
      return error(begin, fmt::format("rule {} is defined twice", quoted(rule_name)));
    SLUICE_ASSIGN(const ExprId expr, alternatives(0));
    grammar_.rules[id].expr = expr;
    if (!at_end() && peek() != '\n' && peek() != '\r')
      return error(at_, fmt::format("unexpected {}: a rule ends with its line",
                                    quoted(source_.substr(at_, 1))));
    return {};
  }

  Result<ExprId> alternatives(int depth) {
    if (depth > kMaxGroupDepth)
      return error(at_,
                   fmt::format("more than {} groups in each other: use rules", kMaxGroupDepth));
    std::vector<ExprId> parts;
    for (;;) {
      SLUICE_ASSIGN(const ExprId part, items(depth));
      parts.push_back(part);
      skip_space(depth > 0);
      if (peek() != '|') break;
      ++at_;
      skip_space(true);
    }
    return grammar_.choice(std::move(parts));
  }

  Result<ExprId> items(int depth) {
    std::vector<ExprId> parts;
    for (;;) {
      skip_space(depth > 0);
      const char c = peek();
      if (at_end() || c == '|' || c == ')' || c == '\n' || c == '\r') break;
      SLUICE_ASSIGN(ExprId part, item(depth));
      SLUICE_TRY(repetitions(part, depth));
      parts.push_back(part);
    }
    return grammar_.sequence(std::move(parts));
  }

  Result<ExprId> item(int depth) {
    const char c = peek();
    if (c == '"') return literal();
    if (c == '[') return char_class();
    if (c == '.') {
      ++at_;
      return grammar_.char_class({{0, kLastCodePoint}});
    }
    if (c == '(') {
      const size_t begin = at_++;
      skip_space(true);
      SLUICE_ASSIGN(const ExprId inner, alternatives(depth + 1));
      skip_space(true);
      if (peek() != ')') return error(begin, "this '(' is never closed");
      ++at_;
      return inner;
    }
    if (c == '<' || c == '!')
      return error(at_, "tokens by number or name are not supported: write their text in quotes");
    if (!is_name(c)) {
      if (c == '*' || c == '+' || c == '?' || c == '{')
        return error(at_, fmt::format("there is nothing before '{}' to repeat", c));
      return error(at_, fmt::format("unexpected {}", quoted(source_.substr(at_, 1))));
    }
    const size_t begin = at_;
    SLUICE_ASSIGN(const std::string text, name());
    return grammar_.call(rule_id(text, begin));
  }

  // What follows an item, in place.
  Status repetitions(ExprId& part, int depth) {
    for (int count = 0;; ++count) {
      skip_space(depth > 0);
      const char c = peek();
      if (c != '*' && c != '+' && c != '?' && c != '{') return {};
      if (count == kMaxGroupDepth) return error(at_, "too many repetitions of one item");
      ++at_;
      if (c == '*') part = grammar_.repeat(part, 0, kUnlimited);
      if (c == '+') part = grammar_.repeat(part, 1, kUnlimited);
      if (c == '?') part = grammar_.optional(part);
      if (c == '{') SLUICE_TRY(bounds(part));
    }
  }

  Result<int32_t> number() {
    int32_t value = 0;
    const char* const begin = source_.data() + at_;
    const auto [end, code] = std::from_chars(begin, source_.data() + source_.size(), value);
    if (!is_digit(peek())) return error(at_, "a number is expected here");
    if (code != std::errc() || value == kUnlimited)
      return error(at_, fmt::format("at most {} repetitions can be asked for", kUnlimited - 1));
    at_ += static_cast<size_t>(end - begin);
    skip_space(false);
    return value;
  }

  Status bounds(ExprId& part) {
    const size_t begin = at_ - 1;
    skip_space(false);
    int32_t min = 0;
    if (peek() != ',') {
      SLUICE_ASSIGN(min, number());
    }
    int32_t max = min;
    if (peek() == ',') {
      ++at_;
      skip_space(false);
      max = kUnlimited;
      if (is_digit(peek())) {
        SLUICE_ASSIGN(max, number());
      }
    }
    if (peek() != '}') return error(at_, "'}' is expected here, as in {2}, {2,} or {2,5}");
    ++at_;
    if (min > max)
      return error(begin, fmt::format("{{{},{}}}: the least is above the most", min, max));
    part = grammar_.repeat(part, min, max);
    return {};
  }

  Result<uint32_t> hex(size_t digits) {
    uint32_t value = 0;
    const char* const begin = source_.data() + at_;
    const std::string_view text = source_.substr(at_, digits);
    const auto [end, code] = std::from_chars(begin, begin + text.size(), value, 16);
    if (text.size() < digits || code != std::errc() || end != begin + digits)
      return error(at_, fmt::format("{} hexadecimal digits are expected here", digits));
    if (value > kLastCodePoint || (value >= 0xD800 && value <= 0xDFFF))
      return error(at_, fmt::format("{:X} is not a character", value));
    at_ += digits;
    return value;
  }

  // One character of a literal or class, escapes resolved.
  Result<uint32_t> character() {
    if (peek() != '\\') {
      const Utf8Character decoded = decode_utf8(source_.substr(at_));
      if (decoded.status != Utf8Status::kValid) return error(at_, "these bytes are not UTF-8");
      at_ += decoded.length;
      return decoded.code_point;
    }
    const size_t begin = at_++;
    const char c = peek();
    ++at_;
    switch (c) {
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'n':
        return '\n';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<uint32_t>(c);
      default:
        return error(begin,
                     "unknown escape: known are \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH \\uHHHH and "
                     "\\UHHHHHHHH");
    }
  }

  Result<ExprId> literal() {
    const size_t begin = at_++;
    std::string bytes;
    while (peek() != '"') {
      if (at_end()) return error(begin, "this '\"' is never closed");
      SLUICE_ASSIGN(const uint32_t c, character());
      append_utf8(c, bytes);
    }
    ++at_;
    return grammar_.literal(std::move(bytes));
  }

  Result<ExprId> char_class() {
    const size_t begin = at_++;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    std::vector<Range> ranges;
    while (peek() != ']') {
      if (at_end()) return error(begin, "this '[' is never closed");
      const size_t at = at_;
      SLUICE_ASSIGN(const uint32_t first, character());
      uint32_t last = first;
      if (peek() == '-' && at_ + 1 < source_.size() && source_[at_ + 1] != ']') {
        ++at_;
        SLUICE_ASSIGN(last, character());
        if (last < first) return error(at, "a range that ends before it begins");
      }
      ranges.push_back({first, last});
    }
    ++at_;
    if (normal_ranges(ranges, negated).empty())
      return error(begin, "no character is in this class");
    return grammar_.char_class(std::move(ranges), negated);
  }

  std::string_view source_;
  size_t at_ = 0;
  Grammar grammar_;
  std::map<std::string, RuleId> names_;
  std::vector<size_t> first_use_;  // [rule]
};

}  // namespace

Result<Grammar> parse_gbnf(std::string_view source) {
  return Parser(source).parse();
}

}  // namespace sluice::text::grammar
