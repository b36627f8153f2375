// SPDX-License-Identifier: Apache-2.0
// Copies beside the operations: a stream of their own, tickets for copies, marks for operations.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <mutex>

#include "compute/backend_abi.h"

namespace sluice::cuda {

// Numbered points of one stream; any thread may ask. Points that left the ring count as passed only
// once they are: taking one's place waits for it.
class Points {
 public:
  ~Points();
  cudaError_t open();
  // Marks the stream's present end; numbers count from 1.
  cudaError_t record(cudaStream_t stream, uint64_t* number);
  // nullptr: passed long ago, or never recorded (0).
  cudaEvent_t find(uint64_t number) const;

 private:
  static constexpr uint64_t kPoints = 1024;
  cudaEvent_t events_[kPoints] = {};
  uint64_t last_ = 0;
  mutable std::mutex mutex_;
};

struct Transfers {
  cudaStream_t stream = nullptr;
  Points tickets;
  Points marks;
};

int32_t transfer(sluice_backend*, void* to, const void* from, size_t bytes, int32_t to_device,
                 uint64_t* ticket);
int32_t order_after(sluice_backend*, uint64_t ticket);
int32_t transferred(sluice_backend*, uint64_t ticket, int32_t wait);
int32_t mark(sluice_backend*, uint64_t* number);
int32_t transfers_after(sluice_backend*, uint64_t number);
int32_t pin(sluice_backend*, void* host, size_t bytes);
void unpin(sluice_backend*, void* host);
int32_t memory_info(sluice_backend*, uint64_t* free_bytes, uint64_t* total_bytes);

}  // namespace sluice::cuda
