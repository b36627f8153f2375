// SPDX-License-Identifier: Apache-2.0
// Reductions beyond one warp, and what norms and gates share.
#pragma once

#include "compute/cuda/device.cuh"

namespace sluice::cuda {

constexpr uint32_t kAllLanes = 0xffffffffu;

// Sum over a block of kThreads threads, in a fixed order; every thread gets it. Once per kernel, or
// with a barrier between two uses.
template <int kThreads>
__device__ __forceinline__ float block_sum(float value) {
  __shared__ float parts[kThreads / kWarp];
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) total += parts[w];
  return total;
}

__device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// The factor of an RMS norm from the sum of the squares.
__device__ __forceinline__ float norm_scale(float squares, int64_t dim, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(dim) + eps);
}

// Spans of a batch as an argument of a kernel: nothing has to be copied to the device first.
constexpr int kSpansPerLaunch = 32;
template <typename Span>
struct SpanList {
  Span span[kSpansPerLaunch];
};

}  // namespace sluice::cuda
