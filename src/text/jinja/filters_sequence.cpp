// SPDX-License-Identifier: Apache-2.0
// Filters on lists and objects.
#include <algorithm>
#include <unordered_set>
#include <utility>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

// "a.b.0" as names and indices, one after the other.
class AttributePath {
 public:
  AttributePath(Interpreter& in, const Value& path) : in_(in) {
    if (path.is_integral()) {
      parts_.push_back(path);
      return;
    }
    const Text dot = Text::trusted(".");
    const Text& text = text_argument("the filter", "attribute", &path);
    for (const Value& part : split(in.budget(), text, &dot, -1)) {
      const std::string_view name = part.as_text().view();
      const bool index = !name.empty() && name.size() < 10 &&
                         name.find_first_not_of("0123456789") == std::string_view::npos;
      parts_.push_back(index ? Value::integer(std::stoll(std::string(name))) : part);
    }
  }

  // `otherwise` takes the place of what is undefined on the way.
  Value of(const Value& item, const Value* otherwise = nullptr) const {
    Value value = item;
    for (const Value& part : parts_) {
      value = in_.item(value, part);
      if (value.is_undefined() && otherwise != nullptr) value = *otherwise;
    }
    return value;
  }

 private:
  Interpreter& in_;
  std::vector<Value> parts_;
};

// What items are compared by: an attribute, in lower case unless case matters.
class SortKey {
 public:
  SortKey(Interpreter& in, const Value* attribute, bool case_sensitive)
      : in_(in), case_sensitive_(case_sensitive) {
    if (attribute == nullptr || attribute->is_none()) return;
    if (!attribute->is_string()) {
      paths_.emplace_back(in, *attribute);
      return;
    }
    const Text comma = Text::trusted(",");
    for (const Value& path : split(in.budget(), attribute->as_text(), &comma, -1)) {
      paths_.emplace_back(in, path);
    }
  }

  Value of(const Value& item) const {
    if (paths_.empty()) return plain(item);
    if (paths_.size() == 1) return plain(paths_[0].of(item));
    std::vector<Value> parts;
    for (const AttributePath& path : paths_) parts.push_back(plain(path.of(item)));
    return Value::list(in_.budget(), std::move(parts));
  }

 private:
  Value plain(const Value& value) const {
    if (case_sensitive_ || !value.is_string()) return value;
    return lower(in_.budget(), value.as_text());
  }

  Interpreter& in_;
  bool case_sensitive_;
  std::vector<AttributePath> paths_;
};

Value iterator(Interpreter& in, std::vector<Value> items) {
  return Value::list(in.budget(), std::move(items), ListKind::kIterator);
}

Value sorted(Interpreter& in, const std::vector<Value>& items, const SortKey& key, bool reverse) {
  in.budget().expect(items.size() * 3 * sizeof(Value));
  std::vector<std::pair<Value, size_t>> order;
  order.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) order.emplace_back(key.of(items[i]), i);
  // Stable in both directions, as in Python.
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(in.budget(), b.first, a.first) : less(in.budget(), a.first, b.first);
  });
  std::vector<Value> result;
  result.reserve(items.size());
  for (const auto& [unused, index] : order) result.push_back(items[index]);
  return Value::list(in.budget(), std::move(result));
}

Value sort_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("sort", {"reverse", "case_sensitive", "attribute"});
  const SortKey key(in, given[2], flag_argument(given[1], false));
  return sorted(in, in.sequence(value).as_list(), key, flag_argument(given[0], false));
}

Value items_of(Interpreter& in, const Value& value) {
  return find_method(value, "items")(in, value, {});
}

Value dictsort_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("dictsort", {"case_sensitive", "by", "reverse"});
  if (!value.is_dict()) reject("dictsort needs an object, not {}", describe(value));
  int64_t place = 0;
  if (given[1] != nullptr) {
    const std::string_view by = text_argument("dictsort", "by", given[1]).view();
    if (by != "key" && by != "value") reject("dictsort: 'by' must be 'key' or 'value'");
    place = by == "value" ? 1 : 0;
  }
  const Value index = Value::integer(place);
  const SortKey key(in, &index, flag_argument(given[0], false));
  const Value items = items_of(in, value);
  return sorted(in, items.as_list(), key, flag_argument(given[2], false));
}

Value items_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("items", {});
  if (value.is_undefined()) return iterator(in, {});
  if (!value.is_dict()) reject("items needs an object, not {}", describe(value));
  return iterator(in, items_of(in, value).as_list());
}

Value length_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("length", {});
  size_t length = 0;
  if (value.is_string()) {
    in.budget().work(value.as_text().size());
    length = count_characters(value.as_text().view());
  } else if (value.is_list()) {
    length = value.as_list().size();
  } else if (value.is_dict()) {
    length = value.as_dict().entries.size();
  } else if (value.is(Kind::kLoop)) {
    length = value.as_loop().items.as_list().size();
  } else if (!value.is_undefined()) {
    reject("{} has no length", describe(value));
  }
  return Value::integer(static_cast<int64_t>(length));
}

Value list_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("list", {});
  const Value items = in.sequence(value);
  if (items.list_kind() == ListKind::kList) return items;
  return Value::list(in.budget(), items.as_list());
}

Value first_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("first", {});
  const Value items = in.sequence(value);
  return items.as_list().empty() ? Value() : items.as_list().front();
}

Value last_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("last", {});
  const Value items = in.sequence(value);
  return items.as_list().empty() ? Value() : items.as_list().back();
}

Value reverse_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("reverse", {});
  const Value characters = in.sequence(value);
  std::vector<Value> items = characters.as_list();
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return iterator(in, std::move(items));
  TextBuilder out(in.budget());
  for (const Value& item : items) out.append(item.as_text());
  return Value::string(out);
}

Value join_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("join", {"d", "attribute"});
  const Value separator =
      given[0] != nullptr ? to_string(in.budget(), *given[0]) : in.make_string("", true);
  const SortKey key(in, given[1], true);
  const Value items = in.sequence(value);
  TextBuilder out(in.budget());
  for (size_t i = 0; i < items.as_list().size(); ++i) {
    if (i > 0) out.append(separator.as_text());
    append_string(out, key.of(items.as_list()[i]));
  }
  return Value::string(out);
}

Value unique_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("unique", {"case_sensitive", "attribute"});
  const SortKey key(in, given[1], flag_argument(given[0], false));
  std::unordered_set<std::string> seen;
  std::vector<Value> result;
  const Value items = in.sequence(value);
  for (const Value& item : items.as_list()) {
    in.budget().step();
    auto hashed = hash_key(key.of(item));
    if (!hashed) reject("unique cannot compare {}", describe(item));
    in.budget().work(hashed->size());
    if (seen.insert(std::move(*hashed)).second) result.push_back(item);
  }
  return iterator(in, std::move(result));
}

template <bool maximum>
Value extreme_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(maximum ? "max" : "min", {"case_sensitive", "attribute"});
  const SortKey key(in, given[1], flag_argument(given[0], false));
  const Value items = in.sequence(value);
  Value best;
  Value best_key;
  bool any = false;
  for (const Value& item : items.as_list()) {
    Value item_key = key.of(item);
    const bool better = !any || (maximum ? less(in.budget(), best_key, item_key)
                                         : less(in.budget(), item_key, best_key));
    if (!better) continue;
    best = item;
    best_key = std::move(item_key);
    any = true;
  }
  return best;
}

Value sum_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("sum", {"attribute", "start"});
  const SortKey key(in, given[0], true);
  Value total = given[1] != nullptr ? *given[1] : Value::integer(0);
  const Value items = in.sequence(value);
  for (const Value& item : items.as_list()) {
    in.budget().step();
    total = binary(in.budget(), Operator::kAdd, total, key.of(item));
  }
  return total;
}

Value map_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const Value items = in.sequence(value);
  std::vector<Value> result;
  if (!arguments.positional.empty()) {
    const std::string name = text_argument("map", "filter", &arguments.positional[0]).bytes;
    Arguments rest = arguments;
    rest.positional.erase(rest.positional.begin());
    for (const Value& item : items.as_list()) {
      in.budget().step();
      result.push_back(in.apply_filter(name, item, rest));
    }
    return iterator(in, std::move(result));
  }
  const auto given = arguments.bind("map", {"filter", "attribute", "default"});
  const AttributePath path(in, required("map", "attribute", given[1]));
  for (const Value& item : items.as_list()) {
    in.budget().step();
    result.push_back(path.of(item, given[2]));
  }
  return iterator(in, std::move(result));
}

template <bool by_attribute, bool wanted>
Value select_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  if (!value.truth()) return iterator(in, {});  // whatever it is
  std::vector<Value> result;
  Arguments rest = arguments;
  auto& given = rest.positional;
  std::optional<AttributePath> path;
  if (by_attribute) {
    if (given.empty()) reject("selectattr needs the name of an attribute");
    path.emplace(in, given.front());
    given.erase(given.begin());
  }
  std::string test;
  if (!given.empty()) {
    test = text_argument("select", "test", &given.front()).bytes;
    given.erase(given.begin());
  }
  const Value items = in.sequence(value);
  for (const Value& item : items.as_list()) {
    in.budget().step();
    const Value subject = by_attribute ? path->of(item) : item;
    const bool passes = test.empty() ? subject.truth() : in.apply_test(test, subject, rest);
    if (passes == wanted) result.push_back(item);
  }
  return iterator(in, std::move(result));
}

Value default_filter(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("default", {"default_value", "boolean"});
  const bool replaced = value.is_undefined() || (flag_argument(given[1], false) && !value.truth());
  if (!replaced) return value;
  return given[0] != nullptr ? *given[0] : in.make_string("", true);
}

}  // namespace

const std::vector<BuiltinEntry>& sequence_filters() {
  static const auto* const kEntries = new std::vector<BuiltinEntry>{
      {"count", length_filter},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort_filter},
      {"first", first_filter},
      {"items", items_filter},
      {"join", join_filter},
      {"last", last_filter},
      {"length", length_filter},
      {"list", list_filter},
      {"map", map_filter},
      {"max", extreme_filter<true>},
      {"min", extreme_filter<false>},
      {"reject", select_filter<false, false>},
      {"rejectattr", select_filter<true, false>},
      {"reverse", reverse_filter},
      {"select", select_filter<false, true>},
      {"selectattr", select_filter<true, true>},
      {"sort", sort_filter},
      {"sum", sum_filter},
      {"unique", unique_filter},
  };
  return *kEntries;
}

}  // namespace sluice::text::jinja
