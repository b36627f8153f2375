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

template <typename... Params, typename... Args>
int32_t launch_after(sluice_backend* backend, const char* name, void (*kernel)(Params...),
                     dim3 grid, dim3 block, Args&&... args) {
  constexpr int kCapability = 90;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = backend->stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = backend->capability >= kCapability ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
  return error == cudaSuccess ? 0 : backend->failed(name, error);
}

}  // namespace sluice::cuda
