// SPDX-License-Identifier: Apache-2.0
// Norms, the rotary embedding and gates: operations that read a row once and write one.
#include <cstring>

#include "compute/cuda/instance.h"
#include "compute/cuda/last_block.cuh"
#include "compute/cuda/launch.h"
#include "compute/cuda/reduce.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>(ceil_div(items, per_block));
}

// One block per row. x and out may be the same memory: each thread writes what only it reads.
__global__ __launch_bounds__(kThreads) void rms_norm_rows(const float* x, const float* weight,
                                                          int64_t dim, float eps, float* out) {
  allow_next();
  await_previous();
  const float* from = x + blockIdx.x * dim;
  float* to = out + blockIdx.x * dim;
  float squares = 0;
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < dim; i += kThreads) squares += from[i] * from[i];
  const float scale = norm_scale(block_sum<kThreads>(squares), dim, eps);
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < dim; i += kThreads) to[i] = from[i] * scale * weight[i];
}

// One warp per row and head. A lane owns pairs (i, i + rotary / 2), and elements that are not
// rotated.
__global__ __launch_bounds__(kThreads) void norm_rope_heads(float* x, int64_t rows, int64_t heads,
                                                            int64_t head_dim, int64_t stride,
                                                            const float* weight, float eps,
                                                            const float* cosines,
                                                            const float* sines, int64_t rotary) {
  allow_next();
  await_previous();
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (item >= rows * heads) return;
  const int lane = threadIdx.x % kWarp;
  const int64_t row = item / heads, half = rotary / 2;
  float* head = x + row * stride + item % heads * head_dim;
  float scale = 1;
  if (weight) {
    float squares = 0;
    for (int64_t i = lane; i < head_dim; i += kWarp) squares += head[i] * head[i];
    scale = norm_scale(warp_sum(squares), head_dim, eps);
  }
  // All reads of the sum lie before the first write: the shuffles of warp_sum order them.
  for (int64_t i = lane; i < half; i += kWarp) {
    float a = head[i], b = head[i + half];
    if (weight) {
      a = a * scale * weight[i];
      b = b * scale * weight[i + half];
    }
    const float c = cosines[row * half + i], s = sines[row * half + i];
    head[i] = a * c - b * s;
    head[i + half] = b * c + a * s;
  }
  if (weight)
    for (int64_t i = rotary + lane; i < head_dim; i += kWarp) head[i] = head[i] * scale * weight[i];
}

// One warp per row.
__global__ __launch_bounds__(kThreads) void gated_norm_rows(const float* x, const float* weight,
                                                            int64_t rows, int64_t dim, float eps,
                                                            float* gate) {
  allow_next();
  await_previous();
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int lane = threadIdx.x % kWarp;
  const float* from = x + row * dim;
  float* to = gate + row * dim;
  float squares = 0;
#pragma unroll 4
  for (int64_t i = lane; i < dim; i += kWarp) squares += from[i] * from[i];
  const float scale = norm_scale(warp_sum(squares), dim, eps);
#pragma unroll 4
  for (int64_t i = lane; i < dim; i += kWarp) {
    const float g = to[i];
    to[i] = g * sigmoid(g) * (from[i] * scale * weight[i]);
  }
}

__global__ __launch_bounds__(kThreads) void sigmoid_gate_floats(const float* gate, int64_t count,
                                                                float* x) {
  allow_next();
  await_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) x[i] = x[i] * sigmoid(gate[i]);
}

// One warp per row. With a flag `out` is the host's memory.
__global__ __launch_bounds__(kThreads) void row_gates(const float* x, int64_t rows, int64_t dim,
                                                      const float* weight, float* out,
                                                      uint32_t* counter, uint32_t* flag,
                                                      uint32_t ticket) {
  allow_next();
  await_previous();
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (row < rows) {
    const float* from = x + row * dim;
    float sum = 0;
#pragma unroll 8
    for (int64_t i = lane; i < dim; i += kWarp) sum += weight[i] * from[i];
    sum = warp_sum(sum);
    if (lane == 0) out[row] = sigmoid(sum);
  }
  if (flag) answer_host(counter, gridDim.x, flag, ticket);
}

}  // namespace

int32_t rms_norm(sluice_backend* backend, const float* x, const float* weight, int64_t rows,
                 int64_t dim, float eps, float* out) {
  if (rows == 0) return 0;
  return launch_after(backend, "rms_norm", rms_norm_rows, static_cast<unsigned>(rows), kThreads, x,
                      weight, dim, eps, out);
}

int32_t norm_rope(sluice_backend* backend, float* x, int64_t rows, int64_t heads, int64_t head_dim,
                  int64_t stride, const float* weight, float eps, const float* cos,
                  const float* sin, int64_t rotary) {
  if (rows * heads == 0) return 0;
  return launch_after(backend, "norm_rope", norm_rope_heads, blocks_for(rows * heads, kWarps),
                      kThreads, x, rows, heads, head_dim, stride, weight, eps, cos, sin, rotary);
}

int32_t gated_norm(sluice_backend* backend, const float* x, const float* weight, int64_t rows,
                   int64_t dim, float eps, float* gate) {
  if (rows == 0) return 0;
  return launch_after(backend, "gated_norm", gated_norm_rows, blocks_for(rows, kWarps), kThreads, x,
                      weight, rows, dim, eps, gate);
}

int32_t sigmoid_gate(sluice_backend* backend, const float* gate, int64_t count, float* x) {
  if (count == 0) return 0;
  return launch_after(backend, "sigmoid_gate", sigmoid_gate_floats, blocks_for(count, kThreads),
                      kThreads, gate, count, x);
}

int32_t row_gate(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const float* weight, float* out) {
  if (rows == 0) return 0;
  const unsigned blocks = blocks_for(rows, kWarps);
  const size_t bytes = static_cast<size_t>(rows) * sizeof(float);
  if (bytes <= HostResults::kBytes) {
    HostResults& results = backend->results;
    uint32_t* counter = backend->counters.reserve(backend, 1);
    if (!counter || !results.begin(backend)) return 1;
    SLUICE_STEP(launch_after(backend, "row_gate", row_gates, blocks, kThreads, x, rows, dim, weight,
                             reinterpret_cast<float*>(results.data()), counter, results.flag(),
                             results.ticket()));
    SLUICE_STEP(results.wait(backend, "row_gate"));
    std::memcpy(out, results.data(), bytes);
    return 0;
  }
  auto* gates = backend->logits.reserve_array<float>(backend, rows);
  if (!gates) return 1;
  SLUICE_STEP(launch_after(backend, "row_gate", row_gates, blocks, kThreads, x, rows, dim, weight,
                           gates, static_cast<uint32_t*>(nullptr), static_cast<uint32_t*>(nullptr),
                           0));
  return backend->mailbox.fetch(backend, out, gates, bytes);
}

}  // namespace sluice::cuda
