// SPDX-License-Identifier: Apache-2.0
// Scratch, and small arrays on their way between host and device.
#include <algorithm>
#include <cstring>

#include "compute/cuda/instance.h"

namespace sluice::cuda {
namespace {

// Up to this many bytes travel as a kernel's arguments: no copy engine, no pinned memory, and the
// same in a captured graph.
constexpr size_t kInline = 3072;
constexpr size_t kPinnedBytes = size_t{4} << 20;
constexpr size_t kAlign = 16;

struct Letter {
  uint4 words[kInline / 16];
};

__global__ void deliver(const __grid_constant__ Letter letter, uint8_t* to, uint32_t bytes) {
  const uint32_t at = threadIdx.x * 16;
  if (at + 16 <= bytes && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
    *reinterpret_cast<uint4*>(to + at) = letter.words[threadIdx.x];
  } else {
    const auto* from = reinterpret_cast<const uint8_t*>(letter.words);
    for (uint32_t i = at; i < min(at + 16, bytes); ++i) to[i] = from[i];
  }
}

}  // namespace

void* Scratch::reserve(sluice_backend* backend, size_t bytes) {
  if (bytes <= bytes_) return data_;
  cudaFree(data_);  // waits for what still reads it
  data_ = nullptr;
  bytes_ = 0;
  if (const cudaError_t error = cudaMalloc(&data_, bytes + kReadBeyond); error != cudaSuccess) {
    cudaGetLastError();  // not sticky: later calls may fit
    data_ = nullptr;
    backend->failed("no device memory left for " + std::to_string(bytes) +
                    " bytes of working memory: use a smaller -c or -ub (" +
                    cudaGetErrorString(error) + ")");
    return nullptr;
  }
  bytes_ = bytes;
  return data_;
}

Mailbox::~Mailbox() {
  cudaFreeHost(pinned_);
}

bool Mailbox::reserve_pinned(sluice_backend* backend) {
  if (pinned_) return true;
  const cudaError_t error = cudaHostAlloc(&pinned_, kPinnedBytes, cudaHostAllocDefault);
  if (error == cudaSuccess) return true;
  pinned_ = nullptr;
  backend->failed("cudaHostAlloc", error);
  return false;
}

const void* Mailbox::post(sluice_backend* backend, const void* host, size_t bytes) {
  Scratch& slot = slots_[next_];
  next_ = (next_ + 1) % kPosts;
  void* to = slot.reserve(backend, std::max(bytes, kInline));
  if (!to || copy(backend, to, host, bytes) != 0) return nullptr;
  return to;
}

int32_t Mailbox::copy(sluice_backend* backend, void* to, const void* host, size_t bytes) {
  if (bytes == 0) return 0;
  if (bytes <= kInline) {
    Letter letter;
    std::memcpy(&letter, host, bytes);
    const auto threads = static_cast<unsigned>(ceil_div(static_cast<int64_t>(bytes), 16));
    deliver<<<1, threads, 0, backend->stream>>>(letter, static_cast<uint8_t*>(to),
                                                static_cast<uint32_t>(bytes));
    return backend->launched("deliver");
  }
  if (!reserve_pinned(backend)) return 1;
  const auto* from = static_cast<const uint8_t*>(host);
  auto* target = static_cast<uint8_t*>(to);
  while (bytes > 0) {
    const size_t piece = std::min(bytes, kPinnedBytes);
    if (pinned_at_ + piece > kPinnedBytes) {
      // Earlier copies may still read the ring's start.
      SLUICE_CUDA(backend, cudaStreamSynchronize(backend->stream));
      pinned_at_ = 0;
    }
    std::memcpy(pinned_ + pinned_at_, from, piece);
    SLUICE_CUDA(backend, cudaMemcpyAsync(target, pinned_ + pinned_at_, piece,
                                         cudaMemcpyHostToDevice, backend->stream));
    pinned_at_ += (piece + kAlign - 1) / kAlign * kAlign;
    from += piece;
    target += piece;
    bytes -= piece;
  }
  return 0;
}

int32_t Mailbox::fetch(sluice_backend* backend, void* host, const void* from, size_t bytes) {
  if (bytes == 0) return 0;
  if (bytes > kPinnedBytes) {
    SLUICE_CUDA(backend,
                cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, backend->stream));
    SLUICE_CUDA(backend, cudaStreamSynchronize(backend->stream));
    return 0;
  }
  if (!reserve_pinned(backend)) return 1;
  if (pinned_at_ + bytes > kPinnedBytes) {
    SLUICE_CUDA(backend, cudaStreamSynchronize(backend->stream));
    pinned_at_ = 0;
  }
  SLUICE_CUDA(backend, cudaMemcpyAsync(pinned_ + pinned_at_, from, bytes, cudaMemcpyDeviceToHost,
                                       backend->stream));
  SLUICE_CUDA(backend, cudaStreamSynchronize(backend->stream));
  std::memcpy(host, pinned_ + pinned_at_, bytes);
  pinned_at_ = 0;  // nothing is on its way any more
  return 0;
}

}  // namespace sluice::cuda
