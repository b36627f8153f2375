// SPDX-License-Identifier: Apache-2.0
// Objects, arrays, strings and numbers of a schema.
#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "text/grammar/pattern.h"
#include "text/grammar/schema_compiler.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

// A count that check_keywords() has seen.
int32_t count_of(const ordered_json& schema, const char* keyword, int32_t otherwise) {
  const auto found = schema.find(keyword);
  if (found == schema.end()) return otherwise;
  const double value = found->get<double>();
  return value >= kUnlimited ? kUnlimited : static_cast<int32_t>(value);
}

bool is_true(const ordered_json& schema, const char* keyword) {
  const auto found = schema.find(keyword);
  return found != schema.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

Result<std::vector<ExprId>> SchemaCompiler::additional(const Json& schema, const std::string& path,
                                                       const std::vector<std::string>& names,
                                                       int depth) {
  std::vector<ExprId> out;
  const auto patterns = schema.find("patternProperties");
  const bool has_patterns = patterns != schema.end() && !patterns->empty();
  const auto colon = [&] { return g_.sequence({g_.literal(":"), json_.space()}); };
  if (has_patterns) {
    if (!names.empty())
      note(path, "patternProperties", "is not checked for the members that properties lists");
    for (const auto& [pattern, sub] : patterns->items()) {
      if (sub == false) continue;
      const std::string where = child_path(child_path(path, "patternProperties"), pattern);
      SLUICE_ASSIGN(const ExprId member, value(sub, where, depth + 1));
      const std::optional<ExprId> key = pattern_expr(pattern, g_, json_);
      if (!key) note(where, "", "is no pattern that can be followed; any name is allowed");
      out.push_back(g_.sequence({key ? json_.quoted(*key) : json_.string(), colon(), member}));
    }
  }
  const auto more = schema.find("additionalProperties");
  // Objects are open where the schema says so, or where it names nothing.
  const bool open = more != schema.end() ? *more != false : names.empty() && !has_patterns;
  if (open) {
    ExprId member = json_.any_value();
    if (more != schema.end()) {
      SLUICE_ASSIGN(member, value(*more, child_path(path, "additionalProperties"), depth + 1));
    }
    if (has_patterns) note(path, "patternProperties", "is not checked for other members' names");
    out.push_back(g_.sequence({json_.string_except(names), colon(), member}));
  }
  return out;
}

Result<ExprId> SchemaCompiler::object(const Json& schema, const std::string& path, int depth) {
  std::vector<Member> listed;
  std::vector<std::string> names;
  std::unordered_set<std::string> required;
  if (const auto list = schema.find("required"); list != schema.end() && list->is_array())
    for (const Json& name : *list) required.insert(name.get<std::string>());
  const auto key = [&](const std::string& name) {
    return g_.sequence({g_.literal(JsonText::in_quotes(name) + ":"), json_.space()});
  };
  if (const auto properties = schema.find("properties"); properties != schema.end()) {
    for (const auto& [name, sub] : properties->items()) {
      const bool must = required.erase(name) > 0;
      names.push_back(name);
      if (sub == false && !must) continue;
      const std::string where = child_path(child_path(path, "properties"), name);
      SLUICE_ASSIGN(const ExprId member, value(sub, where, depth + 1));
      listed.push_back({g_.sequence({key(name), member}), must});
    }
  }
  SLUICE_ASSIGN(const std::vector<ExprId> others, additional(schema, path, names, depth));
  // Required members that nothing describes, in the schema's order.
  if (!required.empty()) {
    for (const Json& entry : schema["required"]) {
      const std::string name = entry.get<std::string>();
      if (required.erase(name) == 0) continue;
      ExprId member = json_.any_value();
      if (const auto more = schema.find("additionalProperties");
          more != schema.end() && more->is_object()) {
        SLUICE_ASSIGN(member, value(*more, child_path(path, "additionalProperties"), depth + 1));
      }
      listed.push_back({g_.sequence({key(name), member}), true});
    }
  }
  const auto must = static_cast<int32_t>(
      std::ranges::count_if(listed, [](const Member& m) { return m.required; }));
  const int32_t least = count_of(schema, "minProperties", 0);
  const int32_t most = count_of(schema, "maxProperties", kUnlimited);
  if (listed.empty() && others.size() == 1 && least <= most && most > 0) {
    const ExprId member = shared(others.front(), "member");
    const ExprId more = g_.repeat(g_.sequence({g_.literal(","), json_.space(), member}),
                                  std::max(least - 1, 0), most == kUnlimited ? most : most - 1);
    ExprId content = g_.sequence({member, more, json_.space()});
    if (least == 0) content = g_.optional(content);
    return named(g_.sequence({g_.literal("{"), json_.space(), content, g_.literal("}")}), path);
  }
  if (least > must) note(path, "minProperties", "is not checked");
  if (most < static_cast<int32_t>(listed.size()) || (!others.empty() && most != kUnlimited))
    note(path, "maxProperties", "is not checked");
  return named(members(listed, others), path);
}

// { the listed ones in order, then any number of the others }
ExprId SchemaCompiler::members(const std::vector<Member>& listed,
                               const std::vector<ExprId>& others) {
  const ExprId open = g_.sequence({g_.literal("{"), json_.space()});
  const ExprId close = g_.literal("}");
  const ExprId comma = g_.sequence({g_.literal(","), json_.space()});
  ExprId end = json_.space();
  std::vector<ExprId> starts;  // what may come first
  ExprId other = -1;
  if (!others.empty()) {
    other = shared(g_.choice(others), "member");
    end =
        shared(g_.sequence({g_.repeat(g_.sequence({comma, other}), 0, kUnlimited), json_.space()}),
               "members");
  }
  size_t firsts = 0;  // members up to the first required one may be the first
  while (firsts < listed.size() && !listed[firsts].required) ++firsts;
  const bool may_be_empty = firsts == listed.size();
  // Behind each member the rest is a rule, since several beginnings lead to it.
  ExprId rest = end;
  for (size_t i = listed.size(); i-- > 0;) {
    ExprId member = listed[i].expr;
    if (i <= firsts) {
      if (i > 0) member = shared(member, "member");
      starts.push_back(g_.sequence({member, rest}));
    }
    if (i == 0) break;
    ExprId next = g_.sequence({comma, member});
    if (!listed[i].required) next = g_.optional(next);
    rest = g_.call(g_.add_rule("members", g_.sequence({next, rest})));
  }
  std::ranges::reverse(starts);
  if (may_be_empty && other >= 0) starts.push_back(g_.sequence({other, end}));
  if (starts.empty()) return g_.sequence({open, close});
  ExprId content = g_.choice(std::move(starts));
  if (may_be_empty) content = g_.optional(content);
  return g_.sequence({open, content, close});
}

Result<ExprId> SchemaCompiler::array(const Json& schema, const std::string& path, int depth) {
  // Draft 2020 has prefixItems and items, older ones items (an array) and additionalItems.
  const Json* prefix = nullptr;
  std::string prefix_name = "prefixItems";
  const Json* others = nullptr;
  std::string others_name = "items";
  if (const auto found = schema.find("prefixItems"); found != schema.end()) prefix = &*found;
  if (const auto items = schema.find("items"); items != schema.end()) {
    if (items->is_array() && !prefix) {
      prefix = &*items;
      prefix_name = "items";
    } else if (!items->is_array()) {
      others = &*items;
    }
  }
  if (const auto more = schema.find("additionalItems");
      more != schema.end() && prefix_name == "items" && prefix) {
    others = &*more;
    others_name = "additionalItems";
  }
  int32_t least = count_of(schema, "minItems", 0);
  int32_t most = count_of(schema, "maxItems", kUnlimited);
  if (least > most) {
    note(path, "maxItems", "is below minItems, and is not checked");
    most = kUnlimited;
  }
  const bool closed = others && *others == false;
  ExprId item = json_.any_value();
  if (others && !closed) {
    SLUICE_ASSIGN(item, value(*others, child_path(path, others_name), depth + 1));
    item = shared(item, "item");
  }
  if (!prefix || prefix->empty()) {
    if (closed) most = 0;
    if (least > most) {
      note(path, "minItems", "asks for items that items forbids, and is not checked");
      least = 0;
    }
    return named(json_.array_of(item, least, most), path);
  }
  auto count = static_cast<int32_t>(prefix->size());
  if (closed && least > count) {
    note(path, "minItems", "asks for items that nothing allows, and is not checked");
    least = count;
  }
  count = std::min(count, most);
  if (count == 0) return named(json_.array_of(item, 0, 0), path);
  const ExprId comma = g_.sequence({g_.literal(","), json_.space()});
  ExprId rest = json_.space();
  if (!closed && most > count)
    rest = g_.sequence({g_.repeat(g_.sequence({comma, item}), std::max(least - count, 0),
                                  most == kUnlimited ? most : most - count),
                        rest});
  for (int32_t i = count; i-- > 0;) {
    const std::string where = child_path(path, prefix_name) + "/" + std::to_string(i);
    SLUICE_ASSIGN(const ExprId one, value((*prefix)[static_cast<size_t>(i)], where, depth + 1));
    ExprId tail = i > 0 ? g_.sequence({comma, one, rest}) : g_.sequence({one, rest});
    // The list may end before this item.
    if (least <= i) tail = i > 0 ? g_.choice({tail, json_.space()}) : g_.optional(tail);
    rest = g_.call(g_.add_rule("items", tail));
  }
  return named(g_.sequence({g_.literal("["), json_.space(), rest, g_.literal("]")}), path);
}

std::optional<ExprId> SchemaCompiler::format(const std::string& name) {
  constexpr const char* kDate = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
  constexpr const char* kTime =
      "([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5]"
      "[0-9])";
  std::string pattern;
  if (name == "date") pattern = kDate;
  if (name == "time") pattern = kTime;
  if (name == "date-time") pattern = std::string(kDate) + "T" + kTime;
  if (name == "uuid") pattern = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
  if (pattern.empty()) return {};
  return pattern_expr("^" + pattern + "$", g_, json_);
}

ExprId SchemaCompiler::string(const Json& schema, const std::string& path) {
  const bool bounded = schema.contains("minLength") || schema.contains("maxLength");
  const auto content = [&](ExprId expr) {
    if (bounded) note(path, "minLength, maxLength", "beside pattern or format are not checked");
    return named(json_.quoted(expr), path);
  };
  if (const auto pattern = schema.find("pattern"); pattern != schema.end()) {
    const auto expr = pattern_expr(pattern->get<std::string>(), g_, json_);
    if (schema.contains("format")) note(path, "format", "beside pattern is not checked");
    if (expr) return content(*expr);
    note(path, "pattern", "uses what cannot be followed, and is not checked");
  } else if (const auto kind = schema.find("format"); kind != schema.end()) {
    if (const auto expr = format(kind->get<std::string>())) return content(*expr);
    note(path, "format", "has a name that is not checked");
  }
  int32_t least = count_of(schema, "minLength", 0);
  int32_t most = count_of(schema, "maxLength", kUnlimited);
  if (least > most) {
    note(path, "maxLength", "is below minLength, and is not checked");
    most = kUnlimited;
  }
  return json_.string(least, most);
}

ExprId SchemaCompiler::integer(const Json& schema, const std::string& path) {
  constexpr double kMost = 1e18;
  std::optional<int64_t> least;
  std::optional<int64_t> most;
  const auto bound = [&](const char* keyword, const char* exclusive, bool is_least) {
    std::optional<int64_t>& out = is_least ? least : most;
    const auto add = [&](const Json& v, bool without, const char* name) {
      const double number = v.get<double>();
      if (std::abs(number) >= kMost) {
        // Beyond 19 digits nothing comes anyway.
        if ((number < 0) != is_least) note(path, name, "is too large to be checked");
        return;
      }
      int64_t whole = 0;
      if (v.is_number_integer()) {
        whole = v.get<int64_t>();
        if (without) whole += is_least ? 1 : -1;
      } else if (is_least) {
        whole = static_cast<int64_t>(std::ceil(number));
        if (without && static_cast<double>(whole) == number) ++whole;
      } else {
        whole = static_cast<int64_t>(std::floor(number));
        if (without && static_cast<double>(whole) == number) --whole;
      }
      if (!out || (is_least ? whole > *out : whole < *out)) out = whole;
    };
    const auto plain = schema.find(keyword);
    if (plain != schema.end()) add(*plain, is_true(schema, exclusive), keyword);
    const auto without = schema.find(exclusive);
    if (without != schema.end() && without->is_number()) add(*without, true, exclusive);
  };
  bound("minimum", "exclusiveMinimum", true);
  bound("maximum", "exclusiveMaximum", false);
  if (least && most && *least > *most) {
    note(path, "maximum", "is below minimum, and is not checked");
    most.reset();
  }
  if (!least && !most) return json_.integer();
  return shared(json_.integer(least, most), "integer");
}

ExprId SchemaCompiler::number(const Json& schema, const std::string& path) {
  bool positive = false;
  for (const char* keyword : {"minimum", "exclusiveMinimum"}) {
    const auto found = schema.find(keyword);
    if (found == schema.end() || !found->is_number()) continue;
    const double least = found->get<double>();
    positive = positive || least >= 0;
    if (least == 0 && std::string_view(keyword) == "minimum" &&
        !is_true(schema, "exclusiveMinimum"))
      continue;
    note(path, keyword,
         least >= 0 ? "of numbers that are not integers is checked for the sign only"
                    : "of numbers that are not integers is not checked");
  }
  for (const char* keyword : {"maximum", "exclusiveMaximum"})
    if (const auto found = schema.find(keyword); found != schema.end() && found->is_number())
      note(path, keyword, "of numbers that are not integers is not checked");
  return positive ? json_.non_negative() : json_.number();
}

}  // namespace sluice::text::grammar
