// SPDX-License-Identifier: Apache-2.0
// One request's answer as it comes: logits become tokens, tokens become text, text ends.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/request.h"

namespace sluice::engine {

class Answer {
 public:
  // `engine` must outlive it; `capacity`: positions that prompt and answer may take.
  static Result<Answer> create(const Engine& engine, Request request, int64_t capacity);

  const Request& request() const { return request_; }
  // Prompt and what was sampled: what the model is to read. The last one is not always needed.
  std::span<const text::Token> tokens() const { return tokens_; }
  int64_t prompt_size() const { return prompt_size_; }
  int64_t generated() const { return generated_; }

  // Samples one token from the logits behind tokens(), which are changed, and appends it unless it
  // ends the answer. Returns why the answer ends, if it does.
  std::optional<FinishReason> step(std::span<float> logits);
  // What has become certain since the last call; at the end of the answer, all that is left.
  Update take(bool at_end);
  const std::string& stop() const { return stop_.stop(); }

 private:
  Answer(const Engine& engine, Request request, Sampler sampler, int64_t capacity);
  void report(std::span<const float> logits);
  bool shown(text::Token token) const;

  const Engine* engine_;
  Request request_;
  Sampler sampler_;
  int64_t capacity_;
  int64_t prompt_size_;
  int64_t generated_ = 0;
  std::vector<text::Token> tokens_;
  text::Utf8Stream utf8_;
  StopFilter stop_;
  std::string certain_;
  std::vector<TokenReport> reports_;
  // Of the last logits: to know the chosen one's probability after the sampler changed them.
  std::vector<float> before_;
  double before_sum_ = 0;  // log of the sum of their exponentials
};

}  // namespace sluice::engine
