// SPDX-License-Identifier: Apache-2.0
// From a JSON schema to a grammar of the documents it describes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

// What a grammar does not hold a document to, although the schema does.
struct SchemaNote {
  std::string path;     // JSON pointer into the schema, "" is its root
  std::string keyword;  // empty: the schema as a whole
  std::string what;     // "is not checked", ...
};
std::string describe(const SchemaNote& note);

struct SchemaGrammar {
  Grammar grammar;
  std::vector<SchemaNote> notes;  // at most kMaxNotes
};

constexpr size_t kMaxSchemaBytes = 8 << 20;
constexpr int kMaxSchemaDepth = 256;
constexpr size_t kMaxNotes = 100;

// Documents of the grammar follow the schema but for the notes, with these choices where a schema
// leaves one: members come in the order of `properties`; an object that names properties has no
// others unless additionalProperties asks for them; a schema without `type` has the one that its
// keywords are about. Never fails for want of expressiveness: kUsage, with the path, is for what is
// no schema (a keyword's value of a wrong type), kTooLarge for the limits above.
Result<SchemaGrammar> grammar_of_schema(const nlohmann::ordered_json& schema);
// The same for a text, which may be no JSON at all.
Result<SchemaGrammar> grammar_of_schema(std::string_view text);
// Any JSON object (response_format json_object).
Grammar grammar_of_any_object();

}  // namespace sluice::text::grammar
