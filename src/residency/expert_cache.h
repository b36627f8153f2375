// SPDX-License-Identifier: Apache-2.0
// Which expert is where. Told (layer, expert) -> file ranges; hands out leases on expert bytes.
// Every expert is read into RAM when the model is loaded and stays there.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "residency/trace.h"
#include "storage/file.h"

namespace sluice::residency {

// The parts of one expert, in the order in which they are needed.
enum Part { kGate = 0, kUp = 1, kDown = 2, kParts = 3 };

struct ByteRange {
  int file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

using ExpertRanges = std::array<ByteRange, kParts>;

// table[layer][expert]
using ExpertTable = std::vector<std::vector<ExpertRanges>>;

// Where one expert's parts lie, valid while the lease that gave it lives.
using ExpertParts = std::array<const uint8_t*, kParts>;

class ExpertCache;

// Holds the experts of one acquire() in place until it dies.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) noexcept = default;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // In the order of the ids given to acquire().
  const ExpertParts& operator[](size_t i) const { return parts_[i]; }
  size_t size() const { return parts_.size(); }

 private:
  friend class ExpertCache;
  std::vector<ExpertParts> parts_;
};

class ExpertCache {
 public:
  ExpertCache() = default;

  // Reads every expert. `files` is only used during the call. kTooLarge when memory is out, kIo and
  // kBadFile as the reader reports them.
  static Result<ExpertCache> load(const ExpertTable& table,
                                  std::span<const std::unique_ptr<storage::Reader>> files,
                                  int threads);

  // `lease` is reused, so that the token loop does not allocate once it is warm.
  void acquire(int layer, std::span<const int32_t> experts, Lease& lease) const;

  // Every acquire() is recorded from now on; nullptr ends that. `trace` must outlive its use.
  void record_to(TraceWriter* trace) { trace_ = trace; }

  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<std::vector<ExpertParts>> parts_;  // [layer][expert]
  std::vector<AlignedBuffer> arenas_;            // one per layer
  uint64_t bytes_ = 0;
  TraceWriter* trace_ = nullptr;
};

}  // namespace sluice::residency
