// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::model {
namespace {

// YaRN (arXiv 2309.00071): the dimension whose wavelength fits `rotations` times into the original
// context.
double correction_dim(const RopeConfig& config, double rotations) {
  return static_cast<double>(config.dims) *
         std::log(static_cast<double>(config.original_context) /
                  (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.freq_base));
}

}  // namespace

Rope::Rope(const RopeConfig& config) {
  const int64_t half = config.dims / 2;
  const double low = std::max(std::floor(correction_dim(config, config.beta_fast)), 0.0);
  const double high = std::min(std::ceil(correction_dim(config, config.beta_slow)),
                               static_cast<double>(config.dims - 1));
  for (int64_t i = 0; i < half; ++i) {
    const double base = std::pow(config.freq_base,
                                 -2.0 * static_cast<double>(i) / static_cast<double>(config.dims));
    double frequency = base;
    if (config.scaling == RopeScaling::kLinear) frequency = base / config.factor;
    if (config.scaling == RopeScaling::kYarn) {
      const double ramp =
          std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
      const double keep = (1 - ramp) * config.extrapolation;
      frequency = base / config.factor * (1 - keep) + base * keep;
    }
    frequencies_.push_back(frequency);
  }
  if (config.scaling == RopeScaling::kYarn)
    magnitude_ = config.attention_factor * (1 + 0.1 * std::log(config.factor));
}

void Rope::angles(int64_t position, float* cos, float* sin) const {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<double>(position) * frequencies_[i];
    cos[i] = static_cast<float>(std::cos(angle) * magnitude_);
    sin[i] = static_cast<float>(std::sin(angle) * magnitude_);
  }
}

}  // namespace sluice::model
