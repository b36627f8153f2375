// SPDX-License-Identifier: Apache-2.0
// What the operations of the CUDA backend share: one device, one stream, one error text, scratch
// that only grows. Private to compute/cuda. Every operation is entered through the table in
// backend.cu, which makes the instance's device the current one first.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "compute/backend_abi.h"
#include "compute/cuda/acts.h"
#include "compute/cuda/results.h"
#include "compute/cuda/transfers.h"

namespace sluice::cuda {

// Device memory that grows and stays. Growing waits for the device, so only first calls and larger
// batches pay for it. Contents are lost on growth. Reuse from operation to operation needs no
// care: the stream orders them.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { cudaFree(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // nullptr when device memory is out; the error text is then set in `backend`.
  void* reserve(sluice_backend* backend, size_t bytes);
  template <typename T>
  T* reserve_array(sluice_backend* backend, int64_t count) {
    return static_cast<T*>(reserve(backend, static_cast<size_t>(count) * sizeof(T)));
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Bytes behind the end of every allocation that may be read: kernels fetch aligned 16-byte words
// that hold the last bytes of a weight.
constexpr size_t kReadBeyond = 64;

// Index arrays of the host on their way to the device.
class Mailbox {
 public:
  ~Mailbox();
  // Copies `bytes` to device memory, in the order of the stream, and returns where they are,
  // 16-byte aligned; they stay until the operation's kernels have run (at most kPosts calls later).
  // The host's copy may go at once. nullptr on failure, with the error text set.
  const void* post(sluice_backend* backend, const void* host, size_t bytes);
  template <typename T>
  const T* post_array(sluice_backend* backend, const T* host, int64_t count) {
    return static_cast<const T*>(post(backend, host, static_cast<size_t>(count) * sizeof(T)));
  }
  // The same to an address of the caller's choice.
  int32_t copy(sluice_backend* backend, void* to, const void* host, size_t bytes);
  // Device to host; waits for the stream. Meant for small results.
  int32_t fetch(sluice_backend* backend, void* host, const void* from, size_t bytes);

  static constexpr int kPosts = 8;

 private:
  bool reserve_pinned(sluice_backend* backend);

  Scratch slots_[kPosts];
  int next_ = 0;
  uint8_t* pinned_ = nullptr;  // ring for what is too large for a kernel's arguments
  size_t pinned_at_ = 0;
};

// Grids of the IQ2 and IQ3 formats on the device (quant/codebooks.h).
struct Grids {
  uint64_t iq2_xxs[256];
  uint64_t iq2_xs[512];
  uint64_t iq2_s[1024];
  uint32_t iq3_xxs[256];
  uint32_t iq3_s[512];
};

}  // namespace sluice::cuda

struct sluice_backend {
  int device = 0;
  int multiprocessors = 1;
  int capability = 0;            // 10 * major + minor, e.g. 86
  int shared_memory = 48 << 10;  // bytes that a block may ask for
  cudaStream_t stream = nullptr;
  std::string error = "no error";
  std::string description;

  sluice::cuda::Transfers transfers;

  sluice::cuda::Grids* grids = nullptr;  // device
  sluice::cuda::Mailbox mailbox;

  // Scratch of norm_for_products, multiply and experts.
  sluice::cuda::Scratch normed;
  sluice::cuda::Remembered remembered;
  int32_t* arrivals = nullptr;  // device, [kArrivals], zero between kernels: blocks that are done
  static constexpr int64_t kArrivals = 1 << 14;
  sluice::cuda::Scratch input;   // quantised rows of x
  sluice::cuda::Scratch middle;  // experts: quantised rows of silu(gate) * up
  sluice::cuda::Scratch gates;   // experts: gate x and up x
  sluice::cuda::Scratch sums;    // experts: y of every expert and row
  // Scratch of attention (partial results of a split context), router and recurrent layers.
  sluice::cuda::Scratch partial;
  sluice::cuda::Scratch logits;
  sluice::cuda::Scratch choices;  // of the router: ids and weights
  sluice::cuda::Scratch recurrent;

  sluice::cuda::HostResults results;  // router and row gates of a few rows
  sluice::cuda::Counters counters;

  // Sets the error text: "<what>: <the runtime's words>". Always returns 1.
  int32_t failed(const char* what, cudaError_t error);
  int32_t failed(const std::string& text);
  // After a kernel launch: 0, or 1 with the error text set.
  int32_t launched(const char* kernel) {
    const cudaError_t error_code = cudaGetLastError();
    return error_code == cudaSuccess ? 0 : failed(kernel, error_code);
  }
};

// Returns 1 from the operation when a runtime call fails.
#define SLUICE_CUDA(backend, call)                                                        \
  do {                                                                                    \
    if (const cudaError_t sluice_cuda_error = (call); sluice_cuda_error != cudaSuccess) { \
      return (backend)->failed(#call, sluice_cuda_error);                                 \
    }                                                                                     \
  } while (false)
// Returns 1 from the operation when a step of it, which has set the error text, fails.
#define SLUICE_STEP(call)      \
  do {                         \
    if ((call) != 0) return 1; \
  } while (false)

namespace sluice::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// The operations, one file per group.
int32_t embed(sluice_backend*, const sluice_matrix*, const int32_t*, int64_t, float*);
int32_t rms_norm(sluice_backend*, const float*, const float*, int64_t, int64_t, float, float*);
int32_t multiply(sluice_backend*, const float*, int64_t, int64_t, const sluice_product*, int32_t);
int32_t norm_rope(sluice_backend*, float*, int64_t, int64_t, int64_t, int64_t, const float*, float,
                  const float*, const float*, int64_t);
int32_t kv_store(sluice_backend*, const sluice_span*, int32_t, const float*, const float*);
int32_t attention(sluice_backend*, const sluice_span*, int32_t, const float*, int64_t, float,
                  float*);
int32_t route(sluice_backend*, const float*, int64_t, int64_t, const sluice_matrix*, int64_t,
              int32_t*, float*);
int32_t experts(sluice_backend*, const float*, int64_t, int64_t, const sluice_expert*, int32_t,
                float*);
int32_t add_experts(sluice_backend*, const sluice_expert*, int32_t, int64_t, float*);
int32_t gather(sluice_backend*, const float*, const int32_t*, int64_t, int64_t, float*);
int32_t short_conv(sluice_backend*, const sluice_recurrent_span*, int32_t, const float*,
                   const float*, int64_t, int64_t, float*);
int32_t delta_rule(sluice_backend*, const sluice_recurrent_span*, int32_t,
                   const sluice_delta_heads*, const float*, const float*, const float*,
                   const float*, float, float*);
int32_t gated_norm(sluice_backend*, const float*, const float*, int64_t, int64_t, float, float*);
int32_t sigmoid_gate(sluice_backend*, const float*, int64_t, float*);
int32_t row_gate(sluice_backend*, const float*, int64_t, int64_t, const float*, float*);

// out [rows, weight.rows] = weight x with x as it is, any type of weight: for the router.
int32_t multiply_float(sluice_backend*, const float* x, int64_t rows, int64_t dim,
                       const sluice_matrix& weight, float* out);

// route() whose results stay on the device: ids, weights [rows, k].
int32_t route_on_device(sluice_backend*, const float* x, int64_t rows, int64_t dim,
                        const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights);

int32_t supports_weight(sluice_backend*, uint32_t type);
int32_t supports_cache(sluice_backend*, uint32_t type);

}  // namespace sluice::cuda
