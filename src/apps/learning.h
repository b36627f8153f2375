// SPDX-License-Identifier: Apache-2.0
// Commands that run a model compare what it took with what a plan would have said, so that the next
// plan on this machine is better. Does nothing where this machine was never measured.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/engine.h"

namespace sluice::apps {

// Tokens per second.
struct Compared {
  double predicted = 0, measured = 0;
};
struct UsualSpeeds {
  double prompt = 0;      // reading 512 tokens
  double generation = 0;  // the first 128
};

class Learning {
 public:
  // `engine` must outlive it.
  static Learning of(const engine::Engine& engine);
  ~Learning();
  Learning(Learning&& other) noexcept;
  Learning& operator=(Learning&& other) noexcept;

  // A number of prompts of `prompt` tokens (0: none) followed by `generated` ones took so many
  // seconds on average, of which it waited for the disk `stalled`. One of the two counts is 0.
  // nullopt: it was too short to tell, or nothing is learned.
  std::optional<Compared> measured(int64_t prompt, int64_t generated, int64_t position,
                                   int64_t ubatch, double seconds, double stalled);
  // What is predicted of an empty context; nullopt: this machine was never measured.
  std::optional<UsualSpeeds> usual(int64_t ubatch) const;
  // Adds what was learned to what is remembered. A warning where that fails.
  void remember();

 private:
  struct State;
  explicit Learning(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;  // nullptr: nothing is learned
};

}  // namespace sluice::apps
