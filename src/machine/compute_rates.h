// SPDX-License-Identifier: Apache-2.0
// Measures a backend through its own contract: what the operations of a forward pass take.
#pragma once

#include <functional>
#include <vector>

#include "compute/backend.h"
#include "machine/machine.h"

namespace sluice::machine {

struct RatesOptions {
  double seconds = 4;       // in all; weight types that there is no time for are left out
  uint64_t bytes = 0;       // of weights that lie in memory, more than the caches hold
  uint64_t near_bytes = 0;  // of weights that the last-level cache holds
};

// kTooLarge without memory for it, kDevice as the backend fails.
Result<ComputeRates> measure_compute(const compute::Backend& backend, const RatesOptions& options);

// Bytes per second of copies to a device from pinned memory; 0 where there is none to copy to.
Result<double> measure_copies(const compute::Backend& device);

// Plain reads of `bytes` of memory by 1, 2, 4, ... threads up to `threads`.
std::vector<ThreadsRate> measure_memory(int threads, uint64_t bytes);

}  // namespace sluice::machine
