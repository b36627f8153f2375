// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/truncation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "engine/sampling/numeric.h"

namespace sluice::engine::sampling {
namespace {

// The sum of `value(logit)` over all candidates.
template <typename Value>
double sum_over(CandidateSet& set, Value value) {
  double sum = 0.0;
  if (set.dense()) {
    for (const float logit : set.logits()) {
      sum += logit > -std::numeric_limits<float>::infinity() ? value(logit) : 0.0;
    }
  } else {
    for (const Candidate& c : set.list()) sum += value(c.logit);
  }
  return sum;
}

// A nucleus of a language model's distribution is nearly always smaller.
constexpr size_t kNucleus = 512;

// Whether less than `count` logits reach the threshold.
bool fewer_above(CandidateSet& set, float threshold, size_t count) {
  if (set.dense()) {
    const std::span<const Candidate> first = set.peek_first(count);
    return first.size() < count || first.back().logit < threshold;
  }
  const auto above =
      std::ranges::count_if(set.list(), [&](const Candidate& c) { return c.logit >= threshold; });
  return static_cast<size_t>(above) < count;
}

using Keyed = CandidateSet::Keyed;

bool precedes(const Keyed& a, const Keyed& b) {
  return a.key < b.key || (a.key == b.key && a.token < b.token);
}

// Cuts a weighed list (probability is the weight) to the shortest beginning, in the order of
// key(c), whose weight reaches `target` (exceeds it, if `beyond`), but not below min_keep.
template <typename Key>
void keep_mass(CandidateSet& set, double target, bool beyond, size_t min_keep, Key key) {
  std::vector<Candidate>& all = set.list();
  std::vector<Keyed>& order = set.keyed();
  order.resize(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    order[i] = {key(all[i]), all[i].token, static_cast<uint32_t>(i)};
  }
  // Halving: what lies before `low` is kept, what lies from `high` on is dropped, and both sides of
  // the middle are told apart without sorting either.
  size_t low = 0;
  size_t high = order.size();
  double mass = 0.0;
  size_t middle = std::min(high, kNucleus);  // few are kept as a rule
  while (low < high) {
    const auto at = [&](size_t i) { return order.begin() + static_cast<std::ptrdiff_t>(i); };
    if (middle < high) std::nth_element(at(low), at(middle), at(high), precedes);
    double part = mass;
    for (size_t i = low; i < middle; ++i) part += all[order[i].index].probability;
    const bool enough = (beyond ? part > target : part >= target) && middle >= min_keep;
    if (!enough) {
      low = middle;
      mass = part;
    } else if (middle - low == 1) {
      low = high = middle;
    } else {
      high = middle;
    }
    middle = low + std::max<size_t>(1, (high - low) / 2);
  }
  for (size_t i = high; i < order.size(); ++i) all[order[i].index].probability = -1.0f;
  set.filter([](const Candidate& c) { return c.probability >= 0.0f; });
}

}  // namespace

void top_n_sigma(CandidateSet& set, float n) {
  if (n <= 0.0f || set.size() < 2) return;
  const double max = set.max_logit();
  const double count = static_cast<double>(set.size());
  // Moments of the distance to the largest: no cancellation for logits with a large offset.
  const double mean = sum_over(set, [&](double logit) { return logit - max; }) / count;
  const double variance = sum_over(set,
                                   [&](double logit) {
                                     const double difference = logit - max - mean;
                                     return difference * difference;
                                   }) /
                          count;
  set.keep_above(static_cast<float>(max - n * std::sqrt(variance)));
}

void top_k(CandidateSet& set, int k) {
  if (k > 0) set.keep_first(static_cast<size_t>(k));
}

void typical(CandidateSet& set, float p, size_t min_keep) {
  if (p >= 1.0f || set.empty()) return;
  const double total = set.weigh();
  const float max = set.max_logit();
  std::vector<Candidate>& all = set.list();
  // -ln p = ln(total) + (max - logit), so that entropy and surprise differ by this:
  double mean_distance = 0.0;
  for (const Candidate& c : all) {
    if (c.probability > 0.0f) mean_distance += c.probability * (double{max} - c.logit);
  }
  mean_distance /= total;

  keep_mass(set, p * total, true, min_keep,
            [&](const Candidate& c) { return std::abs(double{max} - c.logit - mean_distance); });
}

void top_p(CandidateSet& set, float p, size_t min_keep) {
  if (p >= 1.0f || set.empty()) return;
  const double target = p * set.weight_sum();
  const float max = set.max_logit();
  // How many of the sorted candidates it takes; 0 if they do not reach the target.
  const auto taken = [&](std::span<const Candidate> sorted) -> size_t {
    double mass = 0.0;
    for (size_t i = 0; i < sorted.size(); ++i) {
      mass += exp_nonpositive(sorted[i].logit - max);
      if (mass >= target && i + 1 >= min_keep) return i + 1;
    }
    return 0;
  };
  if (set.dense()) {
    const size_t count = taken(set.peek_first(kNucleus));
    if (count > 0) {
      set.adopt_peek(count);
      return;
    }
  } else if (set.list().size() <= kNucleus) {
    set.sort();
    const size_t count = taken(set.list());
    if (count > 0) set.keep_first(count);
    return;
  }
  set.weigh();
  keep_mass(set, target, false, min_keep,
            [&](const Candidate& c) { return double{max} - c.logit; });
}

void min_p(CandidateSet& set, float p, size_t min_keep) {
  if (p <= 0.0f || set.empty()) return;
  const float threshold = set.max_logit() + std::log(p);
  if (min_keep > 1 && fewer_above(set, threshold, min_keep)) {
    set.keep_first(min_keep);
  } else {
    set.keep_above(threshold);
  }
}

void exclude_top_choices(CandidateSet& set, float threshold, size_t min_keep) {
  if (threshold > 0.5f || set.size() < 2) return;
  const double total = set.weigh();
  const auto is_top = [&](const Candidate& c) { return c.probability >= threshold * total; };
  const std::vector<Candidate>& all = set.list();
  const Candidate* last = nullptr;
  size_t tops = 0;
  for (const Candidate& c : all) {
    if (!is_top(c)) continue;
    ++tops;
    if (last == nullptr || before(*last, c)) last = &c;
  }
  if (tops < 2 || all.size() - (tops - 1) < min_keep) return;
  const int32_t spared = last->token;
  set.filter([&](const Candidate& c) { return !is_top(c) || c.token == spared; });
}

}  // namespace sluice::engine::sampling
