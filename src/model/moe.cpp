// SPDX-License-Identifier: Apache-2.0
#include "model/moe.h"

namespace sluice::model {

Result<MoeWeights> Moe::bind(Weights& weights, const std::string& prefix, const Config& config,
                             int layer) {
  MoeWeights bound{};
  bound.layer = layer;
  SLUICE_ASSIGN(bound.router,
                weights.matrix(prefix + "ffn_gate_inp.weight", config.dim, config.experts));
  SLUICE_ASSIGN(bound.stack,
                weights.experts(prefix, config.dim, config.expert_hidden, config.experts));
  const int64_t shared = config.shared_expert_hidden;
  if (shared == 0) return bound;
  SLUICE_ASSIGN(bound.shared_weight,
                weights.vector(prefix + "ffn_gate_inp_shexp.weight", config.dim));
  SLUICE_ASSIGN(bound.shared_gate,
                weights.matrix(prefix + "ffn_gate_shexp.weight", config.dim, shared));
  SLUICE_ASSIGN(bound.shared_up,
                weights.matrix(prefix + "ffn_up_shexp.weight", config.dim, shared));
  SLUICE_ASSIGN(bound.shared_down,
                weights.matrix(prefix + "ffn_down_shexp.weight", shared, config.dim));
  return bound;
}

void Moe::group_by_expert(int64_t rows) {
  const auto assignments = static_cast<size_t>(rows * used_);
  start_.assign(static_cast<size_t>(experts_) + 1, 0);
  for (size_t i = 0; i < assignments; ++i) ++start_[static_cast<size_t>(ids_[i]) + 1];
  active_.clear();
  for (size_t e = 0; e < static_cast<size_t>(experts_); ++e) {
    if (start_[e + 1] > 0) active_.push_back(static_cast<int32_t>(e));
    start_[e + 1] += start_[e];
  }
  rows_.resize(assignments);
  row_weights_.resize(assignments);
  // Filling from the back leaves start_ holding each expert's first assignment and rows ascending.
  for (size_t i = assignments; i-- > 0;) {
    const auto e = static_cast<size_t>(ids_[i]);
    const auto at = static_cast<size_t>(--start_[e + 1]);
    rows_[at] = static_cast<int32_t>(static_cast<int64_t>(i) / used_);
    row_weights_[at] = weights_[i];
  }
}

Status Moe::run(const MoeWeights& w, const residency::ExpertCache& cache, const float* h,
                int64_t rows, float* out) {
  const compute::Backend& be = *backend_;
  ids_.resize(static_cast<size_t>(rows * used_));
  weights_.resize(ids_.size());
  SLUICE_TRY(be.check(
      be->route(be.get(), h, rows, w.stack.dim, &w.router, used_, ids_.data(), weights_.data())));
  group_by_expert(rows);

  cache.acquire(w.layer, active_, lease_);
  jobs_.clear();
  for (size_t i = 0; i < active_.size(); ++i) {
    const auto e = static_cast<size_t>(active_[i]);
    // After grouping, start_[e + 1] is the first assignment of expert e.
    const auto first = static_cast<size_t>(start_[e + 1]);
    const auto end = i + 1 < active_.size()
                         ? static_cast<size_t>(start_[static_cast<size_t>(active_[i + 1]) + 1])
                         : rows_.size();
    const residency::ExpertParts& parts = lease_[i];
    jobs_.push_back({
        {parts[residency::kGate], static_cast<uint32_t>(w.stack.gate), w.stack.dim, w.stack.hidden},
        {parts[residency::kUp], static_cast<uint32_t>(w.stack.up), w.stack.dim, w.stack.hidden},
        {parts[residency::kDown], static_cast<uint32_t>(w.stack.down), w.stack.hidden, w.stack.dim},
        rows_.data() + first,
        row_weights_.data() + first,
        static_cast<int32_t>(end - first),
    });
  }
  if (w.shared_weight) {
    while (static_cast<int64_t>(every_row_.size()) < rows)
      every_row_.push_back(static_cast<int32_t>(every_row_.size()));
    shared_weights_.resize(static_cast<size_t>(rows));
    SLUICE_TRY(be.check(
        be->row_gate(be.get(), h, rows, w.stack.dim, w.shared_weight, shared_weights_.data())));
    // The backend takes experts of one width at a time.
    if (w.shared_gate.rows != w.stack.hidden) {
      SLUICE_TRY(be.check(be->experts(be.get(), h, rows, w.stack.dim, jobs_.data(),
                                      static_cast<int32_t>(jobs_.size()), out)));
      jobs_.clear();
    }
    jobs_.push_back({w.shared_gate, w.shared_up, w.shared_down, every_row_.data(),
                     shared_weights_.data(), static_cast<int32_t>(rows)});
  }
  return be.check(be->experts(be.get(), h, rows, w.stack.dim, jobs_.data(),
                              static_cast<int32_t>(jobs_.size()), out));
}

}  // namespace sluice::model
