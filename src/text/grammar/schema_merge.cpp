// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/schema_merge.h"

#include <algorithm>
#include <string>
#include <vector>

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

ordered_json both(const ordered_json& a, const ordered_json& b) {
  if (a == b) return a;
  if (a.is_boolean()) return a.get<bool>() ? b : a;
  if (b.is_boolean()) return b.get<bool>() ? a : b;
  return ordered_json{{"allOf", ordered_json::array({a, b})}};
}

std::vector<std::string> names_of(const ordered_json& type) {
  if (type.is_string()) return {type.get<std::string>()};
  return type.get<std::vector<std::string>>();
}

// The types in both; "integer" is part of "number".
ordered_json common_types(const ordered_json& a, const ordered_json& b) {
  const std::vector<std::string> first = names_of(a);
  const std::vector<std::string> second = names_of(b);
  const auto has = [](const std::vector<std::string>& names, const char* name) {
    return std::ranges::find(names, name) != names.end();
  };
  ordered_json out = ordered_json::array();
  for (const std::string& name : first)
    if (has(second, name.c_str()) || (name == "integer" && has(second, "number")))
      out.push_back(name);
  if (has(first, "number") && has(second, "integer") && !has(second, "number") &&
      !has(first, "integer"))
    out.push_back("integer");
  return out;
}

bool is_least(std::string_view key) {
  return key == "minimum" || key == "exclusiveMinimum" || key == "minLength" || key == "minItems" ||
         key == "minProperties";
}

bool is_most(std::string_view key) {
  return key == "maximum" || key == "exclusiveMaximum" || key == "maxLength" || key == "maxItems" ||
         key == "maxProperties";
}

void merge_properties(ordered_json& into, const ordered_json& from) {
  for (const auto& [name, schema] : from.items()) {
    const auto known = into.find(name);
    if (known == into.end())
      into[name] = schema;
    else
      *known = both(*known, schema);
  }
}

// False if there is no way to put them together.
bool merge_keyword(const std::string& key, ordered_json& mine, const ordered_json& other) {
  if (mine == other) return true;
  if (key == "properties" || key == "patternProperties" || key == "$defs" || key == "definitions") {
    merge_properties(mine, other);
  } else if (key == "required" && mine.is_array() && other.is_array()) {
    for (const ordered_json& name : other)
      if (std::ranges::find(mine, name) == mine.end()) mine.push_back(name);
  } else if (key == "type") {
    ordered_json types = common_types(mine, other);
    if (types.empty()) return false;
    mine = types.size() == 1 ? types[0] : types;
  } else if (key == "enum") {
    ordered_json common = ordered_json::array();
    for (const ordered_json& value : mine)
      if (std::ranges::find(other, value) != other.end()) common.push_back(value);
    if (common.empty()) return false;
    mine = std::move(common);
  } else if (is_least(key) && mine.is_number() && other.is_number()) {
    if (other > mine) mine = other;
  } else if (is_most(key) && mine.is_number() && other.is_number()) {
    if (other < mine) mine = other;
  } else if (key == "items" && !mine.is_array() && !other.is_array()) {
    mine = both(mine, other);
  } else if (key == "additionalProperties" || key == "additionalItems") {
    mine = both(mine, other);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void merge_schema(ordered_json& schema, const ordered_json& other,
                  const std::function<void(std::string_view keyword)>& lost) {
  static constexpr std::string_view kTexts[] = {"title",    "description", "default",  "examples",
                                                "$comment", "$schema",     "$id",      "deprecated",
                                                "readOnly", "writeOnly",   "nullable", "format"};
  for (const auto& [key, value] : other.items()) {
    const auto known = schema.find(key);
    if (known == schema.end())
      schema[key] = value;
    else if (!merge_keyword(key, *known, value) &&
             std::ranges::find(kTexts, key) == std::end(kTexts))
      lost(key);
  }
}

}  // namespace sluice::text::grammar
