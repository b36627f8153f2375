// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/pattern.h"

#include <charconv>
#include <vector>

#include "text/unicode.h"

namespace sluice::text::grammar {
namespace {

constexpr int kMaxDepth = 100;
constexpr size_t kMaxBytes = 10'000;
constexpr int32_t kMaxRepeat = 1'000'000;

using Ranges = std::vector<Range>;
using Part = std::optional<ExprId>;  // nothing: not supported

const Ranges kDigits = {{'0', '9'}};
const Ranges kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const Ranges kSpace = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                       {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                       {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

class Parser {
 public:
  Parser(std::string_view text, Grammar& grammar, JsonText& json)
      : text_(text), g_(grammar), json_(json) {}

  Part parse() {
    std::vector<ExprId> parts;
    const ExprId anything = g_.repeat(json_.character(), 0, kUnlimited);
    do {
      std::vector<ExprId> sequence;
      if (!take('^')) sequence.push_back(anything);
      const Part body = items(0);
      if (!body) return {};
      sequence.push_back(*body);
      if (!take('$')) sequence.push_back(anything);
      parts.push_back(g_.sequence(std::move(sequence)));
    } while (take('|'));
    if (!text_.empty()) return {};
    return g_.choice(std::move(parts));
  }

 private:
  bool take(char c) {
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }

  Part alternatives(int depth) {
    std::vector<ExprId> parts;
    do {
      const Part part = items(depth);
      if (!part) return {};
      parts.push_back(*part);
    } while (take('|'));
    return g_.choice(std::move(parts));
  }

  Part items(int depth) {
    std::vector<ExprId> parts;
    while (!text_.empty() && text_[0] != '|' && text_[0] != ')' && text_[0] != '$') {
      Part part = item(depth);
      if (part) part = repetition(*part);
      if (!part) return {};
      parts.push_back(*part);
    }
    // An end in the middle could only match nothing.
    if (text_.starts_with('$') && (depth > 0 || (text_.size() > 1 && text_[1] != '|'))) return {};
    return g_.sequence(std::move(parts));
  }

  Part item(int depth) {
    if (take('(')) {
      if (take('?')) {
        if (take('<')) {  // a name, unless it looks behind
          const size_t end = text_.find('>');
          if (text_.starts_with('=') || text_.starts_with('!') || end == std::string_view::npos)
            return {};
          text_.remove_prefix(end + 1);
        } else if (!take(':')) {
          return {};
        }
      }
      if (depth == kMaxDepth) return {};
      const Part inner = alternatives(depth + 1);
      return take(')') ? inner : Part();
    }
    if (take('.')) return any_of({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}, true);
    if (take('[')) return char_class();
    if (text_[0] == '*' || text_[0] == '+' || text_[0] == '?' || text_[0] == '{' || text_[0] == '^')
      return {};
    Ranges ranges;
    if (!one(ranges)) return {};
    return any_of(std::move(ranges), false);
  }

  Part any_of(Ranges ranges, bool negated) {
    ranges = normal_ranges(std::move(ranges), negated);
    if (ranges.empty()) return {};
    return json_.character(ranges);
  }

  Part repetition(ExprId part) {
    int32_t min = 1;
    int32_t max = 1;
    if (take('*')) {
      min = 0;
      max = kUnlimited;
    } else if (take('+')) {
      max = kUnlimited;
    } else if (take('?')) {
      min = 0;
    } else if (take('{')) {
      if (!number(min)) return {};
      max = min;
      if (take(',')) {
        max = kUnlimited;
        if (!text_.starts_with('}') && !number(max)) return {};
      }
      if (!take('}') || min > max) return {};
    } else {
      return part;
    }
    take('?');  // as few as possible: the same texts
    if (!text_.empty() && (text_[0] == '*' || text_[0] == '+' || text_[0] == '{')) return {};
    return g_.repeat(part, min, max);
  }

  bool number(int32_t& value) {
    const auto [end, code] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (code != std::errc() || value < 0 || value > kMaxRepeat) return false;
    text_.remove_prefix(static_cast<size_t>(end - text_.data()));
    return true;
  }

  Part char_class() {
    const bool negated = take('^');
    Ranges ranges;
    while (!take(']')) {
      if (text_.empty()) return {};
      Ranges first;
      if (!one(first, true)) return {};
      const bool single = first.size() == 1 && first[0].first == first[0].last;
      if (single && text_.size() > 1 && text_[0] == '-' && text_[1] != ']') {
        take('-');
        Ranges last;
        if (!one(last, true) || last.size() != 1 || last[0].first != last[0].last ||
            last[0].first < first[0].first)
          return {};
        first[0].last = last[0].first;
      }
      ranges.insert(ranges.end(), first.begin(), first.end());
    }
    return any_of(std::move(ranges), negated);
  }

  // A character or an escape for one or many.
  bool one(Ranges& out, bool in_class = false) {
    if (text_.empty()) return false;
    if (!take('\\')) {
      const Utf8Character c = decode_utf8(text_);
      if (c.status != Utf8Status::kValid) return false;
      text_.remove_prefix(c.length);
      out = {{c.code_point, c.code_point}};
      return true;
    }
    if (text_.empty()) return false;
    const char c = text_[0];
    text_.remove_prefix(1);
    const auto exactly = [&](uint32_t code) {
      out = {{code, code}};
      return true;
    };
    switch (c) {
      case 'd':
        out = kDigits;
        return true;
      case 'D':
        out = normal_ranges(kDigits, true);
        return true;
      case 'w':
        out = kWord;
        return true;
      case 'W':
        out = normal_ranges(kWord, true);
        return true;
      case 's':
        out = kSpace;
        return true;
      case 'S':
        out = normal_ranges(kSpace, true);
        return true;
      case 'n':
        return exactly('\n');
      case 'r':
        return exactly('\r');
      case 't':
        return exactly('\t');
      case 'f':
        return exactly('\f');
      case 'v':
        return exactly('\v');
      case 'b':
        return in_class && exactly('\b');
      case 'x':
        return hex(2, out);
      case 'u':
        return hex(4, out);
      default:
        // Letters and digits have, or may get, another meaning.
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            static_cast<uint8_t>(c) >= 0x80)
          return false;
        return exactly(static_cast<uint8_t>(c));
    }
  }

  bool hex(size_t digits, Ranges& out) {
    uint32_t value = 0;
    if (text_.size() < digits) return false;
    const auto [end, code] = std::from_chars(text_.data(), text_.data() + digits, value, 16);
    if (code != std::errc() || end != text_.data() + digits) return false;
    if (value >= 0xD800 && value <= 0xDFFF) return false;
    text_.remove_prefix(digits);
    out = {{value, value}};
    return true;
  }

  std::string_view text_;
  Grammar& g_;
  JsonText& json_;
};

}  // namespace

std::optional<ExprId> pattern_expr(std::string_view pattern, Grammar& grammar, JsonText& json) {
  if (pattern.size() > kMaxBytes) return {};
  return Parser(pattern, grammar, json).parse();
}

}  // namespace sluice::text::grammar
