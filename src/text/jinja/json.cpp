// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/json.h"

#include <algorithm>
#include <cmath>

namespace sluice::text::jinja {

namespace {

using nlohmann::ordered_json;

class Converter {
 public:
  explicit Converter(Budget& budget) : budget_(budget) {}

  Value convert(const ordered_json& json, int depth) {
    budget_.step();
    switch (json.type()) {
      case ordered_json::value_t::boolean:
        return Value::boolean(json.get<bool>()).set_untrusted(true);
      case ordered_json::value_t::number_integer:
        return Value::integer(json.get<int64_t>()).set_untrusted(true);
      case ordered_json::value_t::number_unsigned: {
        const auto number = json.get<uint64_t>();
        Value value = number <= INT64_MAX ? Value::integer(static_cast<int64_t>(number))
                                          : Value::big_integer(number);
        return value.set_untrusted(true);
      }
      case ordered_json::value_t::number_float:
        return Value::real(json.get<double>()).set_untrusted(true);
      case ordered_json::value_t::string:
        return text(json.get_ref<const std::string&>());
      case ordered_json::value_t::array:
        return array(json, depth + 1);
      case ordered_json::value_t::object:
        return object(json, depth + 1);
      default:
        return Value::none();
    }
  }

 private:
  Value text(const std::string& bytes) {
    budget_.work(bytes.size());
    return Value::string(&budget_, Text::from_context(bytes));
  }

  Value array(const ordered_json& json, int depth) {
    budget_.check_nesting(depth);
    budget_.expect(json.size() * sizeof(Value));
    std::vector<Value> items;
    items.reserve(json.size());
    for (const auto& item : json) items.push_back(convert(item, depth));
    return Value::list(budget_, std::move(items));
  }

  Value object(const ordered_json& json, int depth) {
    budget_.check_nesting(depth);
    budget_.expect(json.size() * 2 * sizeof(Value));
    std::vector<std::pair<Value, Value>> entries;
    entries.reserve(json.size());
    for (const auto& [key, value] : json.items()) {
      entries.emplace_back(text(key), convert(value, depth));
    }
    return Value::dict(budget_, std::move(entries));
  }

  Budget& budget_;
};

class Writer {
 public:
  Writer(TextBuilder& out, const JsonLayout& layout) : out_(out), layout_(layout) {}

  void write(const Value& value) {
    out_.budget().step();
    switch (value.kind()) {
      case Kind::kUndefined:
      case Kind::kNone:
        return out_.append("null", false);
      case Kind::kBool:
        return out_.append(value.as_bool() ? "true" : "false", false);
      case Kind::kInt:
        return out_.append(std::to_string(value.as_integer()), false);
      case Kind::kBigInt:
        return out_.append(std::to_string(value.as_big_integer()), false);
      case Kind::kFloat:
        return out_.append(real(value.as_real()), false);
      case Kind::kString:
        return string(value.as_text());
      case Kind::kList:
        return list(value.as_list());
      case Kind::kDict:
        return dict(value.as_dict().entries);
      default:
        reject("tojson cannot write {}", describe(value));
    }
  }

 private:
  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return format_real(value);
  }

  std::string escape(char32_t c) const {
    switch (c) {
      case '"':
        return "\\\"";
      case '\\':
        return "\\\\";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
      default:
        break;
    }
    if (c >= 0x20 && (c < 0x7F || !layout_.ensure_ascii)) return {};
    if (c >= kInvalidByte) return "\\ufffd";
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                       0xDC00 + ((code - 0x10000) & 0x3FF));
  }

  void string(const Text& text) {
    out_.append("\"", false);
    const std::string_view bytes = text.view();
    TrustCursor cursor(text);
    size_t plain = 0;
    for (size_t i = 0; i < bytes.size();) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      if (byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\') {
        ++i;
        continue;
      }
      const auto [c, length] = character_at(bytes, i);
      const std::string escaped = escape(c);
      if (!escaped.empty()) {
        out_.append(text, plain, i);
        out_.append(escaped, cursor.trusted(i));
        plain = i + length;
      }
      i += length;
    }
    out_.append(text, plain, bytes.size());
    out_.append("\"", false);
  }

  void line() {
    if (!layout_.multiline) return;
    out_.append("\n", false);
    out_.append_repeated(layout_.indent, static_cast<size_t>(level_));
  }

  void list(const std::vector<Value>& items) {
    if (items.empty()) return out_.append("[]", false);
    out_.append("[", false);
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.append(layout_.item_separator);
      line();
      write(items[i]);
    }
    --level_;
    line();
    out_.append("]", false);
  }

  void key(const Value& value) {
    if (value.is_string()) return string(value.as_text());
    out_.append("\"", false);
    write(value);
    out_.append("\"", false);
  }

  void dict(const std::vector<std::pair<Value, Value>>& entries) {
    if (entries.empty()) return out_.append("{}", false);
    std::vector<const std::pair<Value, Value>*> order;
    order.reserve(entries.size());
    for (const auto& entry : entries) order.push_back(&entry);
    if (layout_.sort_keys) {
      std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) {
        return less(out_.budget(), a->first, b->first);
      });
    }
    out_.append("{", false);
    ++level_;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out_.append(layout_.item_separator);
      line();
      key(order[i]->first);
      out_.append(layout_.key_separator);
      write(order[i]->second);
    }
    --level_;
    line();
    out_.append("}", false);
  }

  TextBuilder& out_;
  const JsonLayout& layout_;
  int level_ = 0;
};

}  // namespace

Value from_json(Budget& budget, const ordered_json& json) {
  return Converter(budget).convert(json, 0);
}

void append_json(TextBuilder& out, const Value& value, const JsonLayout& layout) {
  Writer(out, layout).write(value);
}

}  // namespace sluice::text::jinja
