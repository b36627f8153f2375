// SPDX-License-Identifier: Apache-2.0
// What a cache of experts would have hit: pure functions over a trace. Every layer has the same
// number of slots; a request is counted once for each of its experts.
#pragma once

#include <cstdint>

#include "residency/trace.h"

namespace sluice::residency {

struct HitCount {
  uint64_t hits = 0;
  uint64_t requests = 0;
  double rate() const {
    return requests == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(requests);
  }
};

// Slots of a layer that hold `percent` of its experts, rounded down.
int64_t slots_of(const Trace& trace, double percent);

// Each layer keeps the `slots` experts that were used last. Steps before `first_step` fill the
// slots but are not counted.
HitCount replay_lru(const Trace& trace, int64_t slots, int64_t first_step = 0);

// Each layer holds the `slots` experts that `chosen_on` asked for most often (lower ids first among
// equals), from its step `first_step` on. The traces must be of models with the same layers and
// experts.
HitCount replay_static(const Trace& chosen_on, const Trace& trace, int64_t slots,
                       int64_t first_step = 0);

}  // namespace sluice::residency
