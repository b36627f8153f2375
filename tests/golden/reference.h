// SPDX-License-Identifier: Apache-2.0
// Reference logits and hidden states computed in float32 by another implementation, and the error
// measure that the bounds are stated in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::golden {

struct Case {
  std::string name;
  std::vector<int32_t> tokens;
  std::vector<int32_t> greedy;  // the reference's continuation
  std::vector<float> margins;   // logit of its token minus the runner-up's
};

std::string model_path(const std::string& file);
// Cases of NAME.json.
std::vector<Case> read_cases(const std::string& model);
// Raw little-endian float32.
std::vector<float> read_floats(const std::string& file);

// Per row of `width`: RMS of the difference divided by the standard deviation of all of `expected`.
std::vector<double> row_errors(const std::vector<float>& actual, const std::vector<float>& expected,
                               size_t width);
double quantile(std::vector<double> values, double q);
double mean(const std::vector<double>& values);

}  // namespace sluice::golden
