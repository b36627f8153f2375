// SPDX-License-Identifier: Apache-2.0
// A mixture whose dense part runs on an accelerator: its experts lie in device memory, in the
// host's, or on the disk.
//
// Few rows: the device computes the experts that it has; the host computes the others from where
// they lie, as they come; the host's sum is added last. Many rows: the missing experts pass through
// a ring of slots on the device, or stay where a slot is free, and all are computed there in the
// order of their numbers, so that the bits do not depend on which of them was where.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "model/moe.h"

namespace sluice::model {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRingSlots = 16;
constexpr int kOnHost = 0, kCopied = 1;
constexpr uint64_t kAlignment = 256;

uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

uint64_t part_bytes(const sluice_matrix& matrix) {
  return static_cast<uint64_t>(matrix.rows) *
         quant::row_bytes(static_cast<quant::Type>(matrix.type), matrix.cols);
}

}  // namespace

void Moe::find_missing(const MoeWeights& w, const ExpertTiers& tiers) {
  missing_.clear();
  missing_ids_.clear();
  for (size_t i = 0; i < active_.size(); ++i) {
    if (tiers.device->find(w.layer, active_[i])) continue;
    missing_.push_back(i);
    missing_ids_.push_back(active_[i]);
  }
}

Status Moe::run_on_device(const MoeWeights& w, const ExpertTiers& tiers, const float* h,
                          int64_t rows, float* out) {
  const bool few = rows <= kTokenRows;
  if (few)
    tiers.device->used(w.layer, active_);
  else
    tiers.device->used_by_many(w.layer, active_);
  find_missing(w, tiers);
  if (missing_.empty()) {
    resident_done_ = 0;
    SLUICE_TRY(compute_residents(w, tiers, active_.size(), h, rows, out));
    SLUICE_ASSIGN(const std::optional<sluice_expert> common, shared(w, h, rows));
    if (common) SLUICE_TRY(compute(*backend_, h, rows, w.stack.dim, {&*common, 1}, out));
    return {};
  }
  if (few) {
    SLUICE_TRY(run_side_by_side(w, tiers, h, rows, out));
    stream_.finish();  // experts that are held here cannot move
    return tiers.device->step();
  }
  const int way = tiers.misses == Misses::kMeasured ? chooser_.choose(rows)
                  : tiers.misses == Misses::kCopied ? kCopied
                                                    : kOnHost;
  const Clock::time_point start = Clock::now();
  if (way == kOnHost)
    SLUICE_TRY(run_side_by_side(w, tiers, h, rows, out));
  else
    SLUICE_TRY(run_copied(w, tiers, h, rows, out));
  // The device is behind: what it took shows when the next router waits for it.
  SLUICE_TRY(backend_->check((*backend_)->synchronize(backend_->get())));
  chooser_.record(rows, way,
                  std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                      static_cast<double>(missing_.size()));
  return {};
}

// The experts of active_ before `end` that the device has, and that were not computed yet.
Status Moe::compute_residents(const MoeWeights& w, const ExpertTiers& tiers, size_t end,
                              const float* h, int64_t rows, float* out) {
  jobs_.clear();
  for (; resident_done_ < end; ++resident_done_)
    if (const residency::ExpertParts* parts = tiers.device->find(w.layer, active_[resident_done_]))
      jobs_.push_back(job(w.stack, resident_done_, *parts));
  return compute(*backend_, h, rows, w.stack.dim, jobs_, out);
}

Status Moe::run_side_by_side(const MoeWeights& w, const ExpertTiers& tiers, const float* h,
                             int64_t rows, float* out) {
  const compute::Backend& be = *backend_;
  const compute::Backend& host = be.host();
  residency::ExpertCache& cache = *tiers.memory;
  const int64_t dim = w.stack.dim;
  const size_t bytes = static_cast<size_t>(rows * dim) * sizeof(float);

  cache.begin(w.layer, missing_ids_,
              rows <= kTokenRows ? residency::Use::kToken : residency::Use::kScan, {}, stream_);
  resident_done_ = 0;
  SLUICE_TRY(compute_residents(w, tiers, active_.size(), h, rows, out));
  SLUICE_ASSIGN(const std::optional<sluice_expert> common, shared(w, h, rows));
  if (common) SLUICE_TRY(compute(be, h, rows, dim, {&*common, 1}, out));

  // The host works while the device does.
  int32_t ready = be->transferred(be.get(), downloaded_, 1);
  if (ready < 0) return be.check(ready);
  ready = be->transferred(be.get(), sent_, 1);  // of the last layer
  if (ready < 0) return be.check(ready);
  SLUICE_TRY(host_out_.reserve(bytes));
  SLUICE_TRY(device_out_.reserve(bytes));
  std::memset(host_out_.floats(), 0, bytes);
  SLUICE_TRY(
      compute_as_they_come(host, w, host_h_.floats(), rows, std::nullopt, host_out_.floats()));
  // device_out_ is free: the router of this layer came after its last use.
  SLUICE_TRY(
      be.check(be->transfer(be.get(), device_out_.floats(), host_out_.floats(), bytes, 1, &sent_)));
  SLUICE_TRY(be.check(be->order_after(be.get(), sent_)));
  while (static_cast<int64_t>(every_row_.size()) < rows)
    every_row_.push_back(static_cast<int32_t>(every_row_.size()));
  ones_.resize(std::max(ones_.size(), static_cast<size_t>(rows)), 1.0f);
  sluice_expert sum{};
  sum.rows = every_row_.data();
  sum.weights = ones_.data();
  sum.count = static_cast<int32_t>(rows);
  sum.apart = device_out_.floats();
  return be.check(be->add_experts(be.get(), &sum, 1, dim, out));
}

// Copies a group of experts to the device and computes them, with the residents before them.
Status Moe::copy_group(const MoeWeights& w, const ExpertTiers& tiers, const float* h, int64_t rows,
                       std::span<const residency::ExpertStream::Ready> group, float* out) {
  const compute::Backend& be = *backend_;
  const sluice_expert shape = job(w.stack, missing_.front(), {});
  const uint64_t sizes[] = {part_bytes(shape.gate), part_bytes(shape.up), part_bytes(shape.down)};
  const uint64_t slot_bytes = aligned(sizes[0]) + aligned(sizes[1]) + aligned(sizes[2]);
  SLUICE_TRY(ring_.reserve(kRingSlots * slot_bytes));
  ring_marks_.resize(kRingSlots, 0);
  uint64_t ticket = 0;
  const size_t first_slot = ring_next_;
  std::vector<sluice_expert>& copied = ordered_;
  copied.clear();
  for (const auto& ready : group) {
    const size_t i = missing_[static_cast<size_t>(ready.index)];
    residency::ExpertParts to{};
    if (const residency::ExpertParts* own = tiers.device->admit(w.layer, active_[i])) {
      to = *own;
      admitted_.push_back(active_[i]);
    } else {
      const size_t slot = ring_next_++ % kRingSlots;
      SLUICE_TRY(be.check(be->transfers_after(be.get(), ring_marks_[slot])));
      const auto* base = static_cast<const uint8_t*>(ring_.data()) + slot * slot_bytes;
      to = {base, base + aligned(sizes[0]), base + aligned(sizes[0]) + aligned(sizes[1])};
    }
    tiers.device->passed(sizes[0] + sizes[1] + sizes[2]);
    for (size_t p = 0; p < residency::kParts; ++p)
      SLUICE_TRY(be.check(be->transfer(be.get(), const_cast<uint8_t*>(to[p]), ready.parts[p],
                                       sizes[p], 1, &ticket)));
    copied.push_back(job(w.stack, i, to));
  }
  SLUICE_TRY(be.check(be->order_after(be.get(), ticket)));
  // In the order of the experts: those on the device that come before each of these.
  jobs_.clear();
  for (const sluice_expert& expert : copied) {
    const size_t i =
        missing_[static_cast<size_t>(group[static_cast<size_t>(&expert - copied.data())].index)];
    for (; resident_done_ < i; ++resident_done_)
      if (const auto* parts = tiers.device->find(w.layer, active_[resident_done_]))
        jobs_.push_back(job(w.stack, resident_done_, *parts));
    resident_done_ = i + 1;
    jobs_.push_back(expert);
  }
  SLUICE_TRY(compute(be, h, rows, w.stack.dim, jobs_, out));
  uint64_t mark = 0;
  SLUICE_TRY(be.check(be->mark(be.get(), &mark)));
  for (size_t slot = first_slot; slot < ring_next_; ++slot) ring_marks_[slot % kRingSlots] = mark;
  // What was handed out may go with the next call.
  const int32_t done = be->transferred(be.get(), ticket, 1);
  return done < 0 ? be.check(done) : Status{};
}

Status Moe::run_copied(const MoeWeights& w, const ExpertTiers& tiers, const float* h, int64_t rows,
                       float* out) {
  residency::ExpertCache& cache = *tiers.memory;
  lasting(rows);  // of active_
  std::vector<uint8_t>& late = lasting_;
  for (size_t i = 0; i < missing_.size(); ++i) late[i] = late[missing_[i]];
  late.resize(missing_.size());
  cache.begin(w.layer, missing_ids_, residency::Use::kScan, late, stream_);
  admitted_.clear();
  resident_done_ = 0;
  for (size_t handed = 0; handed < missing_.size();) {
    SLUICE_ASSIGN(const auto group, stream_.next());
    handed += group.size();
    for (size_t from = 0; from < group.size(); from += kRingSlots / 2)
      SLUICE_TRY(copy_group(w, tiers, h, rows,
                            group.subspan(from, std::min(kRingSlots / 2, group.size() - from)),
                            out));
  }
  SLUICE_TRY(compute_residents(w, tiers, active_.size(), h, rows, out));
  SLUICE_ASSIGN(const std::optional<sluice_expert> common, shared(w, h, rows));
  if (common) SLUICE_TRY(compute(*backend_, h, rows, w.stack.dim, {&*common, 1}, out));
  stream_.finish();
  for (const int32_t expert : admitted_) cache.moved(cache.key(w.layer, expert));
  return {};
}

}  // namespace sluice::model
