// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts block: route, acquire, compute. The one place where the router's answer
// meets the tiers that experts lie in.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/weights.h"

namespace sluice::model {

struct MoeWeights {
  sluice_matrix router;  // [experts, dim]
  ExpertStack stack;
  int layer;  // index in the expert cache
  // The expert that every row takes, weighted by sigmoid(shared_weight . h). nullptr: none.
  const float* shared_weight;  // [dim]
  sluice_matrix shared_gate, shared_up, shared_down;
};

class Moe {
 public:
  Moe(const compute::Backend& backend, int64_t experts, int64_t used)
      : backend_(&backend), experts_(experts), used_(used) {}

  // Binds router, experts and, if the file has one, the shared expert of `shared_hidden` (0: none).
  static Result<MoeWeights> bind(Weights& weights, const std::string& prefix, const Config& config,
                                 int layer);

  // out += sum over the chosen experts of weight * down(silu(gate h) * (up h)); h, out [rows, dim].
  Status run(const MoeWeights& weights, const residency::ExpertCache& cache, const float* h,
             int64_t rows, float* out);

 private:
  void group_by_expert(int64_t rows);

  const compute::Backend* backend_;
  int64_t experts_;
  int64_t used_;
  // Reused from layer to layer.
  std::vector<int32_t> ids_;           // [rows, used]
  std::vector<float> weights_;         // [rows, used]
  std::vector<int32_t> start_;         // first assignment of each expert, [experts + 1]
  std::vector<int32_t> rows_;          // [rows * used], grouped by expert
  std::vector<float> row_weights_;     // likewise
  std::vector<int32_t> active_;        // experts that at least one row chose, ascending
  std::vector<int32_t> every_row_;     // 0, 1, ...
  std::vector<float> shared_weights_;  // [rows]
  std::vector<sluice_expert> jobs_;
  residency::Lease lease_;
};

}  // namespace sluice::model
