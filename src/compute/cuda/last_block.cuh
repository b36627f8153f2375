// SPDX-License-Identifier: Apache-2.0
// The last of the blocks that count on one counter finds what the others have written.
#pragma once

#include "compute/cuda/device.cuh"

namespace sluice::cuda {

// Called by all threads of a block after its results are written. True in the block that comes last
// of `blocks`; the counter is zero again then.
__device__ __forceinline__ bool is_last_block(uint32_t* counter, uint32_t blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) == blocks - 1;
    if (last) *counter = 0;
  }
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// Called by all threads of a block whose results in the host's memory are written.
__device__ __forceinline__ void answer_host(uint32_t* counter, uint32_t blocks, uint32_t* flag,
                                            uint32_t ticket) {
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (atomicAdd(counter, 1u) != blocks - 1) return;
  *counter = 0;
  __threadfence_system();
  *static_cast<volatile uint32_t*>(flag) = ticket;
}

}  // namespace sluice::cuda
