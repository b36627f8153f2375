// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/answer_grammar.h"

#include <utility>

#include "base/check.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/schema_compiler.h"

namespace sluice::text::grammar {
namespace {

constexpr const char* kThink = "<think>";
constexpr const char* kThinkEnd = "</think>";
constexpr const char* kCall = "<tool_call>";
constexpr const char* kCallEnd = "</tool_call>";

ExprId blanks(Grammar& g, int32_t most) {
  return g.repeat(g.char_class({{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}}), 0, most);
}

}  // namespace

Result<ExprId> AnswerGrammar::schema(const nlohmann::ordered_json& schema,
                                     const std::string& path) {
  std::vector<SchemaNote> notes;
  SLUICE_ASSIGN(const ExprId expr, SchemaCompiler(schema, g_, json_, notes).compile());
  for (SchemaNote& note : notes) {
    if (notes_.size() >= kMaxNotes) break;
    note.path = path + note.path;
    notes_.push_back(std::move(note));
  }
  return expr;
}

Status AnswerGrammar::add_tool(const std::string& name, const nlohmann::ordered_json* parameters,
                               const std::string& path) {
  ExprId arguments = json_.any_object();
  if (parameters) {
    SLUICE_ASSIGN(arguments, schema(*parameters, path));
  }
  const ExprId space = json_.space();
  calls_.push_back(
      g_.sequence({g_.literal(JsonText::in_quotes(name) + ","), space, g_.literal("\"arguments\":"),
                   space, arguments, space, g_.literal("}")}));
  return {};
}

Status AnswerGrammar::set_document(const nlohmann::ordered_json& document,
                                   const std::string& path) {
  SLUICE_ASSIGN(document_, schema(document, path));
  return {};
}

Status AnswerGrammar::set_gbnf(std::string_view source) {
  SLUICE_CHECK(g_.rules.empty(), "a grammar besides something else");
  SLUICE_ASSIGN(g_, parse_gbnf(source));
  document_ = g_.call(g_.root);
  return {};
}

ExprId AnswerGrammar::call_behind_mark() {
  SLUICE_CHECK(!calls_.empty(), "a call without tools");
  const ExprId space = json_.space();
  const ExprId begin = g_.sequence({blanks(g_, 2), g_.literal("{"), space, g_.literal("\"name\":"),
                                    space, g_.choice(calls_), blanks(g_, 2)});
  return g_.sequence({begin, g_.literal(kCallEnd)});
}

SchemaGrammar AnswerGrammar::finish(ExprId root) {
  g_.root = g_.add_rule("answer", root);
  return {std::move(g_), std::move(notes_)};
}

SchemaGrammar AnswerGrammar::calls_in_text() {
  SLUICE_CHECK(!document_, "a document besides free text");
  return finish(call_behind_mark());
}

Trigger AnswerGrammar::trigger(Thoughts thoughts, bool several) const {
  Trigger trigger;
  trigger.text = kCall;
  trigger.once = !several;
  if (thoughts == Thoughts::kNone) return trigger;
  trigger.pause_begin = kThink;
  trigger.pause_end = kThinkEnd;
  trigger.paused = thoughts == Thoughts::kOpen;
  return trigger;
}

SchemaGrammar AnswerGrammar::whole(Thoughts thoughts, bool several) {
  std::vector<ExprId> parts;
  if (!calls_.empty()) {
    const ExprId call =
        g_.call(g_.add_rule("call", g_.sequence({g_.literal(kCall), call_behind_mark()})));
    const ExprId more = g_.repeat(g_.sequence({blanks(g_, 2), call}), 0, kUnlimited);
    parts.push_back(several ? g_.sequence({call, more}) : call);
  }
  if (document_) parts.push_back(*document_);
  SLUICE_CHECK(!parts.empty(), "an answer of nothing");
  ExprId answer = g_.choice(std::move(parts));
  if (thoughts != Thoughts::kNone) {
    const ExprId rest = g_.sequence({g_.through(kThinkEnd), blanks(g_, 4)});
    const ExprId thought =
        thoughts == Thoughts::kOpen
            ? rest
            : g_.optional(g_.sequence({blanks(g_, 2), g_.literal(kThink), rest}));
    answer = g_.sequence({thought, answer});
  }
  return finish(answer);
}

}  // namespace sluice::text::grammar
