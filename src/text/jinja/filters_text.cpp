// SPDX-License-Identifier: Apache-2.0
// Filters that give text.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

template <Value (*function)(Budget&, const Text&)>
Value case_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("the filter", {});
  return function(in.budget(), to_string(in.budget(), value).as_text());
}

Value string_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("string", {});
  return to_string(in.budget(), value);
}

// Nothing is ever escaped by itself here, so nothing has to be marked.
Value safe_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("safe", {});
  return to_string(in.budget(), value);
}

Value trim_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("trim", {"chars"});
  const bool set = given[0] != nullptr && !given[0]->is_none();
  const Value text = to_string(in.budget(), value);
  return strip(in.budget(), text.as_text(),
               set ? &text_argument("trim", "chars", given[0]) : nullptr, Side::kBoth);
}

Value replace_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("replace", {"old", "new", "count"});
  const Value text = to_string(in.budget(), value);
  const Value old = to_string(in.budget(), required("replace", "old", given[0]));
  const Value by = to_string(in.budget(), required("replace", "new", given[1]));
  const Value* count = given[2] != nullptr && given[2]->is_none() ? nullptr : given[2];
  return replace(in.budget(), text.as_text(), old.as_text(), by.as_text(),
                 integer_argument("replace", "count", count, -1));
}

Value escape_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("escape", {});
  const Value string = to_string(in.budget(), value);
  const Text& text = string.as_text();
  TextBuilder out(in.budget());
  TrustCursor cursor(text);
  size_t plain = 0;
  for (size_t at = text.bytes.find_first_of("&<>'\""); at != std::string::npos;
       at = text.bytes.find_first_of("&<>'\"", at + 1)) {
    const char c = text.bytes[at];
    out.append(text, plain, at);
    out.append(c == '&'    ? "&amp;"
               : c == '<'  ? "&lt;"
               : c == '>'  ? "&gt;"
               : c == '\'' ? "&#39;"
                           : "&#34;",
               cursor.trusted(at));
    plain = at + 1;
  }
  out.append(text, plain, text.size());
  return Value::string(out);
}

Value format_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const Value format = to_string(in.budget(), value);
  if (arguments.named.empty()) {
    return format_percent(in.budget(), format,
                          Value::list(in.budget(), arguments.positional, ListKind::kTuple));
  }
  if (!arguments.positional.empty()) reject("format takes positional or named arguments, not both");
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, item, trusted] : arguments.named) {
    entries.emplace_back(in.make_string(name, trusted), item);
  }
  return format_percent(in.budget(), format, Value::dict(in.budget(), std::move(entries)));
}

Value center_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("center", {"width"});
  Arguments method;
  method.positional.push_back(Value::integer(integer_argument("center", "width", given[0], 80)));
  const Value text = to_string(in.budget(), value);
  return find_method(text, "center")(in, text, method);
}

// What each level or line is indented by: so many spaces, or the text itself.
Value indentation(Interpreter& in, std::string_view callee, const Value* width, int64_t otherwise) {
  if (width != nullptr && width->is_string()) return *width;
  const int64_t count = integer_argument(callee, "width", width, otherwise);
  TextBuilder out(in.budget());
  out.append_repeated(Text::trusted(" "), static_cast<size_t>(std::max<int64_t>(count, 0)));
  return Value::string(out);
}

Value indent_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("indent", {"width", "first", "blank"});
  if (!value.is_string()) reject("indent needs a string, not {}", describe(value));
  const Text& text = value.as_text();
  const Value space = indentation(in, "indent", given[0], 4);
  const bool first = flag_argument(given[1], false);
  const bool blank = flag_argument(given[2], false);
  std::vector<Range> lines = line_ranges(in.budget(), text.view(), false);
  // A text that ends with a newline, or is empty, has one more line, without anything on it.
  const bool complete = text.size() == 0 || (!lines.empty() && lines.back().end < text.size());
  if (complete) lines.push_back({text.size(), text.size()});
  TextBuilder out(in.budget());
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool empty = lines[i].begin == lines[i].end;
    if (i > 0) out.append("\n", true);
    if (i == 0 ? first : blank || !empty) out.append(space.as_text());
    out.append(text, lines[i].begin, lines[i].end);
  }
  return Value::string(out);
}

Value tojson_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given =
      arguments.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonLayout layout;
  layout.ensure_ascii = flag_argument(given[0], false);
  layout.sort_keys = flag_argument(given[3], false);
  if (given[1] != nullptr && !given[1]->is_none()) {
    layout.multiline = true;
    layout.indent = indentation(in, "tojson", given[1], 0).as_text();
    layout.item_separator = Text::from_context(",");
  }
  if (given[2] != nullptr && !given[2]->is_none()) {
    const Value both = in.sequence(*given[2]);
    if (both.as_list().size() != 2) reject("tojson: 'separators' must be two strings");
    layout.item_separator = text_argument("tojson", "separators", &both.as_list()[0]);
    layout.key_separator = text_argument("tojson", "separators", &both.as_list()[1]);
  }
  TextBuilder out(in.budget());
  append_json(out, value, layout);
  return Value::string(out);
}

}  // namespace

const std::vector<BuiltinEntry>& text_filters() {
  static const auto* const kEntries = new std::vector<BuiltinEntry>{
      {"capitalize", case_filter<capitalize>},
      {"center", center_filter},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"format", format_filter},
      {"indent", indent_filter},
      {"lower", case_filter<lower>},
      {"replace", replace_filter},
      {"safe", safe_filter},
      {"string", string_filter},
      {"title", case_filter<title_words>},
      {"tojson", tojson_filter},
      {"trim", trim_filter},
      {"upper", case_filter<upper>},
  };
  return *kEntries;
}

}  // namespace sluice::text::jinja
