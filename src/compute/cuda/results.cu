// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/results.h"

#include <algorithm>

#include "compute/cuda/instance.h"

namespace sluice::cuda {
namespace {

// Between two questions to the driver whether the stream still lives.
constexpr uint32_t kLooks = 1u << 14;

void pause_shortly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace

HostResults::~HostResults() {
  cudaFreeHost(memory_);
}

bool HostResults::begin(sluice_backend* backend) {
  ++ticket_;
  if (memory_) return true;
  void* memory = nullptr;
  const cudaError_t error = cudaHostAlloc(&memory, kHeader + kBytes, cudaHostAllocMapped);
  if (error != cudaSuccess) {
    backend->failed("cudaHostAlloc", error);
    return false;
  }
  memory_ = static_cast<uint8_t*>(memory);
  *flag() = 0;
  return true;
}

int32_t HostResults::wait(sluice_backend* backend, const char* what) const {
  const auto here = [&] { return __atomic_load_n(flag(), __ATOMIC_ACQUIRE) == ticket_; };
  for (uint32_t looks = 1;; ++looks) {
    if (here()) return 0;
    pause_shortly();
    if (looks % kLooks != 0) continue;
    const cudaError_t state = cudaStreamQuery(backend->stream);
    if (state == cudaErrorNotReady) continue;
    if (state != cudaSuccess) return backend->failed(what, state);
    if (here()) return 0;  // it came just before the stream ended
    return backend->failed(std::string(what) + ": the device ended without an answer");
  }
}

Counters::~Counters() {
  cudaFree(data_);
}

uint32_t* Counters::reserve(sluice_backend* backend, int64_t count) {
  if (count <= count_) return data_;
  const int64_t grown = std::max<int64_t>(count, 4096);
  cudaFree(data_);  // waits for what still counts
  data_ = nullptr;
  count_ = 0;
  const size_t bytes = static_cast<size_t>(grown) * sizeof(uint32_t);
  void* memory = nullptr;
  cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaSuccess) error = cudaMemsetAsync(memory, 0, bytes, backend->stream);
  if (error != cudaSuccess) {
    cudaGetLastError();
    cudaFree(memory);
    backend->failed("counters of a kernel", error);
    return nullptr;
  }
  data_ = static_cast<uint32_t*>(memory);
  count_ = grown;
  return data_;
}

}  // namespace sluice::cuda
