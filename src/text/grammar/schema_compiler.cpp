// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/schema_compiler.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/grammar/left_recursion.h"
#include "text/grammar/pattern.h"
#include "text/grammar/schema_merge.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

constexpr int kMaxNesting = 64;  // of values within values, references and merged schemas counted
constexpr size_t kMaxExprs = 1'000'000;
constexpr size_t kMaxMerges = 10'000;

// Keywords that say something about documents.
constexpr const char* kAbout[] = {
    "type",      "enum",        "const",         "properties",        "required",
    "items",     "prefixItems", "minItems",      "maxItems",          "additionalProperties",
    "minLength", "maxLength",   "pattern",       "patternProperties", "format",
    "minimum",   "maximum",     "minProperties", "exclusiveMinimum",  "exclusiveMaximum",
    "anyOf",     "oneOf",       "allOf",         "maxProperties",     "nullable"};

bool says_something(const ordered_json& schema, std::initializer_list<const char*> besides) {
  return std::ranges::any_of(kAbout, [&](const char* key) {
    return schema.contains(key) &&
           std::ranges::none_of(besides, [&](const char* b) { return std::string_view(b) == key; });
  });
}

bool is_of_type(const ordered_json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "number") return value.is_number();
  if (type == "integer")
    return value.is_number() && value.get<double>() == std::floor(value.get<double>());
  return true;
}

std::vector<std::string> types_of(const ordered_json& schema) {
  const auto type = schema.find("type");
  if (type != schema.end()) {
    if (type->is_string()) return {type->get<std::string>()};
    return type->get<std::vector<std::string>>();
  }
  const auto has = [&](std::initializer_list<const char*> keys) {
    return std::ranges::any_of(keys, [&](const char* key) { return schema.contains(key); });
  };
  std::vector<std::string> types;
  if (has({"properties", "additionalProperties", "patternProperties", "minProperties",
           "maxProperties"}) ||
      (schema.contains("required") && schema["required"].is_array()))
    types.emplace_back("object");
  if (has({"items", "prefixItems", "minItems", "maxItems"})) types.emplace_back("array");
  if (has({"minLength", "maxLength", "pattern", "format"})) types.emplace_back("string");
  if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}))
    types.emplace_back("number");
  return types;
}

}  // namespace

void SchemaCompiler::note(const std::string& path, std::string_view keyword,
                          std::string_view what) {
  if (notes_.size() >= kMaxNotes) return;
  SchemaNote n{path, std::string(keyword), std::string(what)};
  if (noted_.insert(describe(n)).second) notes_.push_back(std::move(n));
}

ExprId SchemaCompiler::anything(const std::string& path, std::string_view what) {
  note(path, "", what);
  return json_.any_value();
}

ExprId SchemaCompiler::named(ExprId expr, const std::string& path) {
  return g_.call(g_.add_rule(path.empty() ? "root" : path, expr));
}

ExprId SchemaCompiler::shared(ExprId expr, const char* name) {
  const Expr::Kind kind = g_.exprs[static_cast<size_t>(expr)].kind;
  if (kind == Expr::Kind::kRule || kind == Expr::Kind::kLiteral) return expr;
  return g_.call(g_.add_rule(name, expr));
}

// Without recursion: a document may be deeper than the stack.
static int depth_of(const ordered_json& document) {
  int deepest = 0;
  std::vector<std::pair<const ordered_json*, int>> work = {{&document, 0}};
  while (!work.empty()) {
    const auto [value, depth] = work.back();
    work.pop_back();
    deepest = std::max(deepest, depth);
    if (value->is_structured())
      for (const ordered_json& child : *value) work.emplace_back(&child, depth + 1);
  }
  return deepest;
}

tl::unexpected<Error> too_deep() {
  return fail(ErrorKind::kTooLarge, "JSON schema: nested deeper than {} levels: use $defs and $ref",
              kMaxSchemaDepth);
}

Result<ExprId> SchemaCompiler::compile() {
  if (depth_of(root_) > kMaxSchemaDepth) return too_deep();
  const RuleId root = g_.add_rule("root");
  referred_.emplace(&root_, root);
  SLUICE_ASSIGN(const ExprId expr, value(root_, "", 0));
  g_.rules[static_cast<size_t>(root)].expr = expr;
  if (!may_end(g_, expr))
    g_.rules[static_cast<size_t>(root)].expr =
        anything("", "is what no finite document follows; any value is allowed");
  return g_.call(root);
}

Result<ExprId> SchemaCompiler::value(const Json& schema, const std::string& path, int depth) {
  if (schema.is_boolean()) {
    if (schema.get<bool>()) return json_.any_value();
    return anything(path, "is false, which no document follows; any value is allowed");
  }
  if (!schema.is_object())
    return fail(ErrorKind::kUsage, "JSON schema: {} must be an object, true or false, but is {}",
                path.empty() ? "the document" : path, schema.type_name());
  if (depth > kMaxNesting) return anything(path, "is nested too deeply; any value is allowed");
  if (g_.exprs.size() > kMaxExprs)
    return anything(path, "and what follows is too much; any value is allowed");
  SLUICE_TRY(check_keywords(schema, path));
  for (const char* keyword :
       {"not", "if", "dependentRequired", "dependentSchemas", "dependencies", "contains",
        "unevaluatedProperties", "unevaluatedItems", "propertyNames", "multipleOf", "$dynamicRef"})
    if (schema.contains(keyword)) note(path, keyword, "is not checked");
  if (const auto unique = schema.find("uniqueItems"); unique != schema.end() && *unique == true)
    note(path, "uniqueItems", "is not checked");

  if (schema.contains("$ref") || schema.contains("allOf")) {
    if (schema.contains("$ref") && !says_something(schema, {}))
      return reference(schema, path, depth);
    return combined(schema, path, depth);
  }
  if (schema.contains("enum") || schema.contains("const")) return constants(schema, path);
  for (const char* keyword : {"anyOf", "oneOf"})
    if (schema.contains(keyword)) return alternatives(schema, keyword, path, depth);

  std::vector<std::string> types = types_of(schema);
  if (const auto nullable = schema.find("nullable");
      nullable != schema.end() && *nullable == true && !types.empty())
    types.emplace_back("null");
  if (types.empty()) return json_.any_value();
  std::vector<ExprId> parts;
  const bool number = std::ranges::find(types, "number") != types.end();
  for (const std::string& type : types) {
    if (type == "integer" && number) continue;
    SLUICE_ASSIGN(const ExprId part, of_type(type, schema, path, depth));
    if (std::ranges::find(parts, part) == parts.end()) parts.push_back(part);
  }
  return g_.choice(std::move(parts));
}

Result<ExprId> SchemaCompiler::of_type(const std::string& type, const Json& schema,
                                       const std::string& path, int depth) {
  if (type == "object") return object(schema, path, depth);
  if (type == "array") return array(schema, path, depth);
  if (type == "string") return string(schema, path);
  if (type == "integer") return integer(schema, path);
  if (type == "number") return number(schema, path);
  if (type == "boolean") return json_.boolean();
  if (type == "null") return json_.null();
  note(path, "type", "has an unknown name; any value is allowed");
  return json_.any_value();
}

const SchemaCompiler::Json* SchemaCompiler::resolve(const std::string& pointer) const {
  if (!pointer.starts_with('#')) return nullptr;
  const Json* at = &root_;
  std::string name;
  for (size_t i = 1; i < pointer.size();) {
    if (pointer[i] != '/') return nullptr;
    name.clear();
    for (++i; i < pointer.size() && pointer[i] != '/'; ++i) {
      char c = pointer[i];
      if (c == '~' && i + 1 < pointer.size()) {
        c = pointer[++i] == '1' ? '/' : '~';
      } else if (c == '%' && i + 2 < pointer.size()) {
        uint8_t code = 0;
        const auto [end, error] =
            std::from_chars(pointer.data() + i + 1, pointer.data() + i + 3, code, 16);
        if (error == std::errc() && end == pointer.data() + i + 3) {
          c = static_cast<char>(code);
          i += 2;
        }
      }
      name += c;
    }
    if (at->is_object()) {
      const auto found = at->find(name);
      if (found == at->end()) return nullptr;
      at = &*found;
    } else if (at->is_array()) {
      size_t index = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc() || end != name.data() + name.size() || index >= at->size())
        return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

Result<ExprId> SchemaCompiler::reference(const Json& schema, const std::string& path, int depth) {
  const std::string pointer = schema["$ref"].get<std::string>();
  const Json* target = resolve(pointer);
  if (!target) {
    note(path, "$ref", "is found nowhere in the schema; any value is allowed");
    return json_.any_value();
  }
  const auto [found, fresh] = referred_.try_emplace(target, -1);
  if (fresh) {
    const RuleId rule = found->second = g_.add_rule(pointer);
    // What refers to nothing but itself allows everything.
    std::set<const Json*> chain = {target};
    for (const Json* next = target;
         next && next->is_object() && next->contains("$ref") && !says_something(*next, {});) {
      const auto& ref = (*next)["$ref"];
      next = ref.is_string() ? resolve(ref.get<std::string>()) : nullptr;
      if (next && !chain.insert(next).second) {
        note(path, "$ref", "leads back to itself; any value is allowed");
        g_.rules[static_cast<size_t>(rule)].expr = json_.any_value();
        return g_.call(rule);
      }
    }
    // A rule of its own: nested no deeper than what refers to it.
    SLUICE_ASSIGN(const ExprId expr, value(*target, pointer.substr(1), depth + 1));
    g_.rules[static_cast<size_t>(rule)].expr = expr;
    return g_.call(rule);
  }
  return g_.call(found->second);
}

Status SchemaCompiler::flatten(const Json& schema, const std::string& path, Json& into,
                               std::vector<const Json*>& active) {
  if (schema.is_boolean()) {
    if (!schema.get<bool>()) note(path, "", "is false, which no document follows; it is left out");
    return {};
  }
  if (!schema.is_object())
    return fail(ErrorKind::kUsage, "JSON schema: {} must be an object, true or false, but is {}",
                path, schema.type_name());
  SLUICE_TRY(check_keywords(schema, path));
  if (++merges_ > kMaxMerges || active.size() > kMaxNesting) {
    note(path, "", "is one of too many schemas to put together; it is left out");
    return {};
  }
  Json own = schema;
  own.erase("allOf");
  own.erase("$ref");
  if (own.contains("required") && own["required"].is_boolean()) own.erase("required");
  merge_schema(into, own, [&](std::string_view keyword) {
    note(path, keyword,
         "contradicts, or cannot be put together with, another one of allOf or $ref");
  });
  if (const auto ref = schema.find("$ref"); ref != schema.end()) {
    const Json* target = resolve(ref->get<std::string>());
    if (!target) {
      note(path, "$ref", "is found nowhere in the schema; any value is allowed");
    } else if (std::ranges::find(active, target) != active.end()) {
      note(path, "$ref", "leads back to itself; it is left out");
    } else {
      active.push_back(target);
      SLUICE_TRY(flatten(*target, ref->get<std::string>().substr(1), into, active));
      active.pop_back();
    }
  }
  if (const auto all = schema.find("allOf"); all != schema.end()) {
    active.push_back(&schema);
    for (size_t i = 0; i < all->size(); ++i)
      SLUICE_TRY(flatten((*all)[i], path + "/allOf/" + std::to_string(i), into, active));
    active.pop_back();
  }
  return {};
}

Result<ExprId> SchemaCompiler::combined(const Json& schema, const std::string& path, int depth) {
  if (merges_ > kMaxMerges)
    return anything(path, "is one of too many schemas to put together; any value is allowed");
  // By what it says: the same schema within itself is the same rule.
  const auto [found, fresh] =
      combined_.try_emplace(schema.dump(-1, ' ', false, Json::error_handler_t::replace), -1);
  if (!fresh) return g_.call(found->second);
  const RuleId rule = found->second = g_.add_rule(path.empty() ? "root" : path);
  Json& merged = made_.emplace_back(Json::object());
  std::vector<const Json*> active;
  SLUICE_TRY(flatten(schema, path, merged, active));
  SLUICE_ASSIGN(const ExprId expr, value(merged, path, depth + 1));
  g_.rules[static_cast<size_t>(rule)].expr = expr;
  return g_.call(rule);
}

Result<ExprId> SchemaCompiler::alternatives(const Json& schema, const std::string& keyword,
                                            const std::string& path, int depth) {
  const Json& list = schema[keyword];
  if (keyword == "anyOf" && schema.contains("oneOf"))
    note(path, "oneOf", "beside anyOf is not checked");
  if (keyword == "oneOf" && list.size() > 1)
    note(path, "oneOf", "is read as anyOf: that only one alternative fits is not checked");
  if (list.empty()) {
    note(path, keyword, "is empty, which no document follows; any value is allowed");
    return json_.any_value();
  }
  Json base;
  if (says_something(schema, {"anyOf", "oneOf"})) {
    base = schema;
    base.erase("anyOf");
    base.erase("oneOf");
  }
  std::vector<ExprId> parts;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] == false) continue;
    const std::string where = path + "/" + keyword + "/" + std::to_string(i);
    // Beside null, a base that says what the others are like does not count.
    const Json* one = &list[i];
    if (!base.is_null() && list[i] != true)
      one = &made_.emplace_back(Json{{"allOf", Json::array({list[i], base})}});
    else if (!base.is_null())
      one = &base;
    SLUICE_ASSIGN(const ExprId part, value(*one, where, depth + 1));
    if (std::ranges::find(parts, part) == parts.end()) parts.push_back(part);
  }
  if (parts.empty())
    return anything(path, "has no alternative that a document could follow; any value is allowed");
  return g_.choice(std::move(parts));
}

ExprId SchemaCompiler::constants(const Json& schema, const std::string& path) {
  std::vector<const Json*> values;
  if (const auto constant = schema.find("const"); constant != schema.end()) {
    values.push_back(&*constant);
  } else {
    for (const Json& v : schema["enum"]) values.push_back(&v);
  }
  if (values.empty())
    return anything(path, "has an empty enum, which no document follows; any value is allowed");
  std::vector<std::string> strings;
  std::vector<ExprId> parts;
  const std::vector<std::string> types =
      schema.contains("type") ? types_of(schema) : std::vector<std::string>();
  const bool nullable = schema.contains("nullable") && schema["nullable"] == true;
  const auto fits = [&](const Json& v) {
    return types.empty() || (nullable && v.is_null()) ||
           std::ranges::any_of(types, [&](const std::string& t) { return is_of_type(v, t); });
  };
  const bool some = std::ranges::any_of(values, [&](const Json* v) { return fits(*v); });
  if (!some) note(path, "type", "is that of none of the values, and is not checked");
  for (const Json* v : values) {
    if (some && !fits(*v)) continue;
    if (v->is_string())
      strings.push_back(v->get<std::string>());
    else
      parts.push_back(json_.literal(*v));
  }
  if (nullable) parts.push_back(json_.null());
  if (!strings.empty()) parts.push_back(json_.one_of(std::move(strings)));
  if (parts.size() == 1) return parts.front();
  return shared(g_.choice(std::move(parts)), "enum");
}

}  // namespace sluice::text::grammar
