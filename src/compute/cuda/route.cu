// SPDX-License-Identifier: Apache-2.0
// The router: logits in float32 from activations as they are, then the k largest of every row.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "compute/cuda/instance.h"
#include "compute/cuda/last_block.cuh"
#include "compute/cuda/launch.h"
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
__device__ __forceinline__ void compute_logits(const float* x, int64_t rows, int64_t dim,
                                               const float* weight, int64_t experts, int64_t first,
                                               int64_t first_row, float* logits) {
  if (first >= experts) return;
  const int lane = threadIdx.x % kWarp;
  float sums[kExperts][kRows] = {};
  [[maybe_unused]] constexpr int kUnrolled = kExperts * kRows == 1 ? 8 : 4;
#pragma unroll(kUnrolled)
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

template <int kWide, int kExperts, int kRows>
__global__ __launch_bounds__(kThreads) void router_logits(const float* x, int64_t rows, int64_t dim,
                                                          const float* weight, int64_t experts,
                                                          float* logits) {
  allow_next();
  await_previous();
  compute_logits<kWide, kExperts, kRows>(
      x, rows, dim, weight, experts,
      (int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp) * kExperts, int64_t{blockIdx.y} * kRows,
      logits);
}

// One warp chooses for one row. Lane l holds the logits of experts l, l + 32, ...; NaN counts as
// the least.
template <int kPerLane>
__device__ __forceinline__ void choose(const float* logits, int experts, int k, int lane,
                                       int32_t* ids, float* weights) {
  float own[kPerLane];
  uint64_t left = 0;  // bit i: own[i] is an expert that was not chosen yet
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * kWarp + lane;
    own[i] = -INFINITY;
    if (expert >= experts) continue;
    const float logit = __ldcg(logits + expert);  // from another block, perhaps
    if (logit > -INFINITY) own[i] = logit;
    left |= uint64_t{1} << i;
  }
  float largest = 0, total = 0, kept = 0;  // kept: the weight of choice `lane`
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
    if (lane != n % kWarp) continue;
    ids[n] = id;
    if (n < kWarp)
      kept = weight;
    else
      weights[n] = weight;
  }
  for (int n = lane; n < k; n += kWarp) weights[n] = (n < kWarp ? kept : weights[n]) / total;
}

// One warp per row.
template <int kPerLane>
__global__ __launch_bounds__(kThreads) void choose_experts(const float* logits, int64_t rows,
                                                           int experts, int k, int32_t* ids,
                                                           float* weights) {
  allow_next();
  await_previous();
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  choose<kPerLane>(logits + row * experts, experts, k, threadIdx.x % kWarp, ids + row * k,
                   weights + row * k);
}

// A few rows in one kernel: of the blocks of a row (blockIdx.y) the last one chooses. With a flag
// ids and weights are the host's memory. counters: one per row, and one more.
template <int kWide, int kPerLane>
__global__ __launch_bounds__(kThreads) void route_few(const float* x, int64_t dim,
                                                      const float* weight, int experts,
                                                      float* logits, int k, int32_t* ids,
                                                      float* weights, uint32_t* counters,
                                                      uint32_t* flag, uint32_t ticket) {
  allow_next();
  await_previous();
  const int row = static_cast<int>(blockIdx.y);
  logits += int64_t{row} * experts;
  compute_logits<kWide, 1, 1>(x + row * dim, 1, dim, weight, experts,
                              int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp, 0, logits);
  if (!is_last_block(counters + row, gridDim.x)) return;
  if (threadIdx.x < kWarp)
    choose<kPerLane>(logits, experts, k, threadIdx.x, ids + row * k, weights + row * k);
  if (flag) answer_host(counters + gridDim.y, gridDim.y, flag, ticket);
}

constexpr int64_t kFewRows = 8;

// Where a router's answer goes.
struct Answer {
  int32_t* ids;
  float* weights;
  uint32_t* flag;  // nullptr: they are device memory
  uint32_t ticket;
};

template <int kWide>
int32_t launch_few(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                   const float* weight, int64_t experts, float* logits, int64_t k,
                   uint32_t* counters, const Answer& answer) {
  const auto kernel = experts <= 128   ? route_few<kWide, 4>
                      : experts <= 512 ? route_few<kWide, 16>
                                       : route_few<kWide, 64>;
  const dim3 grid(static_cast<unsigned>(ceil_div(experts, kWarps)), static_cast<unsigned>(rows));
  return launch_after(backend, "route", kernel, grid, kThreads, x, dim, weight,
                      static_cast<int>(experts), logits, static_cast<int>(k), answer.ids,
                      answer.weights, counters, answer.flag, answer.ticket);
}

template <int kWide>
int32_t launch_many(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                    const float* weight, int64_t experts, float* logits) {
  constexpr int kMany = 4;
  const dim3 grid(static_cast<unsigned>(ceil_div(experts, kWarps * kMany)),
                  static_cast<unsigned>(ceil_div(rows, kMany)));
  return launch_after(backend, "route", router_logits<kWide, kMany, kMany>, grid, kThreads, x, rows,
                      dim, weight, experts, logits);
}

bool aligned_16(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

int32_t route_to(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const sluice_matrix* weight, int64_t k, const Answer& answer) {
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
  const bool wide = dim % 4 == 0 && aligned_16(x) && aligned_16(floats);
  if (rows <= kFewRows) {
    uint32_t* counters = backend->counters.reserve(backend, kFewRows + 1);
    if (!counters) return 1;
    return (wide ? launch_few<4> : launch_few<1>)(backend, x, rows, dim, floats, experts, logits, k,
                                                  counters, answer);
  }
  SLUICE_STEP(
      (wide ? launch_many<4> : launch_many<1>)(backend, x, rows, dim, floats, experts, logits));
  const auto choose_all = experts <= 128   ? choose_experts<4>
                          : experts <= 512 ? choose_experts<16>
                                           : choose_experts<64>;
  return launch_after(backend, "route", choose_all, static_cast<unsigned>(ceil_div(rows, kWarps)),
                      kThreads, logits, rows, static_cast<int>(experts), static_cast<int>(k),
                      answer.ids, answer.weights);
}

}  // namespace

int32_t route_on_device(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                        const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights) {
  if (rows == 0) return 0;
  return route_to(backend, x, rows, dim, weight, k, {ids, weights, nullptr, 0});
}

int32_t route(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
              const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights) {
  if (rows == 0) return 0;
  const auto count = static_cast<size_t>(rows * k);
  // Ids and weights side by side.
  const size_t bytes = count * (sizeof(int32_t) + sizeof(float));
  const auto answer_at = [&](uint8_t* memory, uint32_t* flag, uint32_t ticket) {
    return Answer{reinterpret_cast<int32_t*>(memory),
                  reinterpret_cast<float*>(memory + count * sizeof(int32_t)), flag, ticket};
  };
  const auto take = [&](const uint8_t* memory) {
    std::memcpy(ids, memory, count * sizeof(int32_t));
    std::memcpy(weights, memory + count * sizeof(int32_t), count * sizeof(float));
    return 0;
  };
  if (rows <= kFewRows && k <= kWarp && bytes <= HostResults::kBytes) {
    HostResults& results = backend->results;
    if (!results.begin(backend)) return 1;
    SLUICE_STEP(route_to(backend, x, rows, dim, weight, k,
                         answer_at(results.data(), results.flag(), results.ticket())));
    SLUICE_STEP(results.wait(backend, "route"));
    return take(results.data());
  }
  auto* chosen = static_cast<uint8_t*>(backend->choices.reserve(backend, bytes));
  if (!chosen) return 1;
  SLUICE_STEP(route_to(backend, x, rows, dim, weight, k, answer_at(chosen, nullptr, 0)));
  static thread_local std::vector<uint8_t> host;
  host.resize(bytes);
  SLUICE_STEP(backend->mailbox.fetch(backend, host.data(), chosen, bytes));
  return take(host.data());
}

}  // namespace sluice::cuda
