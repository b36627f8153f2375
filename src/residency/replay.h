// SPDX-License-Identifier: Apache-2.0
// What a cache of experts would have hit: pure functions over a trace.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "residency/eviction.h"
#include "residency/trace.h"

namespace sluice::residency {

struct HitCount {
  uint64_t hits = 0;
  uint64_t requests = 0;  // one for each expert of a request
  uint64_t misses() const { return requests - hits; }
  double rate() const {
    return requests == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(requests);
  }
};

// The slots of a cache. A pool has slots of one size, which the experts of its layers share.
struct Pool {
  uint64_t slot_bytes = 0;
  int64_t slots = 0;
};
struct Pools {
  std::vector<Pool> pools;
  std::vector<int32_t> pool_of_layer;  // -1: the layer has no experts
  std::vector<uint64_t> expert_bytes;  // of each layer: what a miss reads

  int64_t slots() const;
};

// One pool of `slots` for all layers. Where an expert's size is not known it counts no bytes.
Pools one_pool(int32_t layers, int64_t slots);
// Pools within `bytes`, given the size of an expert in each layer (0: the layer has none).
// By size: one pool for each distinct size, with a share of the bytes as large as its layers'.
// Of the largest: one pool, whose slots hold an expert of any layer.
Pools pools_by_size(std::span<const uint64_t> expert_bytes, int32_t experts, uint64_t bytes);
Pools pool_of_largest(std::span<const uint64_t> expert_bytes, uint64_t bytes);

struct ReplayCount {
  HitCount token;  // requests of Use::kToken
  HitCount scan;   // of Use::kScan
  uint64_t bytes_read = 0;

  uint64_t misses() const { return token.misses() + scan.misses(); }
};

// A cache of these pools under a policy. The experts of one request stay until it ends: those that
// are there are kept, then the others come in. A request that is larger than its pool is served in
// several rounds. Steps before `first_step` fill the slots but are not counted.
ReplayCount replay(const Trace& trace, const Pools& pools, Policy policy, int64_t first_step = 0);
// The fewest misses that any policy could have had in these pools, from Belady (1966): of the
// experts that may leave, the one that is needed last leaves. Where requests are larger than their
// pool it is only close to that.
ReplayCount replay_optimum(const Trace& trace, const Pools& pools, int64_t first_step = 0);

// --- Every layer with as many slots of its own: published hit rates are given like this.

// Slots of a layer that hold `percent` of its experts, rounded down.
int64_t slots_of(const Trace& trace, double percent);

// Each layer keeps the `slots` experts that were used last.
HitCount replay_lru(const Trace& trace, int64_t slots, int64_t first_step = 0);

// Each layer holds the `slots` experts that `chosen_on` asked for most often (lower ids first among
// equals), from its step `first_step` on. The traces must be of models with the same layers and
// experts.
HitCount replay_static(const Trace& chosen_on, const Trace& trace, int64_t slots,
                       int64_t first_step = 0);

}  // namespace sluice::residency
