// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts block: route, acquire, compute. The one place where the router's answer
// meets the tiers that experts lie in. The bits do not depend on which experts were in memory.
//
// With an accelerator (moe_device.cpp) a step of few rows has its experts computed where they lie,
// by both processors at once; for more rows the missing ones are copied to the device, or computed
// by the host, whichever took less time lately.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/path_chooser.h"
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
  // A step of so few rows is decoding: its experts are likely to be used again.
  static constexpr int64_t kTokenRows = 8;

  Moe(const compute::Backend& backend, int64_t experts, int64_t used)
      : backend_(&backend),
        experts_(experts),
        used_(used),
        apart_(backend.host()),
        host_h_(backend),
        host_out_(backend),
        device_out_(backend),
        ring_(backend) {}

  // Binds router, experts and, if the file has one, the shared expert of `shared_hidden` (0: none).
  static Result<MoeWeights> bind(Weights& weights, const std::string& prefix, const Config& config,
                                 int layer);

  // out += sum over the chosen experts of weight * down(silu(gate h) * (up h)); h, out [rows, dim].
  // Errors of the disk where experts are read while it runs.
  Status run(const MoeWeights& weights, const ExpertTiers& tiers, const float* h, int64_t rows,
             float* out);

 private:
  void group_by_expert(int64_t rows);
  std::span<const uint8_t> lasting(int64_t rows);
  sluice_expert job(const ExpertStack& stack, size_t i, const residency::ExpertParts& parts);
  Result<std::optional<sluice_expert>> shared(const MoeWeights& w, const float* h, int64_t rows);
  Status compute(const compute::Backend& backend, const float* h, int64_t rows, int64_t dim,
                 std::span<const sluice_expert> jobs, float* out);
  Status compute_as_they_come(const compute::Backend& backend, const MoeWeights& w, const float* h,
                              int64_t rows, std::optional<sluice_expert> common, float* out);
  Status run_in_order(const MoeWeights& w, const float* h, int64_t rows, float* out);
  Status run_as_they_come(const MoeWeights& w, const float* h, int64_t rows, float* out);

  // With an accelerator.
  Status run_on_device(const MoeWeights& w, const ExpertTiers& tiers, const float* h, int64_t rows,
                       float* out);
  Status run_side_by_side(const MoeWeights& w, const ExpertTiers& tiers, const float* h,
                          int64_t rows, float* out);
  Status run_copied(const MoeWeights& w, const ExpertTiers& tiers, const float* h, int64_t rows,
                    float* out);
  Status copy_group(const MoeWeights& w, const ExpertTiers& tiers, const float* h, int64_t rows,
                    std::span<const residency::ExpertStream::Ready> group, float* out);
  Status compute_residents(const MoeWeights& w, const ExpertTiers& tiers, size_t end,
                           const float* h, int64_t rows, float* out);
  void find_missing(const MoeWeights& w, const ExpertTiers& tiers);

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
  std::vector<float> ones_;            // 1, 1, ...
  std::vector<float> shared_weights_;  // [rows]
  std::vector<sluice_expert> jobs_;
  std::vector<sluice_expert> ordered_;  // all of a step, while they come in any order
  std::vector<uint8_t> chosen_late_;    // per expert
  std::vector<uint8_t> lasting_;        // per active expert
  compute::DeviceArray apart_;          // [assignments, dim], host memory
  residency::ExpertStream stream_;

  // With an accelerator.
  PathChooser chooser_;
  compute::StagingArray host_h_;      // [rows, dim]
  compute::StagingArray host_out_;    // [rows, dim]: what the host's experts add
  compute::DeviceArray device_out_;   // likewise, on the device
  compute::DeviceArray ring_;         // experts that are only passing through
  std::vector<uint64_t> ring_marks_;  // per slot of the ring: behind the last use of it
  size_t ring_next_ = 0;
  uint64_t downloaded_ = 0;           // the copy to host_h_
  uint64_t sent_ = 0;                 // the copy of host_out_ that is under way
  std::vector<size_t> missing_;       // of active_: those that are not on the device
  std::vector<int32_t> missing_ids_;  // likewise
  std::vector<int32_t> admitted_;     // experts that came to stay, and must leave the memory
  size_t resident_done_ = 0;          // of active_: residents before this one are computed
};

}  // namespace sluice::model
