// SPDX-License-Identifier: Apache-2.0
// What the scheduler is asked for, and what it answers.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/generate.h"
#include "engine/sampler.h"
#include "engine/sampling/constraint.h"

namespace sluice::engine {

struct Request {
  std::vector<text::Token> prompt;  // at least one
  std::vector<int64_t> turns;       // of the prompt, see Session::reuse
  SamplingParams sampling;
  int64_t max_tokens = -1;  // < 0: until the model ends or the context is full
  double max_seconds = 0;   // of generating; 0: no limit
  std::vector<std::string> stop;
  std::vector<text::Token> shown;  // control tokens that are part of the text
  int chances = -1;                // >= 0: probabilities of each token and of so many others
  bool reuse = true;               // read from a text held already what it has in common
  // The answer follows it; at its beginning, and this request's alone. nullptr: the answer is free.
  std::shared_ptr<Constraint> constraint;
  // Text is reused within one owner's requests only, and owners take turns in the queue.
  std::string owner;
};

struct TokenChance {
  text::Token token = 0;
  float log_probability = 0;  // by the model alone: before the sampling chain
};

struct TokenReport {
  TokenChance chosen;
  std::vector<TokenChance> best;  // most probable first
};

struct RequestFigures {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;                      // of these, not read again
  int64_t generated_tokens = 0;                   // sampled, the ending one counted
  int64_t guessed_tokens = 0, right_guesses = 0;  // see DraftPolicy
  double queue_seconds = 0;
  double prompt_seconds = 0;       // from leaving the queue to the first token
  double first_token_seconds = 0;  // from submit()
  double generate_seconds = 0;     // from the first token to the last
  // Experts asked for in the forward passes of this request, which it may have shared with others:
  // those in an accelerator's memory, and the others.
  uint64_t experts_on_device = 0, experts = 0, experts_in_memory = 0, expert_bytes_read = 0;
  double expert_wait_seconds = 0;
  double prompt_wait_seconds = 0;  // of it, until the first token
  bool alone = true;               // no other request was in a slot meanwhile
};

// Text that became certain, and the tokens sampled since the last update.
struct Update {
  std::string text;                 // valid UTF-8, may be empty
  std::vector<TokenReport> tokens;  // filled with Request::chances; the one that ends is left out
  RequestFigures figures;           // so far
};

struct Outcome {
  FinishReason reason = FinishReason::kEndOfGeneration;
  std::string stop;            // kStopString: which
  std::optional<Error> error;  // it failed; the text so far has been told
  RequestFigures figures;
};

// Both are called by the scheduler's thread, which waits for them: hand over, do not compute, do
// not throw.
struct Listener {
  std::function<void(const Update&)> update;
  std::function<void(const Outcome&)> end;  // once, the last call
};

// A request on its way. Safe from any thread.
class Ticket {
 public:
  // Ends it within a step, with FinishReason::kCancelled.
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace sluice::engine
