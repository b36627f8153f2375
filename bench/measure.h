// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include "base/thread_pool.h"

namespace sluice::bench {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Smallest time of a few runs: other work on the machine only ever adds.
template <class Body>
double best_seconds(int runs, const Body& body) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

// Bytes per second that the pool's threads read from memory.
double read_bandwidth(ThreadPool& pool);

// Multiplications and additions of floats per second that the level's instructions do at best; 0:
// unknown.
double float_peak(const std::string& level, int threads);

void register_attention();
void register_delta();

}  // namespace sluice::bench
