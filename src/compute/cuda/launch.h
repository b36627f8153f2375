// SPDX-License-Identifier: Apache-2.0
// Launching a kernel so that the device prepares it while the one before it still runs
// (programmatic dependent launch, devices from 9.0). A kernel launched by launch_after() calls
// await_previous() before anything else, in every thread; allow_next() says that the next one may
// be prepared.
#pragma once

#include <utility>

#include "compute/cuda/instance.h"

namespace sluice::cuda {

__device__ __forceinline__ void await_previous() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

__device__ __forceinline__ void allow_next() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Asks for a row of weights to be in the second-level cache, by the `width` lanes that will read
// it. Nothing is read, so the row need not be there yet.
__device__ __forceinline__ void prefetch_row(const uint8_t* row, int64_t bytes, int lane,
                                             int width) {
#if __CUDA_ARCH__ >= 900
  constexpr int kLine = 128;
  for (int64_t at = int64_t{lane} * kLine; at < bytes; at += int64_t{width} * kLine)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(row + at));
#endif
}

// With `shared` bytes of dynamic shared memory.
template <typename... Params, typename... Args>
int32_t launch_shared(sluice_backend* backend, const char* name, void (*kernel)(Params...),
                      dim3 grid, dim3 block, size_t shared, Args&&... args) {
  constexpr int kCapability = 90;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = backend->stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = backend->capability >= kCapability ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
  return error == cudaSuccess ? 0 : backend->failed(name, error);
}

template <typename... Params, typename... Args>
int32_t launch_after(sluice_backend* backend, const char* name, void (*kernel)(Params...),
                     dim3 grid, dim3 block, Args&&... args) {
  return launch_shared(backend, name, kernel, grid, block, 0, std::forward<Args>(args)...);
}

}  // namespace sluice::cuda
