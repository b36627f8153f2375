// SPDX-License-Identifier: Apache-2.0
// How often a token finds its experts in a cache, and how many different ones a batch uses: from
// the models with calibrated routing (docs/experiments/0002-calibrated-routing.md, 0003).
#pragma once

#include <cstdint>

namespace sluice::plan {

// The share of a token's experts that are in a cache which holds the share `held` of all experts
// under the default policy, once it is warm. 0 for held = 0, 1 for 1, rising.
double hit_rate(double held, int64_t experts, int64_t used);

// Different experts of one layer that a batch of so many rows uses, on average: between `used` and
// `experts`, rising.
double distinct_experts(int64_t rows, int64_t experts, int64_t used);

// Of these, the share that a cache holds which was used before: prompts leave it as it is, so that
// it is what it holds of all, or a little more where the batch is small.
double batch_hit_rate(double held, int64_t rows, int64_t experts, int64_t used);

}  // namespace sluice::plan
