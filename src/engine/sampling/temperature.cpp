// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/temperature.h"

#include <algorithm>
#include <cmath>

namespace sluice::engine::sampling {

void temperature(CandidateSet& set, float t) {
  if (t <= 0.0f) {
    set.keep_best();
  } else if (t != 1.0f) {
    set.divide(t);
  }
}

void dynamic_temperature(CandidateSet& set, float t, float range, float exponent) {
  if (range <= 0.0f) {
    temperature(set, t);
    return;
  }
  if (set.size() < 2) return;
  const double total = set.weigh();
  const double max = set.max_logit();
  // -ln p = ln(total) + (max - logit)
  double entropy = std::log(total);
  for (const Candidate& c : set.list()) {
    if (c.probability > 0.0f) entropy += c.probability / total * (max - c.logit);
  }
  const double largest = std::log(static_cast<double>(set.size()));
  const double share = std::pow(std::clamp(entropy / largest, 0.0, 1.0), double{exponent});
  const double low = std::max(0.0, double{t} - range);
  const double high = double{t} + range;
  temperature(set, static_cast<float>(low + (high - low) * share));
}

}  // namespace sluice::engine::sampling
