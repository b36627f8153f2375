// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/mirostat.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

namespace sluice::engine::sampling {
namespace {

constexpr size_t kZipfSample = 100;  // the most probable tokens the exponent is estimated from

}  // namespace

Mirostat::Mirostat(int version, float tau, float eta, size_t vocabulary)
    : version_(version), tau_(tau), eta_(eta), vocabulary_(vocabulary), mu_(2.0 * tau) {}

size_t Mirostat::zipf_count(CandidateSet& set) const {
  if (!set.dense()) set.sort();
  const std::span<const Candidate> top =
      set.dense()
          ? set.peek_first(kZipfSample)
          : std::span<const Candidate>(set.list()).first(std::min(kZipfSample, set.list().size()));
  // Least squares of ln p against ln rank, over neighbours: ln(p[i] / p[i + 1]) is a difference of
  // logits.
  double products = 0.0;
  double squares = 0.0;
  for (size_t i = 0; i + 1 < top.size(); ++i) {
    const double step = std::log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
    products += step * (double{top[i].logit} - top[i + 1].logit);
    squares += step * step;
  }
  const double everything = static_cast<double>(vocabulary_);
  if (squares == 0.0) return 1;
  const double exponent = products / squares;
  constexpr double kTiny = 1e-6;
  double count;
  if (exponent < kTiny) {
    count = std::exp2(mu_);  // flat: surprise is log2 of the count
  } else {
    const double epsilon = exponent - 1.0;
    // The limit of epsilon / (1 - N^-epsilon) at 0 is 1 / ln N.
    const double factor = std::abs(epsilon) < kTiny
                              ? 1.0 / std::log(everything)
                              : epsilon / (1.0 - std::pow(everything, -epsilon));
    count = std::pow(factor * std::exp2(mu_), 1.0 / exponent);
  }
  if (!(count < everything)) return vocabulary_;
  return std::max<size_t>(1, static_cast<size_t>(std::max(count, 0.0)));
}

void Mirostat::truncate(CandidateSet& set) {
  if (set.empty()) return;
  if (version_ == 1) {
    const size_t count = zipf_count(set);
    if (count < vocabulary_) set.keep_first(count);
    return;
  }
  // -log2 p <= mu, with p = e^(logit - max) / sum
  const double threshold = set.max_logit() + std::log(set.weight_sum()) - mu_ * std::numbers::ln2;
  constexpr double kLowest = std::numeric_limits<float>::lowest();
  set.keep_above(static_cast<float>(std::max(threshold, kLowest)));
}

void Mirostat::observe(double probability) {
  mu_ -= eta_ * (-std::log2(probability) - tau_);
}

}  // namespace sluice::engine::sampling
