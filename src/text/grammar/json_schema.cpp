// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/json_schema.h"

#include "text/grammar/json_text.h"
#include "text/grammar/schema_compiler.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

}  // namespace

std::string describe(const SchemaNote& note) {
  const std::string where = note.path.empty() ? "the schema" : note.path;
  return note.keyword.empty() ? where + ": " + note.what
                              : where + ": " + note.keyword + " " + note.what;
}

Result<SchemaGrammar> grammar_of_schema(const ordered_json& schema) {
  SchemaGrammar out;
  JsonText json(out.grammar);
  SchemaCompiler compiler(schema, out.grammar, json, out.notes);
  SLUICE_ASSIGN(const ExprId root, compiler.compile());
  out.grammar.root = out.grammar.exprs[static_cast<size_t>(root)].rule;
  return out;
}

Result<SchemaGrammar> grammar_of_schema(std::string_view text) {
  if (text.size() > kMaxSchemaBytes)
    return fail(ErrorKind::kTooLarge, "JSON schema: {} bytes, at most {} are read", text.size(),
                kMaxSchemaBytes);
  bool deep = false;
  const auto limit = [&](int depth, ordered_json::parse_event_t, ordered_json&) {
    deep = deep || depth > kMaxSchemaDepth;
    return !deep;
  };
  const ordered_json schema = ordered_json::parse(text, limit, false);
  if (deep) return too_deep();
  if (schema.is_discarded())
    return fail(ErrorKind::kUsage,
                "JSON schema: this is no JSON: check quotes, commas and brackets");
  return grammar_of_schema(schema);
}

Grammar grammar_of_any_object() {
  Grammar grammar;
  JsonText json(grammar);
  grammar.root = grammar.add_rule("root", json.any_object());
  return grammar;
}

}  // namespace sluice::text::grammar
