// SPDX-License-Identifier: Apache-2.0
#include "model/moe.h"

#include <algorithm>

namespace sluice::model {
namespace {

// Of a prompt's end: 80 % of a token's experts were used by one of the eight before it.
constexpr int64_t kLastingRows = 32;

}  // namespace

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

// Which experts the last rows chose.
std::span<const uint8_t> Moe::lasting(int64_t rows) {
  chosen_late_.assign(static_cast<size_t>(experts_), 0);
  const int64_t first = std::max<int64_t>(0, rows - kLastingRows);
  for (int64_t i = first * used_; i < rows * used_; ++i)
    chosen_late_[static_cast<size_t>(ids_[static_cast<size_t>(i)])] = 1;
  lasting_.clear();
  for (const int32_t e : active_) lasting_.push_back(chosen_late_[static_cast<size_t>(e)]);
  return lasting_;
}

// The job of active expert i.
sluice_expert Moe::job(const ExpertStack& stack, size_t i, const residency::ExpertParts& parts) {
  // After grouping, start_[e + 1] is the first assignment of expert e.
  const auto first_of = [this](size_t n) {
    return static_cast<size_t>(start_[static_cast<size_t>(active_[n]) + 1]);
  };
  const size_t first = first_of(i);
  const size_t end = i + 1 < active_.size() ? first_of(i + 1) : rows_.size();
  return {{parts[residency::kGate], static_cast<uint32_t>(stack.gate), stack.dim, stack.hidden},
          {parts[residency::kUp], static_cast<uint32_t>(stack.up), stack.dim, stack.hidden},
          {parts[residency::kDown], static_cast<uint32_t>(stack.down), stack.hidden, stack.dim},
          rows_.data() + first,
          row_weights_.data() + first,
          static_cast<int32_t>(end - first),
          nullptr};
}

Status Moe::compute(const compute::Backend& backend, const float* h, int64_t rows, int64_t dim,
                    std::span<const sluice_expert> jobs, float* out) {
  if (jobs.empty()) return {};
  return backend.check(backend->experts(backend.get(), h, rows, dim, jobs.data(),
                                        static_cast<int32_t>(jobs.size()), out));
}

Result<std::optional<sluice_expert>> Moe::shared(const MoeWeights& w, const float* h,
                                                 int64_t rows) {
  if (!w.shared_weight) return std::nullopt;
  while (static_cast<int64_t>(every_row_.size()) < rows)
    every_row_.push_back(static_cast<int32_t>(every_row_.size()));
  shared_weights_.resize(static_cast<size_t>(rows));
  SLUICE_TRY(backend_->check((*backend_)->row_gate(backend_->get(), h, rows, w.stack.dim,
                                                   w.shared_weight, shared_weights_.data())));
  return sluice_expert{w.shared_gate,
                       w.shared_up,
                       w.shared_down,
                       every_row_.data(),
                       shared_weights_.data(),
                       static_cast<int32_t>(rows),
                       nullptr};
}

// Experts in their order, group by group as they come.
Status Moe::run_in_order(const MoeWeights& w, const float* h, int64_t rows, float* out) {
  SLUICE_ASSIGN(const std::optional<sluice_expert> common, shared(w, h, rows));
  for (size_t handed = 0; handed < active_.size();) {
    SLUICE_ASSIGN(const auto group, stream_.next());
    jobs_.clear();
    for (const auto& ready : group)
      jobs_.push_back(job(w.stack, static_cast<size_t>(ready.index), ready.parts));
    handed += group.size();
    // The backend takes experts of one width at a time.
    if (common && handed == active_.size() && common->gate.rows == w.stack.hidden)
      jobs_.push_back(*common);
    SLUICE_TRY(compute(*backend_, h, rows, w.stack.dim, jobs_, out));
  }
  if (common && common->gate.rows != w.stack.hidden)
    SLUICE_TRY(compute(*backend_, h, rows, w.stack.dim, {&*common, 1}, out));
  return {};
}

// Experts as they come, each computed while the others are read; added in their order at the end.
// The stream's ids are active_, or what missing_ names of it.
Status Moe::compute_as_they_come(const compute::Backend& backend, const MoeWeights& w,
                                 const float* h, int64_t rows, std::optional<sluice_expert> common,
                                 float* out) {
  const int64_t dim = w.stack.dim;
  const bool some = &backend != backend_;  // the others are computed elsewhere
  const size_t count = some ? missing_.size() : active_.size();
  const size_t assignments = rows_.size() + static_cast<size_t>(common ? rows : 0);
  SLUICE_TRY(apart_.reserve(assignments * static_cast<size_t>(dim) * sizeof(float)));
  ordered_.resize(count);
  if (common) {  // it is always here: computed while the first of the others is read
    common->apart = apart_.floats() + static_cast<int64_t>(rows_.size()) * dim;
    SLUICE_TRY(compute(backend, h, rows, dim, {&*common, 1}, out));
  }
  for (size_t handed = 0; handed < count;) {
    SLUICE_ASSIGN(const auto group, stream_.next());
    jobs_.clear();
    for (const auto& ready : group) {
      const auto i = static_cast<size_t>(ready.index);
      sluice_expert& expert = ordered_[i] = job(w.stack, some ? missing_[i] : i, ready.parts);
      expert.apart = apart_.floats() + (expert.rows - rows_.data()) * dim;
      jobs_.push_back(expert);
    }
    handed += group.size();
    SLUICE_TRY(compute(backend, h, rows, dim, jobs_, out));
  }
  if (common) ordered_.push_back(*common);
  return backend.check(backend->add_experts(backend.get(), ordered_.data(),
                                            static_cast<int32_t>(ordered_.size()), dim, out));
}

Status Moe::run_as_they_come(const MoeWeights& w, const float* h, int64_t rows, float* out) {
  SLUICE_ASSIGN(const std::optional<sluice_expert> common, shared(w, h, rows));
  return compute_as_they_come(*backend_, w, h, rows, common, out);
}

Status Moe::run(const MoeWeights& w, const ExpertTiers& tiers, const float* h, int64_t rows,
                float* out) {
  const compute::Backend& be = *backend_;
  // However this ends: the experts may leave.
  struct Finish {
    residency::ExpertStream& stream;
    ~Finish() { stream.finish(); }
  } const finish{stream_};
  residency::ExpertCache& cache = *tiers.memory;
  ids_.resize(static_cast<size_t>(rows * used_));
  weights_.resize(ids_.size());
  if (tiers.device && !tiers.device->holds_all()) {  // the host may need them: beside the router
    const size_t bytes = static_cast<size_t>(rows * w.stack.dim) * sizeof(float);
    uint64_t mark = 0;
    const int32_t last = be->transferred(be.get(), downloaded_, 1);
    if (last < 0) return be.check(last);
    SLUICE_TRY(host_h_.reserve(bytes));
    SLUICE_TRY(be.check(be->mark(be.get(), &mark)));
    SLUICE_TRY(be.check(be->transfers_after(be.get(), mark)));
    SLUICE_TRY(be.check(be->transfer(be.get(), host_h_.floats(), h, bytes, 0, &downloaded_)));
  }
  SLUICE_TRY(be.check(
      be->route(be.get(), h, rows, w.stack.dim, &w.router, used_, ids_.data(), weights_.data())));
  group_by_expert(rows);
  if (tiers.device) return run_on_device(w, tiers, h, rows, out);

  if (rows <= kTokenRows)
    cache.begin(w.layer, active_, residency::Use::kToken, {}, stream_);
  else
    cache.begin(w.layer, active_, residency::Use::kScan, lasting(rows), stream_);
  const bool any_order = stream_.use() == residency::Use::kToken && !stream_.all_here();
  return any_order ? run_as_they_come(w, h, rows, out) : run_in_order(w, h, rows, out);
}

}  // namespace sluice::model
