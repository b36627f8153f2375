// SPDX-License-Identifier: Apache-2.0
#include "server/constraints.h"

#include <algorithm>

#include "base/log.h"

namespace sluice::server {
namespace {

constexpr size_t kMostKept = 16;
constexpr size_t kMostKeptBytes = 32 << 20;
constexpr size_t kMostIdle = 2;  // of one form
constexpr size_t kMostIdleBytes = 8 << 20;
constexpr size_t kLongestHeader = 1000;

// Equal for equal forms only.
std::string key_of(const engine::AnswerForm& form, const std::string& owner) {
  Json tools = Json::array();
  for (const engine::ToolForm& tool : form.tools)
    tools.push_back({tool.name, tool.parameters ? *tool.parameters : Json()});
  return dump({owner, static_cast<int>(form.text), form.grammar, form.schema, std::move(tools),
               form.must_call, form.several_calls, static_cast<int>(form.thoughts)});
}

}  // namespace

std::shared_ptr<engine::Constraint> CompiledForm::take() {
  std::unique_ptr<engine::Constraint> constraint;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      constraint = std::make_unique<engine::Constraint>(std::move(idle_.back()));
      idle_.pop_back();
    }
  }
  if (!constraint) constraint = std::make_unique<engine::Constraint>(first_.fork());
  return {constraint.release(), [form = weak_from_this()](engine::Constraint* used) {
            const std::unique_ptr<engine::Constraint> owned(used);
            if (const auto home = form.lock()) home->give_back(std::move(*owned));
          }};
}

void CompiledForm::give_back(engine::Constraint constraint) {
  if (constraint.bytes() > kMostIdleBytes) return;
  constraint.reset();
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(constraint));
}

size_t CompiledForm::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t bytes = first_.grammar_bytes() + first_.bytes();
  for (const engine::Constraint& constraint : idle_) bytes += constraint.bytes();
  return bytes;
}

std::string CompiledForm::relaxed() const {
  std::string line;
  for (const auto& note : notes()) {
    if (!line.empty()) line += "; ";
    line += text::grammar::describe(note);
    if (line.size() > kLongestHeader) break;
  }
  if (line.size() > kLongestHeader) {
    line.resize(kLongestHeader);
    line += "...";
  }
  std::ranges::replace_if(
      line, [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

std::shared_ptr<const engine::GrammarVocabulary> Constraints::vocabulary() {
  const std::lock_guard lock(mutex_);
  if (!vocabulary_) vocabulary_ = engine_->grammar_vocabulary();
  return vocabulary_;
}

ApiResult<std::shared_ptr<CompiledForm>> Constraints::compile(const engine::AnswerForm& form,
                                                              const std::string& owner) {
  if (form.free()) return nullptr;
  std::string key = key_of(form, owner);
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(kept_, key, &Entry::key);
    if (found != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, found);
      return found->form;
    }
  }
  auto constraint = engine::constrain(vocabulary(), form);
  if (!constraint) return refuse(to_api(constraint.error().error, constraint.error().path));
  auto compiled = std::make_shared<CompiledForm>(std::move(*constraint));
  // Paths are what a client wrote: they are its own business.
  if (!compiled->notes().empty())
    spdlog::info(
        "{} keywords of a request's JSON schemas are not held: the "
        "answer says which",
        compiled->notes().size());
  const std::lock_guard lock(mutex_);
  kept_.push_front({std::move(key), compiled});
  size_t bytes = 0;
  size_t count = 0;
  const auto last = std::ranges::find_if(kept_, [&](const Entry& entry) {
    bytes += entry.key.size() + entry.form->bytes();
    return ++count > kMostKept || (bytes > kMostKeptBytes && count > 1);
  });
  kept_.erase(last, kept_.end());
  return compiled;
}

}  // namespace sluice::server
