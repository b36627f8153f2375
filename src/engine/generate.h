// SPDX-License-Identifier: Apache-2.0
// Text from a session: sample, detokenise, stop.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/draft_policy.h"
#include "engine/session.h"

namespace sluice::engine {

enum class FinishReason {
  kEndOfGeneration,  // the model ended its turn
  kStopString,
  kLength,   // max_tokens
  kContext,  // no room left
  kCancelled,
};

struct GenerateOptions {
  int64_t max_tokens = -1;  // < 0: until the model ends or the context is full
  std::vector<std::string> stop;
  bool show_special = false;   // control tokens become part of the text
  std::vector<int64_t> turns;  // of the prompt, see Session::reuse
  // Tokens are guessed ahead where the model can (see lookahead.h); kept by the caller, so that
  // what was measured serves the next answer too. nullptr: none are.
  DraftPolicy* drafts = nullptr;
};

struct GenerateResult {
  FinishReason reason = FinishReason::kEndOfGeneration;
  std::string text;              // all that was emitted
  int64_t prompt_tokens = 0;     // of the whole prompt
  int64_t reused_tokens = 0;     // of these, not read again
  int64_t generated_tokens = 0;  // sampled, the ending one counted
  int64_t guessed_tokens = 0;    // ahead of time
  int64_t right_guesses = 0;     // of these
  double prompt_seconds = 0;
  double first_token_seconds = 0;  // from the call to the first sampled token
  double generate_seconds = 0;     // from the first sampled token to the end
};

// Receives valid UTF-8 as it becomes certain.
using TextSink = std::function<void(std::string_view)>;

// Continues `prompt` (the session is brought to it first, see Session::reuse). After a cancellation
// the result so far is returned; the session holds what was read.
Result<GenerateResult> generate(Session& session, Sampler& sampler,
                                std::span<const text::Token> prompt, const GenerateOptions& options,
                                const TextSink& sink, const std::atomic<bool>* cancel = nullptr);

// Text with stop strings: holds back what may become one, and ends before the one that is complete
// first, however the text is cut into pieces. Pure; used by generate().
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  // Returns what is certain not to be part of a stop string. After stopped() nothing more comes.
  std::string push(std::string_view text);
  // What was held back when the text ended without a stop string.
  std::string finish();
  bool stopped() const { return stopped_; }
  // After stopped(): the stop string.
  const std::string& stop() const { return stop_; }

 private:
  std::vector<std::string> stops_;
  std::string stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace sluice::engine
