// SPDX-License-Identifier: Apache-2.0
// What makes a document a schema at all.
#include <algorithm>
#include <cmath>

#include "text/grammar/schema_compiler.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

enum class Wanted { kObject, kArray, kSchema, kSchemas, kText, kCount, kNumber, kBound, kNames };

struct Keyword {
  const char* name;
  Wanted wanted;
};

constexpr Keyword kKeywords[] = {
    {"properties", Wanted::kObject},
    {"patternProperties", Wanted::kObject},
    {"$defs", Wanted::kObject},
    {"definitions", Wanted::kObject},
    {"additionalProperties", Wanted::kSchema},
    {"items", Wanted::kSchemas},
    {"prefixItems", Wanted::kArray},
    {"additionalItems", Wanted::kSchema},
    {"anyOf", Wanted::kArray},
    {"oneOf", Wanted::kArray},
    {"allOf", Wanted::kArray},
    {"enum", Wanted::kArray},
    {"$ref", Wanted::kText},
    {"pattern", Wanted::kText},
    {"format", Wanted::kText},
    {"minLength", Wanted::kCount},
    {"maxLength", Wanted::kCount},
    {"minItems", Wanted::kCount},
    {"maxItems", Wanted::kCount},
    {"minProperties", Wanted::kCount},
    {"maxProperties", Wanted::kCount},
    {"minimum", Wanted::kNumber},
    {"maximum", Wanted::kNumber},
    {"exclusiveMinimum", Wanted::kBound},
    {"exclusiveMaximum", Wanted::kBound},
    {"type", Wanted::kNames},
};

bool is_schema(const ordered_json& v) {
  return v.is_object() || v.is_boolean();
}

bool is_text(const ordered_json& v) {
  return v.is_string();
}

bool fits(const ordered_json& v, Wanted wanted) {
  switch (wanted) {
    case Wanted::kObject:
      return v.is_object();
    case Wanted::kArray:
      return v.is_array();
    case Wanted::kSchema:
      return is_schema(v);
    case Wanted::kSchemas:
      return is_schema(v) || v.is_array();
    case Wanted::kText:
      return v.is_string();
    case Wanted::kCount: {
      if (!v.is_number()) return false;
      const double number = v.get<double>();
      return number >= 0 && number == std::floor(number);
    }
    case Wanted::kNumber:
      return v.is_number();
    case Wanted::kBound:  // draft 4 has booleans here
      return v.is_number() || v.is_boolean();
    case Wanted::kNames:
      return v.is_string() || (v.is_array() && std::ranges::all_of(v, is_text));
  }
  return false;
}

const char* name(Wanted wanted) {
  switch (wanted) {
    case Wanted::kObject:
      return "an object";
    case Wanted::kArray:
      return "an array";
    case Wanted::kSchema:
      return "a schema (an object, true or false)";
    case Wanted::kSchemas:
      return "a schema (an object, true or false) or an array of them";
    case Wanted::kText:
      return "a string";
    case Wanted::kCount:
      return "a whole number from 0";
    case Wanted::kNumber:
      return "a number";
    case Wanted::kBound:
      return "a number or a boolean";
    case Wanted::kNames:
      return "a string or an array of strings";
  }
  return "";
}

}  // namespace

std::string child_path(const std::string& path, std::string_view name) {
  std::string out = path + "/";
  for (const char c : name) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

Status check_keywords(const ordered_json& schema, const std::string& path) {
  for (const Keyword& keyword : kKeywords) {
    const auto found = schema.find(keyword.name);
    if (found == schema.end() || fits(*found, keyword.wanted)) continue;
    return fail(ErrorKind::kUsage, "JSON schema: {} must be {}, but is {}",
                child_path(path, keyword.name), name(keyword.wanted),
                found->is_number() ? found->dump() : found->type_name());
  }
  // Older drafts, and many tools, write "required": true beside a member's type.
  const auto required = schema.find("required");
  if (required != schema.end() && !required->is_boolean() &&
      !(required->is_array() && std::ranges::all_of(*required, is_text)))
    return fail(ErrorKind::kUsage, "JSON schema: {} must be an array of strings",
                child_path(path, "required"));
  return {};
}

}  // namespace sluice::text::grammar
