// SPDX-License-Identifier: Apache-2.0
// How large the arena of experts may be while other programs come and go: a pure function from what
// the system says of its memory to bytes, and a thread that asks it and tells the cache.
//
// Memory is short below a low mark and plentiful above a high one (1/32 of the limit that is
// nearest, at most 128 MiB, and twice that). In between nothing happens, so that what was given
// back is not taken again at once; growing waits until memory was plentiful for a while, and goes
// in small steps.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "residency/slot_arena.h"

namespace sluice::residency {

class ExpertCache;

struct PressureSample {
  uint64_t available = 0;  // bytes that can be taken without swapping or being killed
  uint64_t limit = 0;      // what they are a part of: of the machine, or of a control group
  double stalled = 0;      // percent of time in which somebody waited for memory
};

// What the machine and the process's control groups say. nullopt where nothing can be read. `root`
// is put before every path.
std::optional<PressureSample> sample_pressure(const std::string& root = "");

struct ArenaAim {
  uint64_t bytes = 0;
  int calm = 0;  // samples in a row with plenty of memory
};

inline constexpr int kCalmSamples = 20;  // before it grows, and again a quarter of them per step

// The arena's size after a sample, between use.least and use.most.
ArenaAim next_aim(const PressureSample& sample, const ArenaUse& use, int calm);

class PressureGuard {
 public:
  using Sampler = std::function<std::optional<PressureSample>()>;

  // Resizes the cache, which must outlive it, after every sample. Where the system gives no thread
  // the size stays.
  explicit PressureGuard(
      ExpertCache& cache, Sampler sampler = [] { return sample_pressure(); },
      std::chrono::milliseconds period = std::chrono::milliseconds(250));
  ~PressureGuard();
  PressureGuard(const PressureGuard&) = delete;
  PressureGuard& operator=(const PressureGuard&) = delete;

 private:
  void watch();

  ExpertCache& cache_;
  const Sampler sampler_;
  const std::chrono::milliseconds period_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace sluice::residency
