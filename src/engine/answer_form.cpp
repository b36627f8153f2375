// SPDX-License-Identifier: Apache-2.0
#include "engine/answer_form.h"

#include <utility>

#include "base/check.h"

namespace sluice::engine {

tl::expected<Constraint, FormError> constrain(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                              const AnswerForm& form) {
  SLUICE_CHECK(!form.free(), "a constraint of nothing");
  const auto wrong = [](Error error, std::string path) {
    return tl::unexpected(FormError{std::move(error), std::move(path)});
  };
  text::grammar::AnswerGrammar grammar;
  if (form.text == AnswerForm::Text::kGrammar) {
    SLUICE_CHECK(form.tools.empty(), "a grammar besides tools");
    if (Status made = grammar.set_gbnf(form.grammar); !made)
      return wrong(std::move(made.error()), form.path);
  }
  for (const ToolForm& tool : form.tools) {
    Status made =
        grammar.add_tool(tool.name, tool.parameters ? &*tool.parameters : nullptr, tool.path);
    if (!made) return wrong(std::move(made.error()), tool.path);
  }
  // Where a call must come, nothing else may.
  const bool must_call = form.must_call && !form.tools.empty();
  if (form.text == AnswerForm::Text::kSchema && !must_call) {
    if (Status made = grammar.set_document(form.schema, form.path); !made)
      return wrong(std::move(made.error()), form.path);
  }
  if (form.text == AnswerForm::Text::kAnyObject && !must_call) grammar.set_any_object();

  const bool in_text = form.text == AnswerForm::Text::kFree && !must_call;
  text::grammar::Trigger trigger;
  if (in_text) trigger = grammar.trigger(form.thoughts, form.several_calls);
  auto made = Constraint::from_grammar(
      std::move(vocabulary),
      in_text ? grammar.calls_in_text() : grammar.whole(form.thoughts, form.several_calls),
      trigger);
  if (!made)
    return wrong(std::move(made.error()),
                 form.path.empty() && !form.tools.empty() ? form.tools.front().path : form.path);
  return std::move(*made);
}

}  // namespace sluice::engine
