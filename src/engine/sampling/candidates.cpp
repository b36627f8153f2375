// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/candidates.h"

#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "base/check.h"
#include "engine/sampling/numeric.h"

namespace sluice::engine::sampling {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
// A NaN never compares greater.
float largest(const float* values, size_t count) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  constexpr size_t kStep = 2 * kFloats;
  Floats even = Floats{} + kNothing;
  Floats odd = even;
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const Floats a = load(values + i);
    const Floats b = load(values + i + kFloats);
    even = a > even ? a : even;
    odd = b > odd ? b : odd;
  }
  even = odd > even ? odd : even;
  float best = kNothing;
  for (size_t j = 0; j < kFloats; ++j) best = even[j] > best ? even[j] : best;
  for (; i < count; ++i) best = values[i] > best ? values[i] : best;
  return best;
}

// The sum of e^(value - max).
double weight_of(const float* values, size_t count, float max) {
  Floats sums{};
  size_t i = 0;
  for (; i + kFloats <= count; i += kFloats) sums += exp_nonpositive(load(values + i) - max);
  double total = 0.0;
  for (size_t j = 0; j < kFloats; ++j) total += sums[j];
  for (; i < count; ++i) total += exp_nonpositive(values[i] - max);
  return total;
}

}  // namespace

void CandidateSet::assign(std::span<float> logits) {
  logits_ = logits;
  dense_ = true;
  maxima_known_ = false;
  list_.clear();
  sorted_ = false;
}

void CandidateSet::detach() {
  if (!dense_) return;
  copy_.assign(logits_.begin(), logits_.end());
  logits_ = copy_;
}

void CandidateSet::assign_only(int32_t token) {
  dense_ = false;
  list_.assign(1, {token, std::numeric_limits<float>::lowest(), 1.0f});
  sorted_ = true;
}

std::vector<Candidate>& CandidateSet::list() {
  if (dense_) {
    collect(kNone, list_);
    dense_ = false;
    sorted_ = false;
  }
  return list_;
}

void CandidateSet::changed() {
  maxima_known_ = false;
  if (dense_) return;
  std::erase_if(list_, [](const Candidate& c) { return !(c.logit > kNone); });
  for (Candidate& c : list_) c.logit = std::min(c.logit, kLargest);
  if (std::exchange(sorted_, false)) sort();
}

void CandidateSet::find_maxima() {
  if (maxima_known_) return;
  const size_t blocks = (logits_.size() + kBlock - 1) / kBlock;
  maxima_.resize(blocks);
  for (size_t b = 0; b < blocks; ++b) {
    const size_t from = b * kBlock;
    maxima_[b] = largest(logits_.data() + from, std::min(kBlock, logits_.size() - from));
    if (maxima_[b] > kLargest) [[unlikely]] {
      for (float& logit : logits_.subspan(from, std::min(kBlock, logits_.size() - from))) {
        if (logit > kLargest) logit = kLargest;
      }
      maxima_[b] = kLargest;
    }
  }
  maxima_known_ = true;
}

void CandidateSet::collect(float threshold, std::vector<Candidate>& out) {
  find_maxima();
  out.clear();
  for (size_t b = 0; b < maxima_.size(); ++b) {
    if (!(maxima_[b] >= threshold && maxima_[b] > kNone)) continue;
    const size_t end = std::min(logits_.size(), (b + 1) * kBlock);
    for (size_t i = b * kBlock; i < end; ++i) {
      const float logit = logits_[i];
      if (logit >= threshold && logit > kNone) {
        out.push_back({static_cast<int32_t>(i), logit, 0.0f});
      }
    }
  }
}

size_t CandidateSet::size() {
  if (!dense_) return list_.size();
  return static_cast<size_t>(
      std::count_if(logits_.begin(), logits_.end(), [](float logit) { return logit > kNone; }));
}

float CandidateSet::max_logit() {
  if (dense_) {
    find_maxima();
    return largest(maxima_.data(), maxima_.size());
  }
  if (sorted_ && !list_.empty()) return list_.front().logit;
  float best = kNone;
  for (const Candidate& c : list_) best = std::max(best, c.logit);
  return best;
}

Candidate CandidateSet::best() {
  SLUICE_CHECK(!empty(), "the best of no candidates");
  if (!dense_) return *std::min_element(list_.begin(), list_.end(), before);
  const float best = max_logit();
  const size_t block = static_cast<size_t>(std::ranges::find(maxima_, best) - maxima_.begin());
  size_t i = block * kBlock;
  while (logits_[i] != best) ++i;
  return {static_cast<int32_t>(i), best, 0.0f};
}

double CandidateSet::weight_sum() {
  if (!dense_) return weigh();
  const float max = max_logit();
  weights_.assign(maxima_.size(), 0.0);
  double total = 0.0;
  for (size_t b = 0; b < maxima_.size() && max > kNone; ++b) {
    const size_t from = b * kBlock;
    weights_[b] = weight_of(logits_.data() + from, std::min(kBlock, logits_.size() - from), max);
    total += weights_[b];
  }
  return total;
}

double CandidateSet::weigh() {
  std::vector<Candidate>& all = list();
  const float max = max_logit();
  double total = 0.0;
  size_t i = 0;
  for (; i + kFloats <= all.size(); i += kFloats) {
    Floats logits;
    for (size_t j = 0; j < kFloats; ++j) logits[j] = all[i + j].logit;
    const Floats weights = exp_nonpositive(logits - max);
    for (size_t j = 0; j < kFloats; ++j) total += all[i + j].probability = weights[j];
  }
  for (; i < all.size(); ++i) total += all[i].probability = exp_nonpositive(all[i].logit - max);
  return total;
}

Candidate CandidateSet::at_weight(double target) {
  SLUICE_CHECK(!empty(), "a draw among no candidates");
  Candidate found{};
  if (!dense_) {
    double passed = 0.0;
    for (const Candidate& c : list_) {
      if (passed > target) break;
      if (c.probability > 0.0f) found = c;
      passed += c.probability;
    }
    return found;
  }
  // The block first. (The last one with a weight, should rounding leave the target beyond it.)
  const float max = max_logit();
  size_t block = 0;
  double before_block = 0.0;
  double passed = 0.0;
  for (size_t b = 0; b < weights_.size() && passed <= target; ++b) {
    if (weights_[b] > 0.0) {
      block = b;
      before_block = passed;
    }
    passed += weights_[b];
  }
  passed = before_block;
  const size_t end = std::min(logits_.size(), (block + 1) * kBlock);
  for (size_t i = block * kBlock; i < end && passed <= target; ++i) {
    const float weight = exp_nonpositive(logits_[i] - max);
    if (weight > 0.0f) found = {static_cast<int32_t>(i), logits_[i], weight};
    passed += weight;
  }
  return found;
}

void CandidateSet::normalize() {
  const double total = weigh();
  for (Candidate& c : list_) c.probability = static_cast<float>(c.probability / total);
}

void CandidateSet::sort() {
  std::vector<Candidate>& all = list();
  if (sorted_) return;
  std::sort(all.begin(), all.end(), before);
  sorted_ = true;
}

std::span<const Candidate> CandidateSet::peek_first(size_t count) {
  SLUICE_CHECK(dense_, "peeking is for dense sets");
  find_maxima();
  // `count` blocks have a maximum at or above the count-th largest maximum, so at least as many
  // logits do.
  float threshold = kNone;
  if (count > 0 && count < maxima_.size()) {
    scratch_.assign(maxima_.begin(), maxima_.end());
    const auto nth = scratch_.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(scratch_.begin(), nth, scratch_.end(), std::greater<>());
    threshold = *nth;
  }
  collect(threshold, list_);
  const size_t kept = std::min(count, list_.size());
  const auto end = list_.begin() + static_cast<std::ptrdiff_t>(kept);
  if (end != list_.end()) std::nth_element(list_.begin(), end, list_.end(), before);
  std::sort(list_.begin(), end, before);
  return std::span(list_).first(kept);
}

void CandidateSet::adopt_peek(size_t count) {
  SLUICE_CHECK(dense_ && count <= list_.size(), "no such peek");
  dense_ = false;
  list_.resize(count);
  sorted_ = true;
}

void CandidateSet::keep_first(size_t count) {
  if (dense_ && count <= kWorthSorting) {
    adopt_peek(peek_first(count).size());
    return;
  }
  std::vector<Candidate>& all = list();
  if (count >= all.size()) return;
  if (!sorted_ && count > kWorthSorting) {
    // The last one kept tells the others apart, and the order by token stays.
    ordered_.assign(all.begin(), all.end());
    const auto last = ordered_.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(ordered_.begin(), last, ordered_.end(), before);
    filter([&](const Candidate& c) { return !before(*last, c); });
    return;
  }
  sort();
  all.resize(count);
}

void CandidateSet::keep_above(float threshold) {
  threshold = std::min(threshold, max_logit());
  if (!dense_) {
    filter([&](const Candidate& c) { return c.logit >= threshold; });
    return;
  }
  collect(threshold, list_);
  dense_ = false;
  sorted_ = false;
}

void CandidateSet::keep_best() {
  if (empty()) return;
  const Candidate only = best();
  dense_ = false;
  list_.assign(1, only);
  sorted_ = true;
}

void CandidateSet::divide(float divisor) {
  if (empty()) return;
  if (!std::isfinite(max_logit() / divisor)) {
    keep_best();
    return;
  }
  if (dense_) {
    for (float& logit : logits_) logit /= divisor;
  } else {
    for (Candidate& c : list_) c.logit /= divisor;
  }
  changed();
}

}  // namespace sluice::engine::sampling
