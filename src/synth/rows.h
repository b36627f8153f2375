// SPDX-License-Identifier: Apache-2.0
// Rows of weights that are not just random.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace sluice::synth {

enum class RowFill {
  kRandom,  // nothing special
  kZero,
  kBegin,  // the first kReserved values are given, the rest is random
  kWhole,  // all values are given
};

// The first elements of the residual stream, which carry what the routers look at.
inline constexpr int64_t kReserved = 256;

// What row `row` of a tensor holds. `values` [ne0] are zero; filled for kBegin and kWhole. Called
// from several threads.
using RowRule = std::function<RowFill(int64_t row, std::span<float> values)>;

}  // namespace sluice::synth
