// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts block: route, acquire, compute. The one place where the router's answer
// meets the tiers that experts lie in.
#pragma once

#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace sluice::model {

struct MoeWeights {
  sluice_matrix router;  // [experts, dim]
  ExpertStack stack;
  int layer;  // index in the expert cache
};

class Moe {
 public:
  Moe(const compute::Backend& backend, int64_t experts, int64_t used)
      : backend_(&backend), experts_(experts), used_(used) {}

  // out += sum over the chosen experts of weight * down(silu(gate h) * (up h)); h, out [rows, dim].
  Status run(const MoeWeights& weights, const residency::ExpertCache& cache, const float* h,
             int64_t rows, float* out);

 private:
  void group_by_expert(int64_t rows);

  const compute::Backend* backend_;
  int64_t experts_;
  int64_t used_;
  // Reused from layer to layer.
  std::vector<int32_t> ids_;        // [rows, used]
  std::vector<float> weights_;      // [rows, used]
  std::vector<int32_t> start_;      // first assignment of each expert, [experts + 1]
  std::vector<int32_t> rows_;       // [rows * used], grouped by expert
  std::vector<float> row_weights_;  // likewise
  std::vector<int32_t> active_;     // experts that at least one row chose, ascending
  std::vector<sluice_expert> jobs_;
  residency::Lease lease_;
};

}  // namespace sluice::model
