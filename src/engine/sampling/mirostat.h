// SPDX-License-Identifier: Apache-2.0
// Mirostat (Basu et al. 2020): cuts the candidates so that the surprise of what is drawn stays near
// a target. Version 1 estimates how many to keep from the distribution's Zipf exponent, version 2
// drops what is more surprising than mu.
#pragma once

#include <cstddef>

#include "engine/sampling/candidates.h"

namespace sluice::engine::sampling {

class Mirostat {
 public:
  // tau: target surprise in bits; eta: how fast mu follows; vocabulary: the N of version 1.
  Mirostat(int version, float tau, float eta, size_t vocabulary);

  void clear() { mu_ = 2.0 * tau_; }
  void truncate(CandidateSet& set);
  // The probability, among the candidates that were left, of what was drawn.
  void observe(double probability);

 private:
  size_t zipf_count(CandidateSet& set) const;

  int version_;
  double tau_, eta_;
  size_t vocabulary_;
  double mu_;  // surprise allowed at the moment, in bits
};

}  // namespace sluice::engine::sampling
