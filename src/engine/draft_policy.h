// SPDX-License-Identifier: Apache-2.0
// How many tokens to guess ahead. A step that guesses n tokens makes one forward pass of n + 1 rows
// and gains from 1 to n + 1 tokens; what pays depends on the text, the model and the machine, so
// that it is measured: the number of guesses with the most tokens per second so far is used, none
// being one of the choices. The others are tried again now and then, and more and more rarely as
// long as they lose.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace sluice::engine {

class DraftPolicy {
 public:
  // Seconds since any fixed moment.
  using Clock = std::function<double()>;

  // At most `most` guesses, at least 0. Default clock: the steady one.
  explicit DraftPolicy(int64_t most, Clock clock = nullptr);

  // Guesses of the next step, from 0 to `most`.
  int64_t next();
  // A step made `guesses` and gained `tokens`, the certain one counted, in `seconds`.
  void record(int64_t guesses, int64_t tokens, double seconds);
  double now() const { return clock_(); }

 private:
  struct Choice {
    double tokens = 0, seconds = 0;  // of the latest steps
    int64_t steps = 0;
    int64_t idle = 0;  // steps of others since its last one
    int64_t patience;  // idle steps until it is tried again
    double rate() const { return tokens / seconds; }
  };
  int64_t best() const;

  Clock clock_;
  std::vector<Choice> choices_;  // by guesses
  int64_t trial_ = 0;            // the choice that is tried, and steps left of that
  int64_t trial_left_ = 0;
};

}  // namespace sluice::engine
