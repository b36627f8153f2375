// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace sluice::text::jinja {

namespace {

// [[fill]align][sign][0][width][,][.precision][type]
struct Specification {
  char32_t fill = ' ';
  char align = '\0';  // '<', '>', '^', '=' or none
  char sign = '-';
  bool grouped = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = '\0';
  bool trusted = true;  // whether the format is
};

constexpr int64_t kMaxPrecision = 300;

bool is_align(char32_t c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

int64_t parse_number(std::string_view text, size_t& at) {
  int64_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, text[at] - '0', &value)) {
      reject("format: number is too large");
    }
    ++at;
  }
  return value;
}

Specification parse_specification(std::string_view text) {
  Specification result;
  size_t at = 0;
  if (!text.empty()) {
    const auto [c, length] = character_at(text, 0);
    if (length < text.size() && is_align(static_cast<unsigned char>(text[length]))) {
      result.fill = c;
      result.align = text[length];
      at = length + 1;
    } else if (is_align(c)) {
      result.align = text[0];
      at = 1;
    }
  }
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') result.sign = text[at++];
  if (peek() == '0') {
    ++at;
    if (result.align == '\0') {
      result.align = '=';
      result.fill = '0';
    }
  }
  result.width = parse_number(text, at);
  if (peek() == ',') {
    result.grouped = true;
    ++at;
  }
  if (peek() == '.') {
    ++at;
    const size_t digits = at;
    result.precision = parse_number(text, at);
    if (at == digits) reject("format: precision without digits");
  }
  if (at < text.size()) result.type = text[at++];
  if (at != text.size()) reject("format: '{}' is not supported", text.substr(0, 40));
  return result;
}

// The digits of a number, without its sign.
std::string number_digits(const Specification& spec, const Value& value) {
  const char type = spec.type;
  const bool integer = value.is_integral() || value.is(Kind::kBigInt);
  if (integer &&
      (type == '\0' || type == 'd' || type == 'x' || type == 'X' || type == 'o' || type == 'b')) {
    if (spec.precision >= 0) reject("format: integers have no precision");
    const int64_t number = value.as_integer();
    const uint64_t size = value.is(Kind::kBigInt) ? value.as_big_integer()
                          : number < 0            ? uint64_t{0} - static_cast<uint64_t>(number)
                                                  : static_cast<uint64_t>(number);
    switch (type) {
      case 'x':
        return fmt::format("{:x}", size);
      case 'X':
        return fmt::format("{:X}", size);
      case 'o':
        return fmt::format("{:o}", size);
      case 'b':
        return fmt::format("{:b}", size);
      default:
        return fmt::format("{}", size);
    }
  }
  const double real = std::fabs(static_cast<double>(value.number()));
  const auto precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  switch (type) {
    case '\0':
      return spec.precision < 0 ? format_real(real) : fmt::format("{:.{}g}", real, precision);
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", real, precision);
    case 'e':
      return fmt::format("{:.{}e}", real, precision);
    case 'E':
      return fmt::format("{:.{}E}", real, precision);
    case 'g':
      return fmt::format("{:.{}g}", real, precision);
    case '%':
      return fmt::format("{:.{}f}%", real * 100, precision);
    default:
      reject("format: type '{}' cannot write {}", type, describe(value));
  }
}

void group_thousands(std::string& digits) {
  size_t end = 0;
  while (end < digits.size() && digits[end] >= '0' && digits[end] <= '9') ++end;
  for (size_t at = end; at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
}

void append_fill(TextBuilder& out, const Specification& spec, size_t count) {
  if (count == 0) return;
  TextBuilder one(out.budget());
  one.append_code_point(spec.fill, spec.trusted);
  out.append_repeated(one.take(), count);
}

// `sign` stays in front of the padding of '='.
void append_padded(TextBuilder& out, const Specification& spec, char align, std::string_view sign,
                   const Text& text, bool trusted) {
  const size_t length = count_characters(text.view()) + sign.size();
  const auto width = static_cast<size_t>(spec.width);
  const size_t padding = width > length ? width - length : 0;
  const size_t left = align == '<' ? 0 : align == '^' ? padding / 2 : padding;
  if (align == '=') out.append(sign, trusted);
  append_fill(out, spec, left);
  if (align != '=') out.append(sign, trusted);
  out.append(text);
  append_fill(out, spec, padding - left);
}

void append_formatted(TextBuilder& out, const Specification& spec, const Value& value) {
  if (spec.precision > kMaxPrecision && !value.is_string()) reject("format: precision too large");
  const bool number =
      value.is_number() && spec.type != 's' && !(value.is(Kind::kBool) && spec.type == '\0');
  if (number) {
    std::string digits = number_digits(spec, value);
    if (spec.grouped) group_thousands(digits);
    const bool negative = value.is(Kind::kFloat) ? std::signbit(value.as_real())
                                                 : value.is_integral() && value.as_integer() < 0;
    const std::string_view sign = negative           ? "-"
                                  : spec.sign == '+' ? "+"
                                  : spec.sign == ' ' ? " "
                                                     : "";
    const bool trusted = !value.untrusted();
    const Text text =
        trusted ? Text::trusted(std::move(digits)) : Text::from_context(std::move(digits));
    return append_padded(out, spec, spec.align == '\0' ? '>' : spec.align, sign, text, trusted);
  }
  if (spec.type != '\0' && spec.type != 's') {
    reject("format: type '{}' cannot write {}", spec.type, describe(value));
  }
  const Value string = to_string(out.budget(), value);
  const Text& text = string.as_text();
  if (spec.precision < 0) {
    return append_padded(out, spec, spec.align == '\0' ? '<' : spec.align, "", text, true);
  }
  TextBuilder cut(out.budget());
  cut.append(text, 0, character_offset(text.view(), static_cast<size_t>(spec.precision)));
  append_padded(out, spec, spec.align == '\0' ? '<' : spec.align, "", cut.take(), true);
}

class BracesFormatter {
 public:
  BracesFormatter(Budget& budget, const Text& format, const Arguments& arguments)
      : out_(budget), format_(format), text_(format.view()), arguments_(arguments) {}

  Value run() {
    while (at_ < text_.size()) {
      const size_t brace = text_.find_first_of("{}", at_);
      const size_t end = std::min(brace, text_.size());
      out_.append(format_, at_, end);
      at_ = end;
      if (at_ >= text_.size()) break;
      out_.budget().step();
      if (text_.substr(at_).starts_with("{{") || text_.substr(at_).starts_with("}}")) {
        out_.append(format_, at_, at_ + 1);
        at_ += 2;
      } else if (text_[at_] == '}') {
        reject("format: single '}}'");
      } else {
        field();
      }
    }
    return Value::string(out_);
  }

 private:
  void field() {
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) reject("format: '{{' without '}}'");
    std::string_view content = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (content.find('{') != std::string_view::npos) reject("format: nested fields");
    std::string_view specification;
    if (const size_t colon = content.find(':'); colon != std::string_view::npos) {
      specification = content.substr(colon + 1);
      content = content.substr(0, colon);
    }
    char conversion = '\0';
    if (content.size() >= 2 && content[content.size() - 2] == '!') {
      conversion = content.back();
      content.remove_suffix(2);
    }
    const Value& value = argument(content);
    Specification spec = parse_specification(specification);
    spec.trusted = format_.wholly_trusted();
    if (conversion == '\0') return append_formatted(out_, spec, value);
    TextBuilder converted(out_.budget());
    if (conversion == 'r') {
      append_repr(converted, value);
    } else if (conversion == 's') {
      append_string(converted, value);
    } else {
      reject("format: conversion '{}' is not supported", conversion);
    }
    append_formatted(out_, spec, Value::string(converted));
  }

  const Value& argument(std::string_view name) {
    if (name.empty()) return positional(next_++);
    if (name[0] >= '0' && name[0] <= '9') {
      size_t at = 0;
      const int64_t index = parse_number(name, at);
      if (at != name.size()) reject("format: field '{}' is not supported", name.substr(0, 40));
      return positional(static_cast<size_t>(index));
    }
    for (const auto& [known, value, unused] : arguments_.named) {
      if (known == name) return value;
    }
    reject("format: no argument '{}'", name.substr(0, 40));
  }

  const Value& positional(size_t index) {
    if (index >= arguments_.positional.size()) reject("format: no argument {}", index);
    return arguments_.positional[index];
  }

  TextBuilder out_;
  const Text& format_;
  std::string_view text_;
  const Arguments& arguments_;
  size_t at_ = 0;
  size_t next_ = 0;
};

class PercentFormatter {
 public:
  PercentFormatter(Budget& budget, const Text& format, const Value& values)
      : out_(budget), format_(format), text_(format.view()), values_(values) {}

  Value run() {
    while (at_ < text_.size()) {
      const size_t end = std::min(text_.find('%', at_), text_.size());
      out_.append(format_, at_, end);
      at_ = end;
      if (at_ >= text_.size()) break;
      out_.budget().step();
      conversion();
    }
    const bool tuple = is_tuple();
    if ((tuple && next_ < values_.as_list().size()) ||
        (!tuple && !values_.is_dict() && !values_.is_list() && next_ == 0)) {
      reject("format: not all arguments are used");
    }
    return Value::string(out_);
  }

 private:
  bool is_tuple() const { return values_.is_list() && values_.list_kind() == ListKind::kTuple; }

  const Value& next_value() {
    if (!is_tuple()) {
      if (next_++ > 0) reject("format: not enough arguments");
      return values_;
    }
    if (next_ >= values_.as_list().size()) reject("format: not enough arguments");
    return values_.as_list()[next_++];
  }

  const Value& named_value() {
    const size_t close = text_.find(')', at_);
    if (close == std::string_view::npos || !values_.is_dict()) {
      reject("format: '%(' needs a name and an object");
    }
    const std::string_view name = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    const Value* found = values_.as_dict().find(name);
    if (found == nullptr) reject("format: no value '{}'", name.substr(0, 40));
    return *found;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void conversion() {
    ++at_;
    if (peek() == '%') {
      out_.append(format_, at_, at_ + 1);
      ++at_;
      return;
    }
    const Value* named = peek() == '(' ? &named_value() : nullptr;
    Specification spec;
    spec.align = '>';
    spec.trusted = format_.wholly_trusted();
    for (;; ++at_) {
      if (peek() == '-') {
        spec.align = '<';
        spec.fill = ' ';
      } else if (peek() == '0' && spec.align != '<') {
        spec.align = '=';
        spec.fill = '0';
      } else if (peek() == '+' || peek() == ' ') {
        spec.sign = peek();
      } else {
        break;
      }
    }
    spec.width = parse_number(text_, at_);
    if (peek() == '.') {
      ++at_;
      spec.precision = parse_number(text_, at_);
    }
    const char type = peek();
    ++at_;
    const Value& value = named != nullptr ? *named : next_value();
    append(spec, type, value);
  }

  void append(Specification spec, char type, const Value& value) {
    if (type == 's' || type == 'r') {
      TextBuilder text(out_.budget());
      type == 's' ? append_string(text, value) : append_repr(text, value);
      if (spec.fill == '0') {
        spec.fill = ' ';
        spec.align = '>';
      }
      return append_formatted(out_, spec, Value::string(text));
    }
    const bool integer = type == 'd' || type == 'i' || type == 'x' || type == 'X' || type == 'o';
    if (!integer && type != 'f' && type != 'e' && type != 'g') {
      reject("format: '%{}' is not supported", type == '\0' ? ' ' : type);
    }
    if (!value.is_number()) reject("format: '%{}' needs a number", type);
    spec.type = type == 'i' ? 'd' : type;
    if (integer && value.is(Kind::kFloat)) {
      if (std::fabs(value.as_real()) >= 0x1p63 || std::isnan(value.as_real())) {
        reject("format: number is too large");
      }
      const auto whole = static_cast<int64_t>(value.as_real());
      return append_formatted(out_, spec, Value::integer(whole).set_untrusted(value.untrusted()));
    }
    append_formatted(out_, spec, value);
  }

  TextBuilder out_;
  const Text& format_;
  std::string_view text_;
  const Value& values_;
  size_t at_ = 0;
  size_t next_ = 0;
};

}  // namespace

Value format_braces(Budget& budget, const Text& format, const Arguments& arguments) {
  return BracesFormatter(budget, format, arguments).run();
}

Value format_percent(Budget& budget, const Value& format, const Value& values) {
  return PercentFormatter(budget, format.as_text(), values).run();
}

}  // namespace sluice::text::jinja
