// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_policy.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace sluice::engine {
namespace {

constexpr int64_t kFirstSteps = 3;  // of each choice, before any is preferred
constexpr int64_t kTrialSteps = 2;  // of a choice that is tried again
constexpr int64_t kPatience = 16;   // steps until then at first, doubled with every loss
constexpr int64_t kMostPatience = 1024;
constexpr double kMemory = 0.9;  // weight of a step after one more of the same choice

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

DraftPolicy::DraftPolicy(int64_t most, Clock clock)
    : clock_(clock ? std::move(clock) : steady_seconds),
      choices_(static_cast<size_t>(most) + 1, Choice{.patience = kPatience}) {}

int64_t DraftPolicy::best() const {
  const auto found = std::ranges::max_element(choices_, {}, &Choice::rate);
  return found - choices_.begin();
}

int64_t DraftPolicy::next() {
  // The bold ones first: an answer may be over before all are known.
  for (size_t n = choices_.size(); n-- > 0;)
    if (choices_[n].steps < kFirstSteps) return static_cast<int64_t>(n);
  if (trial_left_ > 0) return trial_;
  const int64_t favourite = best();
  for (size_t n = 0; n < choices_.size(); ++n)
    if (static_cast<int64_t>(n) != favourite && choices_[n].idle >= choices_[n].patience) {
      trial_ = static_cast<int64_t>(n);
      trial_left_ = kTrialSteps;
      return trial_;
    }
  return favourite;
}

void DraftPolicy::record(int64_t guesses, int64_t tokens, double seconds) {
  SLUICE_CHECK(guesses >= 0 && guesses < static_cast<int64_t>(choices_.size()), "guesses");
  for (Choice& other : choices_) ++other.idle;
  Choice& choice = choices_[static_cast<size_t>(guesses)];
  choice.tokens = kMemory * choice.tokens + static_cast<double>(tokens);
  choice.seconds = kMemory * choice.seconds + std::max(seconds, 1e-9);
  choice.idle = 0;
  ++choice.steps;
  if (trial_left_ == 0 || guesses != trial_ || --trial_left_ > 0) return;
  choice.patience = best() == guesses ? kPatience : std::min(2 * choice.patience, kMostPatience);
}

}  // namespace sluice::engine
