// SPDX-License-Identifier: Apache-2.0
// The memory of a cache of experts: one arena, cut into slots that hold one expert each. Experts of
// different sizes have slots of their own (a size class), in proportion to the bytes of the layers
// that use them. How many slots may be used can be lowered and raised again while it runs: the
// memory of those that may not goes back to the system. Counts slots, knows no experts; no locks.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "residency/expert_table.h"

namespace sluice::residency {

// Bytes.
struct ArenaUse {
  uint64_t least = 0;      // it cannot be smaller
  uint64_t most = 0;       // nor larger
  uint64_t aim = 0;        // of the slots that may be used
  uint64_t excess = 0;     // of slots beyond those, whose experts have not left yet
  uint64_t untouched = 0;  // of slots that may be used, for which no memory was taken yet
};

class SlotArena {
 public:
  // What a cache cannot do without: two tokens' experts of one layer in every size class.
  static uint64_t least_bytes(const ExpertTable& table, int32_t used);
  // What holds all experts.
  static uint64_t full_bytes(const ExpertTable& table);

  // Slots in at most `bytes`; fewer where the system has less. kTooLarge when that is less than
  // least_bytes().
  static Result<SlotArena> create(const ExpertTable& table, int32_t used, uint64_t bytes);

  size_t classes() const { return classes_.size(); }
  size_t class_of_layer(size_t layer) const { return class_of_layer_[layer]; }
  int64_t experts(size_t c) const { return classes_[c].experts; }  // that want its slots
  int64_t slots(size_t c) const { return classes_[c].aim; }        // that may be used
  int64_t excess(size_t c) const {
    return std::max<int64_t>(0, classes_[c].live - classes_[c].aim);
  }
  std::span<uint8_t> memory() { return {memory_.data(), memory_.size()}; }
  bool has_free(size_t c) const { return !classes_[c].free.empty(); }

  // A free slot, which there must be.
  int32_t take(size_t c);
  void give(size_t c, int32_t slot) { classes_[c].free.push_back(slot); }
  // Where the windows of a slot's parts begin.
  uint8_t* part(size_t c, int32_t slot, size_t part) const;

  // From now on slots of at most `bytes` may be used, between least and most. More are there at
  // once; less comes with trim(), as slots become free.
  void aim(uint64_t bytes);
  // Gives back the memory of free slots beyond the aim.
  void trim(size_t c);
  ArenaUse use() const;

 private:
  struct SizeClass {
    std::array<uint64_t, kParts> part_at{};  // offset of each part's window in a slot
    std::array<uint32_t, kParts> part_bytes{};
    uint64_t slot_bytes = 0;
    uint8_t* base = nullptr;
    int64_t experts = 0;
    int64_t least = 0, most = 0;  // slots
    int64_t aim = 0;
    int64_t live = 0;             // free or taken: all but those that were given back
    int64_t touched = 0;          // of them, with memory
    std::vector<int32_t> free;    // the last is taken first
    std::vector<int32_t> gone;    // given back
    std::vector<uint8_t> backed;  // per slot: has memory
  };

  static std::vector<SizeClass> size_classes(const ExpertTable& table, int32_t used,
                                             std::vector<size_t>* class_of);
  int64_t share(const SizeClass& c, uint64_t bytes) const;

  uint64_t least_ = 0, full_ = 0;
  AlignedBuffer memory_;
  std::vector<SizeClass> classes_;
  std::vector<size_t> class_of_layer_;
};

}  // namespace sluice::residency
