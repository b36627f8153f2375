// SPDX-License-Identifier: Apache-2.0
// Comparing values, and their text forms.
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

namespace {

bool equal_dicts(Budget& budget, const DictObject& left, const DictObject& right) {
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    const Value* other = right.find(key);
    if (other == nullptr || !equal(budget, value, *other)) return false;
  }
  return true;
}

// Tuples differ from lists, as in Python; the other kinds only come from filters.
bool same_list_kind(const Value& left, const Value& right) {
  return (left.list_kind() == ListKind::kTuple) == (right.list_kind() == ListKind::kTuple);
}

bool is_printable(char32_t c) {
  if (c >= kInvalidByte) return false;
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
      return false;
    default:
      return true;
  }
}

void append_escaped(TextBuilder& out, const Text& text) {
  const std::string_view bytes = text.view();
  const bool double_quotes =
      bytes.find('\'') != std::string_view::npos && bytes.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  out.append(std::string_view(&quote, 1), false);
  TrustCursor cursor(text);
  size_t plain = 0;
  for (size_t i = 0; i < bytes.size();) {
    const auto [c, length] = character_at(bytes, i);
    std::string escape;
    if (c == '\\' || c == static_cast<unsigned char>(quote)) {
      escape = {'\\', static_cast<char>(c)};
    } else if (c == '\n') {
      escape = "\\n";
    } else if (c == '\r') {
      escape = "\\r";
    } else if (c == '\t') {
      escape = "\\t";
    } else if (!is_printable(c)) {
      const auto code = static_cast<uint32_t>(c >= kInvalidByte ? c - kInvalidByte : c);
      escape = code < 0x100     ? fmt::format("\\x{:02x}", code)
               : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                : fmt::format("\\U{:08x}", code);
    }
    if (!escape.empty()) {
      out.append(text, plain, i);
      out.append(escape, cursor.trusted(i));
      plain = i + length;
    }
    i += length;
  }
  out.append(text, plain, bytes.size());
  out.append(std::string_view(&quote, 1), false);
}

void append_items(TextBuilder& out, const std::vector<Value>& items) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) out.append(", ", false);
    first = false;
    append_repr(out, item);
  }
}

void append_entries(TextBuilder& out, const std::vector<std::pair<Value, Value>>& entries) {
  out.append("{", false);
  bool first = true;
  for (const auto& [key, value] : entries) {
    if (!first) out.append(", ", false);
    first = false;
    append_repr(out, key);
    out.append(": ", false);
    append_repr(out, value);
  }
  out.append("}", false);
}

}  // namespace

bool equal(Budget& budget, const Value& left, const Value& right) {
  budget.step();
  if (left.is_number() && right.is_number()) return left.number() == right.number();
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      budget.work(std::min(left.as_text().size(), right.as_text().size()));
      return left.as_text().bytes == right.as_text().bytes;
    case Kind::kList: {
      if (!same_list_kind(left, right)) return false;
      const auto& a = left.as_list();
      const auto& b = right.as_list();
      return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                        [&](const Value& x, const Value& y) { return equal(budget, x, y); });
    }
    case Kind::kDict:
      return equal_dicts(budget, left.as_dict(), right.as_dict());
    default:
      return left.identity() == right.identity();
  }
}

bool less(Budget& budget, const Value& left, const Value& right) {
  budget.step();
  if (left.is_number() && right.is_number()) return left.number() < right.number();
  if (left.is_string() && right.is_string()) {
    budget.work(std::min(left.as_text().size(), right.as_text().size()));
    return left.as_text().bytes < right.as_text().bytes;  // order of UTF-8 is that of code points
  }
  if (left.is_list() && right.is_list() && same_list_kind(left, right)) {
    const auto& a = left.as_list();
    const auto& b = right.as_list();
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
      if (!equal(budget, a[i], b[i])) return less(budget, a[i], b[i]);
    }
    return a.size() < b.size();
  }
  reject("{} and {} have no order", describe(left), describe(right));
}

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string result;
  if (text.front() == '-') {
    result = "-";
    text.remove_prefix(1);
  }
  const size_t mark = text.find('e');
  int exponent = 0;
  const bool negative = text[mark + 1] == '-';
  std::from_chars(text.data() + mark + 2, text.data() + text.size(), exponent);
  if (negative) exponent = -exponent;
  std::string digits(text.substr(0, 1));
  if (mark > 2) digits += text.substr(2, mark - 2);

  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    result += digits.substr(0, 1);
    if (count > 1) result += "." + digits.substr(1);
    return result + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return result + "0." + std::string(-exponent - 1, '0') + digits;
  if (count <= exponent + 1) return result + digits + std::string(exponent + 1 - count, '0') + ".0";
  return result + digits.substr(0, exponent + 1) + "." + digits.substr(exponent + 1);
}

void append_string(TextBuilder& out, const Value& value) {
  if (value.is_string()) return out.append(value.as_text());
  if (!value.is_undefined()) append_repr(out, value);
}

void append_repr(TextBuilder& out, const Value& value) {
  out.budget().step();
  const bool trusted = !value.untrusted();
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.append("Undefined", trusted);
    case Kind::kNone:
      return out.append("None", trusted);
    case Kind::kBool:
      return out.append(value.as_bool() ? "True" : "False", trusted);
    case Kind::kInt:
      return out.append(std::to_string(value.as_integer()), trusted);
    case Kind::kBigInt:
      return out.append(std::to_string(value.as_big_integer()), trusted);
    case Kind::kFloat:
      return out.append(format_real(value.as_real()), trusted);
    case Kind::kString:
      return append_escaped(out, value.as_text());
    case Kind::kList: {
      const bool tuple = value.list_kind() == ListKind::kTuple;
      out.append(tuple ? "(" : "[", false);
      append_items(out, value.as_list());
      if (tuple && value.as_list().size() == 1) out.append(",", false);
      return out.append(tuple ? ")" : "]", false);
    }
    case Kind::kDict:
      return append_entries(out, value.as_dict().entries);
    case Kind::kNamespace:
      return out.append("<Namespace>", false);  // not its content: it may contain itself
    case Kind::kFunction:
      return out.append("<function>", false);
    case Kind::kLoop:
      return out.append("<loop>", false);
  }
}

Value to_string(Budget& budget, const Value& value) {
  if (value.is_string()) return value;
  TextBuilder out(budget);
  append_string(out, value);
  return Value::string(out);
}

}  // namespace sluice::text::jinja
