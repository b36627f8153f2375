// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/lexer.h"

#include <array>
#include <utility>

#include "text/jinja/text.h"
#include "text/unicode.h"

namespace sluice::text::jinja {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name(char c) {
  return is_name_start(c) || is_digit(c);
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr std::array<std::string_view, 7> kLongOperators = {
    "//", "**", "==", "!=", ">=", "<=", "="};
constexpr std::string_view kOperators = "+-/*%~[](){}<>=.:|,";

// Newlines as \n, without the one at the very end.
std::string normalize(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize(source)) {}

  std::vector<TemplateToken> run() {
    while (at_ < source_.size()) {
      text_until_tag();
      if (at_ < source_.size()) tag();
    }
    add(TokenType::kEnd, {}, at_);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(size_t offset, std::string message) {
    throw Failure{ErrorKind::kBadFile, std::move(message), position(offset)};
  }

  // Asked for nearly ascending offsets.
  Position position(size_t offset) {
    if (offset < counted_) {
      counted_ = line_begin_ = 0;
      line_ = 1;
    }
    for (; counted_ < offset && counted_ < source_.size(); ++counted_) {
      if (source_[counted_] == '\n') {
        ++line_;
        line_begin_ = counted_ + 1;
      }
    }
    return {line_, static_cast<int>(offset - line_begin_) + 1};
  }

  void add(TokenType type, std::string text, size_t offset) {
    tokens_.push_back({type, std::move(text), position(offset)});
  }

  char peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  bool looking_at(std::string_view text) const {
    return std::string_view(source_).substr(at_, text.size()) == text;
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }

  // The text before the next tag, with what that tag strips from its end taken off.
  void text_until_tag() {
    const size_t begin = at_;
    size_t tag = begin;
    while (tag < source_.size()) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos) tag = source_.size();
      const char next = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
      if (tag < source_.size() && next != '%' && next != '{' && next != '#') {
        ++tag;
        continue;
      }
      break;
    }
    std::string_view text = std::string_view(source_).substr(begin, tag - begin);
    if (tag < source_.size()) {
      const char mark = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      if (mark == '-') {
        text.remove_suffix(trailing_space(text));
      } else if (mark != '+' && source_[tag + 1] != '{') {
        strip_line_begin(text);
      }
    }
    if (!text.empty()) add(TokenType::kText, std::string(text), begin);
    at_ = tag;
  }

  void strip_line_begin(std::string_view& text) const {
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !at_line_begin_) return;
    const std::string_view last = text.substr(line);
    if (leading_space(last) == last.size()) text.remove_suffix(last.size());
  }

  void tag() {
    if (looking_at("{#")) return comment();
    const bool block = looking_at("{%");
    const size_t begin = at_;
    at_ += 2;
    if (peek() == '-' || peek() == '+') ++at_;
    if (block && raw(begin)) return;
    add(block ? TokenType::kBlockBegin : TokenType::kOutputBegin, {}, begin);
    inside(block ? "%}" : "}}", begin);
    add(block ? TokenType::kBlockEnd : TokenType::kOutputEnd, {}, at_);
    close(block ? "%}" : "}}", block);
  }

  // At the closing sign with its mark: passes it and what it strips.
  void close(std::string_view sign, bool trims_newline) {
    const bool strip = peek() == '-';
    const bool keep = peek() == '+';
    if (strip || keep) ++at_;
    at_ += sign.size();
    if (strip) {
      at_ += leading_space(rest());
    } else if (!keep && trims_newline && peek() == '\n') {
      ++at_;
    }
    at_line_begin_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void comment() {
    const size_t begin = at_;
    at_ += 2;
    if (peek() == '-' || peek() == '+') ++at_;
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail(begin, "comment without its end '#}'");
    const char mark = end > at_ ? source_[end - 1] : '\0';
    at_ = mark == '-' || mark == '+' ? end - 1 : end;
    close("#}", true);
  }

  // {% raw %} ... {% endraw %}; false and nothing read if it is another block.
  bool raw(size_t begin) {
    const size_t saved = at_;
    at_ += leading_space(rest());
    if (!looking_at("raw") || is_name(peek(3))) {
      at_ = saved;
      return false;
    }
    at_ += 3;
    at_ += leading_space(rest());
    if (!looking_at("%}") && !looking_at("-%}")) {
      at_ = saved;
      return false;
    }
    close("%}", false);
    const size_t content = at_;
    for (size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      at_ = open + 2;
      const char mark = peek();
      if (mark == '-' || mark == '+') ++at_;
      at_ += leading_space(rest());
      if (!looking_at("endraw")) continue;
      at_ += 6;
      at_ += leading_space(rest());
      if (!looking_at("%}") && !looking_at("-%}") && !looking_at("+%}")) continue;
      std::string_view text = std::string_view(source_).substr(content, open - content);
      if (mark == '-') {
        text.remove_suffix(trailing_space(text));
      } else if (mark != '+') {
        strip_line_begin(text);
      }
      if (!text.empty()) add(TokenType::kText, std::string(text), content);
      close("%}", true);
      return true;
    }
    fail(begin, "'raw' without 'endraw'");
  }

  // Tokens up to the closing sign, which may have a mark before it.
  void inside(std::string_view end, size_t begin) {
    std::string open;  // brackets not yet closed
    for (;;) {
      at_ += leading_space(rest());
      if (at_ >= source_.size()) fail(begin, fmt::format("tag without its end '{}'", end));
      if (open.empty()) {
        const bool plus = end == "%}" && peek() == '+' && rest().substr(1).starts_with(end);
        const bool minus = peek() == '-' && rest().substr(1).starts_with(end);
        if (looking_at(end) || minus || plus) return;
      }
      token(open);
    }
  }

  void token(std::string& open) {
    const size_t begin = at_;
    const char c = peek();
    if (is_name_start(c)) {
      while (is_name(peek())) ++at_;
      return add(TokenType::kName, source_.substr(begin, at_ - begin), begin);
    }
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string();
    for (const std::string_view sign : kLongOperators) {
      if (looking_at(sign)) {
        at_ += sign.size();
        return add(TokenType::kOperator, std::string(sign), begin);
      }
    }
    if (kOperators.find(c) == std::string_view::npos) {
      fail(begin, fmt::format("unexpected character '{}'", c));
    }
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c == ')' || c == ']' || c == '}') {
      const char partner = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != partner) fail(begin, fmt::format("unexpected '{}'", c));
      open.pop_back();
    }
    ++at_;
    add(TokenType::kOperator, std::string(1, c), begin);
  }

  // Digits with single underscores between them.
  void digits(std::string& out) {
    while (is_digit(peek()) || (peek() == '_' && is_digit(peek(1)))) {
      if (peek() != '_') out += peek();
      ++at_;
    }
  }

  void number() {
    const size_t begin = at_;
    const char kind = static_cast<char>(peek(1) | 0x20);
    if (peek() == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) return based_number(kind);
    std::string text;
    bool real = false;
    digits(text);
    // After a dot it is an index, as in a.0.1
    const bool index = !tokens_.empty() && tokens_.back().type == TokenType::kOperator &&
                       tokens_.back().text == ".";
    if (!index && peek() == '.' && is_digit(peek(1))) {
      real = true;
      text += '.';
      ++at_;
      digits(text);
    }
    const char sign = peek(1);
    if (!index && (peek() | 0x20) == 'e' &&
        (is_digit(sign) || ((sign == '+' || sign == '-') && is_digit(peek(2))))) {
      real = true;
      text += 'e';
      text += sign;
      at_ += 2;
      digits(text);
    }
    add(real ? TokenType::kFloat : TokenType::kInteger, std::move(text), begin);
  }

  void based_number(char kind) {
    const size_t begin = at_;
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
    at_ += 2;
    int64_t value = 0;
    bool any = false;
    for (; peek() == '_' || (hex_value(peek()) >= 0 && hex_value(peek()) < base); ++at_) {
      if (peek() == '_') continue;
      any = true;
      if (__builtin_mul_overflow(value, base, &value) ||
          __builtin_add_overflow(value, hex_value(peek()), &value)) {
        fail(begin, "integer is too large");
      }
    }
    if (!any) fail(begin, "number without digits");
    add(TokenType::kInteger, std::to_string(value), begin);
  }

  void string() {
    const size_t begin = at_;
    const char quote = source_[at_++];
    std::string text;
    while (peek() != quote || at_ >= source_.size()) {
      if (at_ >= source_.size()) fail(begin, "string without its end");
      if (peek() == '\\' && at_ + 1 < source_.size()) {
        escape(text);
      } else {
        text += source_[at_++];
      }
    }
    ++at_;
    add(TokenType::kString, std::move(text), begin);
  }

  void escape(std::string& out) {
    static constexpr std::string_view kNames = "ntrabfv\\'\"";
    static constexpr std::string_view kValues = "\n\t\r\a\b\f\v\\'\"";
    const size_t begin = at_;
    const char c = peek(1);
    at_ += 2;
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      out += kValues[known];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      out_code_point(out, begin, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    } else if (c >= '0' && c <= '7') {
      char32_t code = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i, ++at_) {
        code = code * 8 + static_cast<char32_t>(peek() - '0');
      }
      append_utf8(code, out);
    } else if (c != '\n') {  // an escaped newline is nothing, others stay as they are
      out += '\\';
      out += c;
    }
  }

  char32_t hex_digits(size_t begin, int count) {
    char32_t code = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      const int digit = hex_value(peek());
      if (digit < 0) fail(begin, "escape with too few hexadecimal digits");
      code = code * 16 + static_cast<char32_t>(digit);
    }
    return code;
  }

  void out_code_point(std::string& out, size_t begin, int count) {
    char32_t code = hex_digits(begin, count);
    if (code >= 0xD800 && code < 0xDC00 && looking_at("\\u")) {  // the other half may follow
      const size_t saved = at_;
      at_ += 2;
      const char32_t low = hex_digits(begin, 4);
      if (low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else {
        at_ = saved;
      }
    }
    if (code > 0x10FFFF) fail(begin, "escape beyond U+10FFFF");
    if (code >= 0xD800 && code < 0xE000) {
      out += kReplacementCharacter;
    } else {
      append_utf8(code, out);
    }
  }

  std::string source_;
  size_t at_ = 0;
  bool at_line_begin_ = true;
  std::vector<TemplateToken> tokens_;
  size_t counted_ = 0;
  size_t line_begin_ = 0;
  int line_ = 1;
};

}  // namespace

std::vector<TemplateToken> tokenize_template(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace sluice::text::jinja
