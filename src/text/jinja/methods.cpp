// SPDX-License-Identifier: Apache-2.0
// Methods of strings, lists, objects and the loop variable. Those that would change their object
// are left out, as in transformers' sandbox.
#include <algorithm>
#include <array>

#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

const Text* optional_text(std::string_view callee, std::string_view parameter,
                          const Value* argument) {
  if (argument == nullptr || argument->is_none()) return nullptr;
  return &text_argument(callee, parameter, argument);
}

template <Side side>
Value strip_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("strip", {"chars"});
  return strip(in.budget(), self.as_text(), optional_text("strip", "chars", given[0]), side);
}

template <bool from_right>
Value split_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("split", {"sep", "maxsplit"});
  const Text* separator = optional_text("split", "sep", given[0]);
  const int64_t limit = integer_argument("split", "maxsplit", given[1], -1);
  auto* function = from_right ? split_from_right : split;
  return Value::list(in.budget(), function(in.budget(), self.as_text(), separator, limit));
}

template <Value (*function)(Budget&, const Text&)>
Value case_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind("the method", {});
  return function(in.budget(), self.as_text());
}

template <CharacterClass wanted>
Value class_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind("the method", {});
  return Value::boolean(is_all(in.budget(), self.as_text().view(), wanted));
}

Value replace_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("replace", {"old", "new", "count"});
  return replace(in.budget(), self.as_text(), text_argument("replace", "old", given[0]),
                 text_argument("replace", "new", given[1]),
                 integer_argument("replace", "count", given[2], -1));
}

// The part of the text that [start, end) of characters covers, as offsets; npos, npos if none.
Range part(Budget& budget, const Text& text, const Value* start, const Value* end,
           std::string_view callee) {
  budget.work(text.size());
  const auto size = static_cast<int64_t>(count_characters(text.view()));
  const auto place = [&](const Value* value, int64_t otherwise, std::string_view name) {
    if (value == nullptr || value->is_none()) return otherwise;
    const int64_t index = integer_argument(callee, name, value, 0);
    if (index >= 0) return index;
    return index < -size ? int64_t{0} : index + size;
  };
  const int64_t from = place(start, 0, "start");
  const int64_t to = std::min(place(end, size, "end"), size);
  if (from > to) return {std::string_view::npos, std::string_view::npos};
  return {character_offset(text.view(), static_cast<size_t>(from)),
          character_offset(text.view(), static_cast<size_t>(to))};
}

template <bool at_end>
Value affix_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const std::string_view callee = at_end ? "endswith" : "startswith";
  const auto given = arguments.bind(callee, {"affix", "start", "end"});
  const Value& affix = required(callee, "affix", given[0]);
  const Range range = part(in.budget(), self.as_text(), given[1], given[2], callee);
  if (range.begin == std::string_view::npos) return Value::boolean(false);
  const std::string_view text = self.as_text().view().substr(range.begin, range.end - range.begin);
  const auto matches = [&](const Value& value) {
    const std::string_view wanted = text_argument(callee, "affix", &value).view();
    in.budget().work(wanted.size());
    return at_end ? text.ends_with(wanted) : text.starts_with(wanted);
  };
  if (!affix.is_list()) return Value::boolean(matches(affix));
  const auto& items = affix.as_list();
  return Value::boolean(std::any_of(items.begin(), items.end(), matches));
}

int64_t find_text(Interpreter& in, const Value& self, const Arguments& arguments, bool last) {
  const auto given = arguments.bind("find", {"sub", "start", "end"});
  const std::string_view wanted = text_argument("find", "sub", given[0]).view();
  const Range range = part(in.budget(), self.as_text(), given[1], given[2], "find");
  if (range.begin == std::string_view::npos) return -1;
  const std::string_view text = self.as_text().view().substr(0, range.end);
  size_t found = find_bytes(text, wanted, range.begin);
  if (last && found != std::string_view::npos) {
    // The first one backwards: linear, whatever the text is.
    in.budget().expect(text.size() + wanted.size());
    const std::string backwards(text.rbegin(), text.rend());
    const std::string reversed(wanted.rbegin(), wanted.rend());
    found = text.size() - find_bytes(backwards, reversed, 0) - wanted.size();
  }
  if (found == std::string_view::npos) return -1;
  return static_cast<int64_t>(count_characters(text.substr(0, found)));
}

template <bool last, bool must>
Value find_method_of(Interpreter& in, const Value& self, const Arguments& arguments) {
  const int64_t found = find_text(in, self, arguments, last);
  if (must && found < 0) reject("index: the text is not found");
  return Value::integer(found);
}

Value count_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("count", {"sub"});
  return Value::integer(count_occurrences(in.budget(), self.as_text().view(),
                                          text_argument("count", "sub", given[0]).view()));
}

Value format_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  return format_braces(in.budget(), self.as_text(), arguments);
}

Value join_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("join", {"iterable"});
  const Value items = in.sequence(required("join", "iterable", given[0]));
  TextBuilder out(in.budget());
  for (size_t i = 0; i < items.as_list().size(); ++i) {
    if (i > 0) out.append(self.as_text());
    out.append(text_argument("join", "iterable", &items.as_list()[i]));
  }
  return Value::string(out);
}

Value splitlines_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("splitlines", {"keepends"});
  const Text& text = self.as_text();
  std::vector<Value> result;
  for (const Range& line : line_ranges(in.budget(), text.view(), flag_argument(given[0], false))) {
    TextBuilder out(in.budget());
    out.append(text, line.begin, line.end);
    result.push_back(Value::string(out));
  }
  return Value::list(in.budget(), std::move(result));
}

template <bool at_end>
Value remove_affix_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("removeprefix", {"affix"});
  const Text& text = self.as_text();
  const std::string_view affix = text_argument("removeprefix", "affix", given[0]).view();
  const bool there = at_end ? text.view().ends_with(affix) : text.view().starts_with(affix);
  if (!there) return self;
  TextBuilder out(in.budget());
  out.append(text, at_end ? 0 : affix.size(), text.size() - (at_end ? affix.size() : 0));
  return Value::string(out);
}

template <bool last>
Value partition_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("partition", {"sep"});
  Budget& budget = in.budget();
  const Text& text = self.as_text();
  const Text& separator = text_argument("partition", "sep", given[0]);
  auto pieces =
      last ? split_from_right(budget, text, &separator, 1) : split(budget, text, &separator, 1);
  const Value empty = in.make_string("", true);
  std::vector<Value> result;
  if (pieces.size() == 2) {
    const size_t at = pieces[0].as_text().size();
    TextBuilder middle(budget);
    middle.append(text, at, at + separator.size());
    result = {pieces[0], Value::string(middle), pieces[1]};
  } else if (last) {
    result = {empty, empty, self};
  } else {
    result = {self, empty, empty};
  }
  return Value::list(budget, std::move(result), ListKind::kTuple);
}

Value zfill_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("zfill", {"width"});
  const Text& text = self.as_text();
  const auto length = static_cast<int64_t>(count_characters(text.view()));
  const int64_t width = integer_argument("zfill", "width", given[0], 0);
  const size_t sign = text.view().starts_with('-') || text.view().starts_with('+') ? 1 : 0;
  TextBuilder out(in.budget());
  out.append(text, 0, sign);
  if (width > length) {
    out.append_repeated(Text::trusted("0"), static_cast<size_t>(width - length));
  }
  out.append(text, sign, text.size());
  return Value::string(out);
}

enum class Place { kLeft, kRight, kCenter };

template <Place place>
Value justify_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("justify", {"width", "fillchar"});
  const Text& text = self.as_text();
  const auto length = static_cast<int64_t>(count_characters(text.view()));
  const int64_t width = integer_argument("justify", "width", given[0], 0);
  const Text space = Text::trusted(" ");
  const Text& fill = given[1] != nullptr ? text_argument("justify", "fillchar", given[1]) : space;
  if (count_characters(fill.view()) != 1) reject("justify: 'fillchar' must be one character");
  const auto padding = static_cast<size_t>(width > length ? width - length : 0);
  // Python puts the odd one to the left if the width is odd
  const size_t left = place == Place::kLeft    ? 0
                      : place == Place::kRight ? padding
                                               : padding / 2 + (padding & width & 1);
  TextBuilder out(in.budget());
  out.append_repeated(fill, left);
  out.append(text);
  out.append_repeated(fill, padding - left);
  return Value::string(out);
}

Value get_method(Interpreter&, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind("get", {"key", "default"});
  const Value& key = required("get", "key", given[0]);
  if (const Value* found = self.as_dict().find(key)) return *found;
  return given[1] != nullptr ? *given[1] : Value::none();
}

enum class DictPart { kKeys, kValues, kItems };

template <DictPart wanted>
Value dict_view(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind("the method", {});
  const auto& entries = self.as_dict().entries;
  in.budget().expect(entries.size() * sizeof(Value));
  std::vector<Value> result;
  result.reserve(entries.size());
  for (const auto& [key, value] : entries) {
    if (wanted == DictPart::kKeys) {
      result.push_back(key);
    } else if (wanted == DictPart::kValues) {
      result.push_back(value);
    } else {
      result.push_back(Value::list(in.budget(), {key, value}, ListKind::kTuple));
    }
  }
  return Value::list(in.budget(), std::move(result), ListKind::kView);
}

Value self_method(Interpreter&, const Value& self, const Arguments& arguments) {
  arguments.bind("copy", {});
  return self;  // nothing can change either of them
}

template <bool position>
Value list_search(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(position ? "index" : "count", {"value"});
  const Value& wanted = required("count", "value", given[0]);
  int64_t count = 0;
  const auto& items = self.as_list();
  for (size_t i = 0; i < items.size(); ++i) {
    if (!equal(in.budget(), items[i], wanted)) continue;
    if (position) return Value::integer(static_cast<int64_t>(i));
    ++count;
  }
  if (position) reject("index: the value is not in the list");
  return Value::integer(count);
}

Value cycle_method(Interpreter&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) reject("cycle needs an argument");
  return arguments.positional[self.as_loop().index % arguments.positional.size()];
}

constexpr BuiltinEntry kStringMethods[] = {
    {"capitalize", case_method<capitalize>},
    {"center", justify_method<Place::kCenter>},
    {"count", count_method},
    {"endswith", affix_method<true>},
    {"find", find_method_of<false, false>},
    {"format", format_method},
    {"index", find_method_of<false, true>},
    {"isalnum", class_method<CharacterClass::kAlnum>},
    {"isalpha", class_method<CharacterClass::kAlpha>},
    {"isdigit", class_method<CharacterClass::kDigit>},
    {"islower", class_method<CharacterClass::kLower>},
    {"isspace", class_method<CharacterClass::kSpace>},
    {"isupper", class_method<CharacterClass::kUpper>},
    {"join", join_method},
    {"ljust", justify_method<Place::kLeft>},
    {"lower", case_method<lower>},
    {"lstrip", strip_method<Side::kLeft>},
    {"partition", partition_method<false>},
    {"removeprefix", remove_affix_method<false>},
    {"removesuffix", remove_affix_method<true>},
    {"replace", replace_method},
    {"rfind", find_method_of<true, false>},
    {"rindex", find_method_of<true, true>},
    {"rjust", justify_method<Place::kRight>},
    {"rpartition", partition_method<true>},
    {"rsplit", split_method<true>},
    {"rstrip", strip_method<Side::kRight>},
    {"split", split_method<false>},
    {"splitlines", splitlines_method},
    {"startswith", affix_method<false>},
    {"strip", strip_method<Side::kBoth>},
    {"title", case_method<title>},
    {"upper", case_method<upper>},
    {"zfill", zfill_method},
};

constexpr BuiltinEntry kListMethods[] = {
    {"copy", self_method}, {"count", list_search<false>}, {"index", list_search<true>}};

constexpr BuiltinEntry kDictMethods[] = {{"copy", self_method},
                                         {"get", get_method},
                                         {"items", dict_view<DictPart::kItems>},
                                         {"keys", dict_view<DictPart::kKeys>},
                                         {"values", dict_view<DictPart::kValues>}};

constexpr BuiltinEntry kLoopMethods[] = {{"cycle", cycle_method}};

template <size_t kCount>
BuiltinFunction search(const BuiltinEntry (&entries)[kCount], std::string_view name) {
  for (const BuiltinEntry& entry : entries) {
    if (entry.name == name) return entry.function;
  }
  return nullptr;
}

}  // namespace

BuiltinFunction find_method(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kString:
      return search(kStringMethods, name);
    case Kind::kList:
      return search(kListMethods, name);
    case Kind::kDict:
      return search(kDictMethods, name);
    case Kind::kLoop:
      return search(kLoopMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace sluice::text::jinja
