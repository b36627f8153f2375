// SPDX-License-Identifier: Apache-2.0
// Rotary embedding angles.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace sluice::model {

// Angles are formed in double and reduced there: at position 200,000 a float angle is off by 1/128
// rad.
class Rope {
 public:
  explicit Rope(const RopeConfig& config);

  // cos and sin of position * frequency[i], i < dims / 2, times the attention factor.
  void angles(int64_t position, float* cos, float* sin) const;
  int64_t dims() const { return static_cast<int64_t>(frequencies_.size()) * 2; }
  const std::vector<double>& frequencies() const { return frequencies_; }

 private:
  std::vector<double> frequencies_;
  double magnitude_ = 1;
};

}  // namespace sluice::model
