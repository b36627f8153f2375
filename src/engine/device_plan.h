// SPDX-License-Identifier: Apache-2.0
// What a model takes of an accelerator's memory, decided before anything of it is loaded: what
// every token needs comes first, experts get the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/memory_plan.h"

namespace sluice::engine {

// Bytes of device memory.
struct DevicePlan {
  uint64_t budget = 0;
  uint64_t weights = 0;  // all but experts and the embedding, which is looked up in main memory
  uint64_t session = 0;  // of all: keys and values of the context, states
  uint64_t buffers = 0;  // activations, and what the driver takes for itself
  uint64_t experts = 0;  // what would hold all of them
  uint64_t cache = 0;    // of it, what is planned
  uint64_t pinned = 0;   // of that, experts that stay
  int sessions = 1;
  std::vector<residency::ExpertPlace> places;  // as they were wanted

  uint64_t total() const { return weights + session + buffers + cache; }
  bool all_experts() const { return cache == experts; }
};

// What a driver keeps for a process that uses the device: kernels, stacks, its own books.
inline constexpr uint64_t kDriverBytes = uint64_t{720} << 20;

// For a context of `context` positions. kTooLarge, with the settings that come nearest, when the
// budget cannot hold what every token needs; `path` is for that message.
Result<DevicePlan> plan_device(const std::string& path, const gguf::Gguf& file,
                               const model::Config& config, const MemoryRequest& request,
                               uint64_t budget, int64_t context);

// "VRAM 5.40 of 5.50 GiB: weights 0.76, experts 3.90 of 16.42 (24 %), context of 4096 0.38, ..."
std::string describe(const DevicePlan& plan, int64_t context);

}  // namespace sluice::engine
