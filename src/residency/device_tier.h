// SPDX-License-Identifier: Apache-2.0
// The experts that lie in a device's memory: which, who leaves, and the copies between it and main
// memory. Exclusive: an expert that has come here gives up its slot in the ExpertCache, and one
// that leaves gets one there.
//
// Moves happen in the background of the computation, on the device's copy queue, within a budget of
// bytes per step. An expert can be used where it was until its move has ended, so that a move never
// makes anybody wait. Where the device has room, experts come in as they are used; else one comes
// in where it has lately been used clearly more than the one that would leave.
//
// One thread computes, issues the device's operations and calls everything here but statistics()
// and add_uses(), which are for any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "compute/backend.h"
#include "residency/expert_cache.h"

namespace sluice::residency {

// Where a layer's experts may be.
enum class ExpertPlace : uint8_t {
  kAnywhere,  // here as long as they are used more than others
  kAway,      // never here
  kPinned,    // here once fill() has been called, and for good
};

struct DeviceTierOptions {
  uint64_t bytes = 0;  // of device memory for slots; what is beyond all experts is left alone
  int step_moves = 2;  // that one step() may begin
  std::vector<ExpertPlace> places;  // by layer; layers without one: kAnywhere
};

struct DeviceTierStatistics {
  uint64_t requests = 0;  // experts asked for, wherever they were
  uint64_t hits = 0;      // of them, those that were here
  uint64_t arrivals = 0;
  uint64_t departures = 0;
  uint64_t bytes_in = 0;  // those that only pass through too
  uint64_t bytes_out = 0;
};

class DeviceTier {
 public:
  // `device` and `cache` must outlive it. kTooLarge when the device has not so much memory.
  static Result<std::unique_ptr<DeviceTier>> create(const compute::Backend& device,
                                                    ExpertCache& cache,
                                                    const DeviceTierOptions& options);
  ~DeviceTier();

  // The parts of a layer's expert in device memory, nullptr when it is not there. Good for
  // operations that are issued before the next step().
  const ExpertParts* find(int32_t layer, int32_t expert) const {
    const Entry& entry = entries_[static_cast<size_t>(cache_->key(layer, expert))];
    return entry.here ? &entry.parts : nullptr;
  }
  // A step of few tokens used these experts of a layer, wherever they are.
  void used(int32_t layer, std::span<const int32_t> ids);
  // So did a step of many tokens, for which nobody comes or leaves: it only counts.
  void used_by_many(int32_t layer, std::span<const int32_t> ids);
  // An expert was copied to the device without coming here.
  void passed(uint64_t bytes) { counters_.bytes_in += bytes; }
  // Ends the moves that are done and begins others, at most `step_bytes` of them.
  Status step();
  // A free slot for an expert that the caller copies there itself, nullopt when there is none or it
  // is here. It is here from the call on for operations ordered after that copy.
  const ExpertParts* admit(int32_t layer, int32_t expert);
  // Loads the pinned experts, then others in the order of the layers until every slot is taken, if
  // `all`. Before anything else is used. Waits.
  Status fill(bool all = true);

  int64_t slots() const;
  int64_t residents() const { return residents_; }
  bool holds_all() const { return residents_ == static_cast<int64_t>(entries_.size()); }
  uint64_t bytes() const { return bytes_; }
  bool pinned() const { return pinned_; }  // main memory, for copies
  DeviceTierStatistics statistics() const;
  // Adds how often each expert was used here, by key.
  void add_uses(std::span<uint32_t> uses) const;

  // What holds all experts that may be here, and those that are pinned.
  static uint64_t full_bytes(const ExpertTable& table, std::span<const ExpertPlace> places = {});
  static uint64_t pinned_bytes(const ExpertTable& table, std::span<const ExpertPlace> places);

 private:
  struct Entry {
    bool here = false;
    bool moving = false;
    int32_t slot = -1;
    float heat = 0;   // uses, each counting half as much after kHalfLife steps of its layer
    uint32_t at = 0;  // the layer's step that `heat` is of
    ExpertParts parts{};
  };
  struct SizeClass {
    std::array<uint64_t, kParts> part_at{};
    std::array<uint32_t, kParts> part_bytes{};
    uint64_t slot_bytes = 0;
    uint8_t* base = nullptr;
    int64_t slots = 0;
    int64_t experts = 0;  // that may be here
    int64_t pinned = 0;   // of them
    std::vector<int32_t> free;
    std::vector<int32_t> holder;  // key by slot, -1: free
  };
  struct Move {
    int32_t coming = -1;   // key
    int32_t leaving = -1;  // key, -1: into a free slot
    bool out = false;      // the first half, the copy of `leaving` to main memory, is under way
    uint64_t ticket = 0;
  };

  DeviceTier(const compute::Backend& device, ExpertCache& cache, const DeviceTierOptions& options)
      : device_(&device), cache_(&cache), options_(options), memory_(device) {}
  static std::vector<SizeClass> size_classes(const ExpertTable& table,
                                             std::span<const ExpertPlace> places,
                                             std::vector<int32_t>* class_of_layer);
  Status lay_out();
  SizeClass& class_of(int32_t key) {
    return classes_[static_cast<size_t>(
        class_of_layer_[static_cast<size_t>(cache_->layer_of(key))])];
  }
  static ExpertPlace place_of(std::span<const ExpertPlace> places, size_t layer) {
    return layer < places.size() ? places[layer] : ExpertPlace::kAnywhere;
  }
  ExpertPlace place_of(int32_t key) const {
    return place_of(options_.places, static_cast<size_t>(cache_->layer_of(key)));
  }
  bool may_come(int32_t key) const { return place_of(key) != ExpertPlace::kAway; }
  float heat(int32_t key) const;
  int32_t coldest(const SizeClass& c) const;
  ExpertParts parts_of(const SizeClass& c, int32_t slot) const;
  Status copy_in(int32_t key, int32_t slot, const ExpertParts& from, uint64_t& ticket);
  Result<bool> begin(int32_t key);
  Result<bool> advance(Move& move);
  void settle(int32_t key, int32_t slot);
  Status fill_layers(ExpertPlace place);

  const compute::Backend* device_;
  ExpertCache* cache_;
  const DeviceTierOptions options_;
  compute::DeviceArray memory_;
  uint64_t bytes_ = 0;
  bool pinned_ = false;
  std::vector<SizeClass> classes_;
  std::vector<int32_t> class_of_layer_;
  std::vector<Entry> entries_;         // by key
  std::vector<uint32_t> layer_steps_;  // by layer
  std::vector<int32_t> candidates_;    // keys used since the last step() and not here
  std::vector<Move> moves_;
  int64_t residents_ = 0;
  std::vector<std::atomic<uint32_t>> uses_;  // by key: while it was here
  struct {
    std::atomic<uint64_t> requests{0}, hits{0}, arrivals{0}, departures{0}, bytes_in{0},
        bytes_out{0};
  } counters_;
};

}  // namespace sluice::residency
