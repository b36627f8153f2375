// SPDX-License-Identifier: Apache-2.0
// What a machine that generates does just now, for who watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "engine/scheduler.h"
#include "residency/census.h"
#include "residency/device_tier.h"
#include "residency/expert_cache.h"

namespace sluice::engine {

struct MachineSample {
  std::chrono::steady_clock::time_point at;
  residency::Census census;  // nothing in it for a dense model
  residency::CacheStatistics cache;
  std::optional<residency::DeviceTierStatistics> device;  // where there is one
  uint64_t sampled_tokens = 0;
  std::optional<TokenStep> last_token;
  uint64_t ram_bytes = 0;   // in use, by the process
  uint64_t vram_bytes = 0;  // likewise
};

// From any thread; holds the computation up for the time that copying a byte per expert takes.
MachineSample take_sample(const Engine& engine, const Scheduler& scheduler);

}  // namespace sluice::engine
