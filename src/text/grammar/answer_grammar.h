// SPDX-License-Identifier: Apache-2.0
// What a chat model's whole answer may look like: its thoughts, then calls of tools or a document.
// Calls are written as Qwen's models do: <tool_call>{"name": ..., "arguments": {...}}</tool_call>.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/json_text.h"

namespace sluice::text::grammar {

enum class Thoughts {
  kNone,
  kMayCome,  // the answer may begin with them
  kOpen,     // the prompt has opened them
};

class AnswerGrammar {
 public:
  AnswerGrammar() : json_(g_) {}
  AnswerGrammar(const AnswerGrammar&) = delete;
  AnswerGrammar& operator=(const AnswerGrammar&) = delete;

  // `parameters`: the schema of the arguments, nullptr: any object. `path` stands before the paths
  // of notes. Errors: see grammar_of_schema().
  Status add_tool(const std::string& name, const nlohmann::ordered_json* parameters,
                  const std::string& path);
  // Or a document: of a schema, or any object. Errors as above.
  Status set_document(const nlohmann::ordered_json& schema, const std::string& path);
  void set_any_object() { document_ = json_.any_object(); }
  // Or a text of this grammar, which must be the only alternative. Errors: see parse_gbnf().
  Status set_gbnf(std::string_view source);

  // The answer is free until it calls a tool; `several`: and again afterwards. There must be tools
  // and nothing else.
  SchemaGrammar calls_in_text();
  Trigger trigger(Thoughts thoughts, bool several) const;
  // The answer is one or (`several`) more calls, or the document.
  SchemaGrammar whole(Thoughts thoughts, bool several);

 private:
  Result<ExprId> schema(const nlohmann::ordered_json& schema, const std::string& path);
  ExprId call_behind_mark();
  SchemaGrammar finish(ExprId root);

  Grammar g_;
  JsonText json_;
  std::vector<SchemaNote> notes_;
  std::vector<ExprId> calls_;
  std::optional<ExprId> document_;
};

}  // namespace sluice::text::grammar
