// SPDX-License-Identifier: Apache-2.0
// The router: logits in float32 from activations as they are, then the k largest of every row.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "compute/cuda/instance.h"
#include "compute/cuda/reduce.cuh"
#include "quant/quant.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMaxExperts = 2048;

// One warp computes kExperts x kRows logits. Every logit is one sum per lane and a sum over the
// lanes, so that its bits do not depend on the others. kWide: floats per load.
template <int kWide, int kExperts, int kRows>
__global__ __launch_bounds__(kThreads) void router_logits(const float* x, int64_t rows, int64_t dim,
                                                          const float* weight, int64_t experts,
                                                          float* logits) {
  const int64_t first = (int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp) * kExperts;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  if (first >= experts) return;
  const int lane = threadIdx.x % kWarp;
  float sums[kExperts][kRows] = {};
#pragma unroll 4
  for (int64_t i = lane * kWide; i < dim; i += kWarp * kWide) {
    float w[kExperts][kWide], a[kRows][kWide];
    // Experts and rows beyond the last are read as the last.
#pragma unroll
    for (int e = 0; e < kExperts; ++e) {
      const float* from = weight + min(first + e, experts - 1) * dim + i;
      if constexpr (kWide == 4)
        *reinterpret_cast<float4*>(w[e]) = *reinterpret_cast<const float4*>(from);
      else
        w[e][0] = *from;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float* from = x + min(first_row + r, rows - 1) * dim + i;
      if constexpr (kWide == 4)
        *reinterpret_cast<float4*>(a[r]) = *reinterpret_cast<const float4*>(from);
      else
        a[r][0] = *from;
    }
#pragma unroll
    for (int e = 0; e < kExperts; ++e)
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int c = 0; c < kWide; ++c) sums[e][r] += w[e][c] * a[r][c];
  }
#pragma unroll
  for (int e = 0; e < kExperts; ++e)
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float sum = warp_sum(sums[e][r]);
      if (lane == 0 && first + e < experts && first_row + r < rows)
        logits[(first_row + r) * experts + first + e] = sum;
    }
}

// One warp per row. Lane l holds the logits of experts l, l + 32, ...; NaN counts as the least.
template <int kPerLane>
__global__ __launch_bounds__(kThreads) void choose_experts(const float* logits, int64_t rows,
                                                           int experts, int k, int32_t* ids,
                                                           float* weights) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int lane = threadIdx.x % kWarp;
  float own[kPerLane];
  uint64_t left = 0;  // bit i: own[i] is an expert that was not chosen yet
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * kWarp + lane;
    own[i] = -INFINITY;
    if (expert >= experts) continue;
    const float logit = logits[row * experts + expert];
    if (logit > -INFINITY) own[i] = logit;
    left |= uint64_t{1} << i;
  }
  float largest = 0, total = 0;
  for (int n = 0; n < k; ++n) {
    float best = -INFINITY;
    int id = INT32_MAX;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if ((left >> i & 1) && (own[i] > best || id == INT32_MAX)) {
        best = own[i];
        id = i * kWarp + lane;
      }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, best, offset);
      const int other_id = __shfl_xor_sync(kAllLanes, id, offset);
      if (other > best || (other == best && other_id < id)) {
        best = other;
        id = other_id;
      }
    }
    if (id % kWarp == lane) left &= ~(uint64_t{1} << (id / kWarp));
    if (n == 0) largest = best;
    // The softmax's denominator cancels in the renormalisation over the chosen.
    const float weight = expf(best - largest);
    total += weight;
    if (lane == n % kWarp) {
      ids[row * k + n] = id;
      weights[row * k + n] = weight;
    }
  }
  for (int n = lane; n < k; n += kWarp) weights[row * k + n] /= total;  // what this lane wrote
}

template <int kWide>
void launch_logits(cudaStream_t stream, const float* x, int64_t rows, int64_t dim,
                   const float* weight, int64_t experts, float* logits) {
  constexpr int kFew = 1, kMany = 4;
  if (rows < kMany) {
    const dim3 grid(static_cast<unsigned>(ceil_div(experts, kWarps * kFew)),
                    static_cast<unsigned>(rows));
    router_logits<kWide, kFew, 1>
        <<<grid, kThreads, 0, stream>>>(x, rows, dim, weight, experts, logits);
  } else {
    const dim3 grid(static_cast<unsigned>(ceil_div(experts, kWarps * kMany)),
                    static_cast<unsigned>(ceil_div(rows, kMany)));
    router_logits<kWide, kMany, kMany>
        <<<grid, kThreads, 0, stream>>>(x, rows, dim, weight, experts, logits);
  }
}

bool aligned_16(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

}  // namespace

int32_t route_on_device(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                        const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights) {
  if (rows == 0) return 0;
  const int64_t experts = weight->rows;
  if (experts > kMaxExperts)
    return backend->failed("route: " + std::to_string(experts) + " experts: at most " +
                           std::to_string(kMaxExperts) + " are supported");
  if (k < 1 || k > experts)
    return backend->failed("route: " + std::to_string(k) + " of " + std::to_string(experts) +
                           " experts cannot be chosen");
  // Routers are float32 almost everywhere; others, and those at odd addresses, are decoded.
  const bool decoded = weight->type != static_cast<uint32_t>(quant::Type::kF32) ||
                       reinterpret_cast<uintptr_t>(weight->data) % sizeof(float) != 0;
  const int64_t decoded_floats = decoded ? ceil_div(experts * dim, 4) * 4 : 0;
  auto* scratch = backend->logits.reserve_array<float>(backend, decoded_floats + rows * experts);
  if (!scratch) return 1;
  const float* floats = static_cast<const float*>(weight->data);
  if (decoded) {
    static thread_local std::vector<int32_t> all;
    all.resize(static_cast<size_t>(experts));
    std::iota(all.begin(), all.end(), 0);
    SLUICE_STEP(embed(backend, weight, all.data(), experts, scratch));
    floats = scratch;
  }
  float* logits = scratch + decoded_floats;
  if (dim % 4 == 0 && aligned_16(x) && aligned_16(floats))
    launch_logits<4>(backend->stream, x, rows, dim, floats, experts, logits);
  else
    launch_logits<1>(backend->stream, x, rows, dim, floats, experts, logits);
  SLUICE_STEP(backend->launched("route"));
  const auto choose = experts <= 128   ? choose_experts<4>
                      : experts <= 512 ? choose_experts<16>
                                       : choose_experts<64>;
  choose<<<static_cast<unsigned>(ceil_div(rows, kWarps)), kThreads, 0, backend->stream>>>(
      logits, rows, static_cast<int>(experts), static_cast<int>(k), ids, weights);
  return backend->launched("route");
}

int32_t route(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
              const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights) {
  if (rows == 0) return 0;
  const auto count = static_cast<size_t>(rows * k);
  // Ids and weights side by side: one copy to the host.
  auto* chosen = static_cast<uint8_t*>(
      backend->choices.reserve(backend, count * (sizeof(int32_t) + sizeof(float))));
  if (!chosen) return 1;
  SLUICE_STEP(route_on_device(backend, x, rows, dim, weight, k, reinterpret_cast<int32_t*>(chosen),
                              reinterpret_cast<float*>(chosen + count * sizeof(int32_t))));
  static thread_local std::vector<uint8_t> host;
  host.resize(count * (sizeof(int32_t) + sizeof(float)));
  SLUICE_STEP(backend->mailbox.fetch(backend, host.data(), chosen, host.size()));
  std::memcpy(ids, host.data(), count * sizeof(int32_t));
  std::memcpy(weights, host.data() + count * sizeof(int32_t), count * sizeof(float));
  return 0;
}

}  // namespace sluice::cuda
