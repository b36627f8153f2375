// SPDX-License-Identifier: Apache-2.0
// Forms of answers, compiled, and kept for the next request that asks for the same: agents send
// their tools with every turn.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/answer_form.h"
#include "engine/engine.h"
#include "server/api.h"

namespace sluice::server {

class CompiledForm : public std::enable_shared_from_this<CompiledForm> {
 public:
  explicit CompiledForm(engine::Constraint constraint) : first_(std::move(constraint)) {}

  // For one text. What was computed for its masks comes back here when it is let go.
  std::shared_ptr<engine::Constraint> take();
  // What is not held of the schemas, in one line of printable ASCII for a header; empty: nothing.
  std::string relaxed() const;
  const engine::Constraint::Notes& notes() const { return first_.notes(); }
  size_t bytes() const;

 private:
  void give_back(engine::Constraint constraint);

  const engine::Constraint first_;
  mutable std::mutex mutex_;
  std::vector<engine::Constraint> idle_;
};

// Safe from any thread.
class Constraints {
 public:
  // `engine` must outlive it.
  explicit Constraints(const engine::Engine& engine) : engine_(&engine) {}

  // nullptr for a form that is free. Nothing is shared between owners. Errors have the path of the
  // field.
  ApiResult<std::shared_ptr<CompiledForm>> compile(const engine::AnswerForm& form,
                                                   const std::string& owner);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<CompiledForm> form;
  };

  std::shared_ptr<const engine::GrammarVocabulary> vocabulary();

  const engine::Engine* engine_;
  std::mutex mutex_;
  std::shared_ptr<const engine::GrammarVocabulary> vocabulary_;
  std::list<Entry> kept_;  // used last: first
};

}  // namespace sluice::server
