// SPDX-License-Identifier: Apache-2.0
// When each layer of a run asked for its experts, got them, and waited; and which came and left.
// Recorded in memory, written at the end; tools/draw_experts.py draws it.
//
// As a file it is text. The first line is
//   sluice-timeline 1 LAYERS EXPERTS SLOTS
// Other lines begin with a letter; times are microseconds since the recording began:
//   r STEP LAYER t|s BEGIN END WAITED HITS MISSES   what a layer asked for: `BEGIN` to `END` it had
//       its experts, of which it waited `WAITED`; the two lists have commas, "-" is an empty one
//   + TIME LAYER EXPERT    an expert's reading was begun
//   - TIME LAYER EXPERT    an expert lost its slot
// The time between a layer's END and the next layer's BEGIN went to everything but experts.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "residency/eviction.h"

namespace sluice::residency {

class Timeline {
 public:
  // `experts` of each layer; `slots` of all of them.
  Timeline(int32_t layers, int32_t experts, int64_t slots);

  // Of the computing thread: a layer asks for experts; those of which hit says so are in memory.
  void begin(int32_t layer, std::span<const int32_t> experts, std::span<const uint8_t> hits,
             Use use);
  void waited(std::chrono::nanoseconds time);
  void end();
  // Any thread.
  void came(int32_t layer, int32_t expert) { note(layer, expert, true); }
  void left(int32_t layer, int32_t expert) { note(layer, expert, false); }

  // kIo with the path. What is recorded stays.
  Status write(const std::string& path) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Request {
    int64_t step = 0;
    int32_t layer = 0;
    Use use = Use::kToken;
    std::chrono::nanoseconds begin{0}, end{0}, waited{0};
    size_t first = 0, hits = 0, misses = 0;  // in experts_: the hits, then the misses
  };
  struct Change {
    std::chrono::nanoseconds time{0};
    int32_t layer = 0;
    int32_t expert = 0;
    bool came = false;
  };
  void note(int32_t layer, int32_t expert, bool came);

  const int32_t layers_, experts_of_layer_;
  const int64_t slots_;
  const Clock::time_point start_ = Clock::now();
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::vector<int32_t> experts_;
  std::vector<Change> changes_;
  int64_t step_ = -1;
  int32_t last_layer_ = INT32_MAX;
};

}  // namespace sluice::residency
