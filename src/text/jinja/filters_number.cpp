// SPDX-License-Identifier: Apache-2.0
// Filters that give numbers.
#include <charconv>
#include <cmath>
#include <optional>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

// Without white space around it and without the underscores between digits; empty if those are
// anywhere else.
std::string clean_number(std::string_view text) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      result += text[i];
      continue;
    }
    const bool between = i > 0 && i + 1 < text.size() &&
                         std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0 &&
                         std::isalnum(static_cast<unsigned char>(text[i + 1])) != 0;
    if (!between) return {};
  }
  return result;
}

std::optional<int64_t> read_integer(std::string_view text, int64_t base) {
  std::string clean = clean_number(text);
  bool negative = false;
  size_t at = 0;
  if (!clean.empty() && (clean[0] == '+' || clean[0] == '-')) negative = clean[at++] == '-';
  if (clean.size() > at + 1 && clean[at] == '0') {
    const char mark = static_cast<char>(clean[at + 1] | 0x20);
    const int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && marked == base) at += 2;
  }
  std::string digits(negative ? 1 : 0, '-');
  digits.append(clean, at);
  if (at < clean.size() && clean[at] == '-') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (error == std::errc::result_out_of_range)
    exceed("integer overflow: results must fit in 64 bits");
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<double> read_real(std::string_view text) {
  std::string clean = clean_number(text);
  if (!clean.empty() && clean[0] == '+') {
    clean.erase(0, 1);
    if (clean.empty() || clean[0] == '-') return std::nullopt;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(clean.data(), clean.data() + clean.size(), value);
  const bool whole = end == clean.data() + clean.size() && !clean.empty();
  if (error == std::errc::result_out_of_range && whole) {
    return clean.find("e-") != std::string::npos ? 0.0 : HUGE_VAL * (clean[0] == '-' ? -1 : 1);
  }
  if (error != std::errc() || !whole || clean.find('(') != std::string::npos) return std::nullopt;
  return value;
}

std::optional<int64_t> truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::fabs(value) >= 0x1p63) exceed("integer overflow: results must fit in 64 bits");
  return static_cast<int64_t>(value);
}

Value int_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("int", {"default", "base"});
  const int64_t base = integer_argument("int", "base", given[1], 10);
  if (base < 2 || base > 36) reject("int: 'base' must be 2 to 36");
  std::optional<int64_t> result;
  if (value.is_integral()) {
    result = value.as_integer();
  } else if (value.is(Kind::kBigInt)) {
    return value;
  } else if (value.is(Kind::kFloat)) {
    result = truncated(value.as_real());
  } else if (value.is_string()) {
    in.budget().work(value.as_text().size());
    result = read_integer(value.as_text().view(), base);
    if (!result) {
      if (const auto real = read_real(value.as_text().view())) result = truncated(*real);
    }
  } else if (value.is_undefined()) {
    reject("int cannot be applied to an undefined value");
  }
  const bool untrusted =
      value.untrusted() || (value.is_string() && !value.as_text().wholly_trusted());
  if (result) return Value::integer(*result).set_untrusted(untrusted);
  return given[0] != nullptr ? *given[0] : Value::integer(0);
}

Value float_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("float", {"default"});
  std::optional<double> result;
  if (value.is_number()) {
    result = static_cast<double>(value.number());
  } else if (value.is_string()) {
    in.budget().work(value.as_text().size());
    result = read_real(value.as_text().view());
  } else if (value.is_undefined()) {
    reject("float cannot be applied to an undefined value");
  }
  const bool untrusted =
      value.untrusted() || (value.is_string() && !value.as_text().wholly_trusted());
  if (result) return Value::real(*result).set_untrusted(untrusted);
  return given[0] != nullptr ? *given[0] : Value::real(0);
}

Value abs_filter(Interpreter&, const Value& value, const Arguments& arguments) {
  arguments.bind("abs", {});
  if (value.is(Kind::kBigInt)) return value;
  if (value.is_integral()) {
    if (value.as_integer() < 0) return negate(value);
    return Value::integer(value.as_integer()).set_untrusted(value.untrusted());
  }
  if (!value.is(Kind::kFloat)) reject("abs needs a number, not {}", describe(value));
  return Value::real(std::fabs(value.as_real())).set_untrusted(value.untrusted());
}

Value round_filter(Interpreter&, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("round", {"precision", "method"});
  const int64_t precision = integer_argument("round", "precision", given[0], 0);
  const std::string_view method =
      given[1] != nullptr ? text_argument("round", "method", given[1]).view() : "common";
  if (!value.is_number()) reject("round needs a number, not {}", describe(value));
  if (precision < -300 || precision > 300) reject("round: 'precision' must be -300 to 300");
  const auto number = static_cast<double>(value.number());
  const double scale = std::pow(10.0, static_cast<double>(precision));
  double result = 0;
  if (method == "common") {
    // Python rounds the decimal text of the number, half to even; an integer stays one.
    if (value.is_integral() && precision >= 0) {
      return Value::integer(value.as_integer()).set_untrusted(value.untrusted());
    }
    if (precision >= 0 && std::isfinite(number)) {
      const std::string text = fmt::format("{:.{}f}", number, precision);
      std::from_chars(text.data(), text.data() + text.size(), result);
    } else {
      result = std::nearbyint(number * scale) / scale;
    }
  } else if (method == "ceil") {
    result = std::ceil(number * scale) / scale;
  } else if (method == "floor") {
    result = std::floor(number * scale) / scale;
  } else {
    reject("round: 'method' must be common, ceil or floor");
  }
  return Value::real(result).set_untrusted(value.untrusted());
}

}  // namespace

const std::vector<BuiltinEntry>& number_filters() {
  static const auto* const kEntries = new std::vector<BuiltinEntry>{
      {"abs", abs_filter}, {"float", float_filter}, {"int", int_filter}, {"round", round_filter}};
  return *kEntries;
}

}  // namespace sluice::text::jinja
