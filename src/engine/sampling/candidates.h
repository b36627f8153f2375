// SPDX-License-Identifier: Apache-2.0
// The tokens still to choose from. The set starts dense (the logits array itself, nothing copied)
// and becomes a list with the first sampler that cuts, so that the usual chain never touches the
// whole vocabulary again after one scan.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "engine/sampler.h"

namespace sluice::engine::sampling {

// The order of everything: larger logit first, the lower token of equals first.
inline bool before(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

// A list holds its candidates either by token or (from a sort on) in the order of before(), so
// results do not depend on a library's algorithms. A token whose logit is -inf or NaN is no
// candidate; +inf counts as the largest float. Every sampler leaves at least one candidate if there
// was one.
class CandidateSet {
 public:
  // All tokens of logits: [vocabulary], which must stay alive and may be changed by the samplers.
  void assign(std::span<float> logits);
  // Copies what is still read from the logits given to assign(), which may then die.
  void detach();
  // One token, whatever its logit.
  void assign_only(int32_t token);

  bool dense() const { return dense_; }
  // Dense only. For changing single logits; to be followed by changed().
  std::span<float> logits() { return logits_; }
  // Turns a dense set into a list first. For reading, or for changing logits followed by changed().
  std::vector<Candidate>& list();
  // Logits were changed from outside: forget what was derived from them.
  void changed();

  bool empty() { return dense_ ? max_logit() == kNone : list_.empty(); }
  size_t size();
  // Largest logit; -inf for an empty set.
  float max_logit();
  // First in order. Needs a set that is not empty.
  Candidate best();
  // The sum over candidates of e^(logit - max_logit()), their weights: at least 1 unless empty.
  double weight_sum();
  // After weight_sum(): the candidate whose stretch holds `target` in [0, weight_sum()) when the
  // weights are laid end to end, by token or as sorted. Its probability is its weight.
  Candidate at_weight(double target);

  // Puts the list in the order of before().
  void sort();
  // Keeps those the predicate keeps, in their order.
  template <typename Keep>
  void filter(Keep keep) {
    std::erase_if(list(), [&](const Candidate& c) { return !keep(c); });
  }

  // Keeps the first `count` of before(), sorted if they are few.
  void keep_first(size_t count);
  // Keeps logits >= threshold (the best one stays in any case).
  void keep_above(float threshold);
  // Keeps the best candidate only.
  void keep_best();
  // All logits divided by a positive number; results too large for a float keep the best only.
  void divide(float divisor);

  // Dense only: the first `count` (or all, if fewer) of before(), sorted, in a list that is valid
  // until the next call; the set stays as it is.
  std::span<const Candidate> peek_first(size_t count);
  // Makes the first `count` of the last peek the set.
  void adopt_peek(size_t count);

  // Turns a dense set into a list first; every probability becomes the weight. Returns the sum.
  double weigh();
  // Turns a dense set into a list first; the probabilities sum to 1.
  void normalize();

  // Room for a sampler that needs an order of its own: smaller key first, the lower token of
  // equals.
  struct Keyed {
    double key;
    int32_t token;
    uint32_t index;  // into list()
  };
  std::vector<Keyed>& keyed() { return keyed_; }

 private:
  static constexpr float kNone = -std::numeric_limits<float>::infinity();
  static constexpr size_t kBlock = 128;
  static constexpr size_t kWorthSorting = 2048;

  void find_maxima();
  void collect(float threshold, std::vector<Candidate>& out);

  std::span<float> logits_;
  bool dense_ = true;
  bool maxima_known_ = false;
  std::vector<float> copy_;      // what detach() saved
  std::vector<float> maxima_;    // dense: largest logit of each block of kBlock tokens
  std::vector<double> weights_;  // dense, after weight_sum(): the weight of each block
  std::vector<float> scratch_;   // room for a selection among maxima_
  std::vector<Candidate> list_;
  std::vector<Candidate> ordered_;  // room for a selection among list_
  std::vector<Keyed> keyed_;
  bool sorted_ = false;  // list_ is in the order of before(), otherwise by token
};

}  // namespace sluice::engine::sampling
