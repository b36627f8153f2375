// SPDX-License-Identifier: Apache-2.0
// Where every expert is and how often each has been used, for who watches.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice::residency {

enum class Tier : uint8_t { kDisk = 0, kMemory = 1, kDevice = 2 };

// Vectors by key: layer after layer.
struct Census {
  std::vector<Tier> tiers;
  std::vector<uint32_t> uses;  // since the start; may wrap around
  uint64_t memory_bytes = 0;   // of the experts there
  uint64_t device_bytes = 0;
};

}  // namespace sluice::residency
