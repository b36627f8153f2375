// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/penalties.h"

#include <span>

namespace sluice::engine::sampling {

Penalties::Penalties(int64_t vocabulary, int last_n, float repeat, float frequency, float presence)
    : repeat_(repeat), frequency_(frequency), presence_(presence), history_(last_n) {
  counts_.resize(static_cast<size_t>(vocabulary));
  places_.resize(static_cast<size_t>(vocabulary));
}

void Penalties::accept(int32_t token) {
  if (history_.full()) {
    const auto gone = static_cast<size_t>(history_.last().front());
    if (--counts_[gone] == 0) {
      const auto place = static_cast<size_t>(places_[gone]);
      distinct_[place] = distinct_.back();
      places_[static_cast<size_t>(distinct_[place])] = static_cast<int32_t>(place);
      distinct_.pop_back();
    }
  }
  history_.push(token);
  const auto index = static_cast<size_t>(token);
  if (counts_[index]++ == 0) {
    places_[index] = static_cast<int32_t>(distinct_.size());
    distinct_.push_back(token);
  }
}

void Penalties::clear() {
  for (const int32_t token : distinct_) counts_[static_cast<size_t>(token)] = 0;
  distinct_.clear();
  history_.clear();
}

float Penalties::penalized(float logit, int32_t count) const {
  logit = logit <= 0.0f ? logit * repeat_ : logit / repeat_;
  return logit - (static_cast<float>(count) * frequency_ + presence_);
}

void Penalties::apply(CandidateSet& set) const {
  if (distinct_.empty()) return;
  if (set.dense()) {
    const std::span<float> logits = set.logits();
    for (const int32_t token : distinct_) {
      const auto index = static_cast<size_t>(token);
      logits[index] = penalized(logits[index], counts_[index]);
    }
  } else {
    for (Candidate& c : set.list()) {
      const int32_t count = counts_[static_cast<size_t>(c.token)];
      if (count > 0) c.logit = penalized(c.logit, count);
    }
  }
  set.changed();
}

}  // namespace sluice::engine::sampling
