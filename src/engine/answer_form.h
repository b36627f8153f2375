// SPDX-License-Identifier: Apache-2.0
// What the answer of a chat model must look like, and the constraint that holds it to that.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampling/constraint.h"
#include "text/grammar/answer_grammar.h"

namespace sluice::engine {

using text::grammar::Thoughts;

// Paths are those of the request's fields, for errors and notes.
struct ToolForm {
  std::string name;
  std::optional<nlohmann::ordered_json> parameters;  // schema of the arguments; none: any object
  std::string path;                                  // of the schema
};

struct AnswerForm {
  enum class Text { kFree, kGrammar, kAnyObject, kSchema };
  Text text = Text::kFree;
  std::string grammar;            // kGrammar: GBNF
  nlohmann::ordered_json schema;  // kSchema
  std::string path;               // of either
  std::vector<ToolForm> tools;    // that may be called; not beside a grammar
  bool must_call = false;         // the answer is calls and nothing else
  bool several_calls = true;
  Thoughts thoughts = Thoughts::kNone;  // before the answer

  bool free() const { return text == Text::kFree && tools.empty(); }
};

struct FormError {
  Error error;
  std::string path;  // of what is wrong
};

// For a form that is not free(). Calls in free text are held to their tools' schemas once they
// begin. What the schemas ask for and is not held is in notes(). Errors: kUsage for what is no
// grammar or schema, kTooLarge for one beyond the limits of text/grammar.
tl::expected<Constraint, FormError> constrain(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                              const AnswerForm& form);

}  // namespace sluice::engine
