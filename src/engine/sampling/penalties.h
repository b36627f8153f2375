// SPDX-License-Identifier: Apache-2.0
// Penalties for tokens that were there already, over a window of the history.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/sampling/candidates.h"
#include "engine/sampling/history.h"

namespace sluice::engine::sampling {

// Counts tokens within the window as it moves: constant time per token, whatever its length.
class Penalties {
 public:
  // last_n: -1 for everything. A positive logit is divided by `repeat`, others are multiplied by
  // it; then `frequency` per occurrence and `presence` once are subtracted.
  Penalties(int64_t vocabulary, int last_n, float repeat, float frequency, float presence);

  void accept(int32_t token);
  void clear();
  void apply(CandidateSet& set) const;

 private:
  float penalized(float logit, int32_t count) const;

  float repeat_, frequency_, presence_;
  History<int32_t> history_;
  std::vector<int32_t> counts_;    // [vocabulary] occurrences within the window
  std::vector<int32_t> places_;    // [vocabulary] place in distinct_ where counts_ > 0
  std::vector<int32_t> distinct_;  // the tokens within the window
};

}  // namespace sluice::engine::sampling
