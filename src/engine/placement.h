// SPDX-License-Identifier: Apache-2.0
// How a model is shared out between the memories that there are: what load() does before it loads,
// and what a plan can say without loading. Pure functions of sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/device_plan.h"
#include "engine/memory_plan.h"
#include "engine/tensor_overrides.h"

namespace sluice::engine {

// Budgets from what is free, less what the system and other programs may come to want. A device's
// is without what its driver took when it was opened.
uint64_t default_ram(uint64_t available);
uint64_t default_vram(uint64_t free_bytes, uint64_t total_bytes);

struct PlacementRequest {
  MemoryRequest memory;          // `device`, `device_experts` and `places` are filled in here
  std::optional<uint64_t> vram;  // budget of a device; nullopt: there is none
  bool device_required = false;  // what does not fit there is an error, and not left to the CPU
  int device = 0;                // its number
  std::vector<TensorOverride> overrides;
  int64_t cpu_moe_layers = 0;  // of so many layers, the first ones, no expert goes there
};

struct Placement {
  MemoryPlan memory;
  std::optional<DevicePlan> device;
  std::optional<Error> device_refused;  // why there is a device, but nothing on it
  std::vector<std::string> unused;      // overrides that change nothing
};

// kTooLarge, with the settings that come nearest.
Result<Placement> place(const std::string& path, const gguf::Gguf& file,
                        const model::Config& config, const PlacementRequest& request);

}  // namespace sluice::engine
