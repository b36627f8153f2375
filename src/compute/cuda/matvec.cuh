// SPDX-License-Identifier: Apache-2.0
// Matrix times a few vectors: bound by reading the weights. A warp takes two rows; its lanes
// take pieces of 32 elements, multiply them as integers and add up in float32: first a lane's
// pieces in order, then the lanes. An activation's result does not depend on the others.
#pragma once

#include "compute/cuda/formats.cuh"
#include "compute/cuda/products.h"

namespace sluice::cuda {

constexpr int kMatvecWarps = 4;
constexpr int kMatvecRows = 2;  // of a warp: they share what is read of the activations

// Halves of one group of 32 that share their scale are one sum.
template <class F>
constexpr bool kWhole = !F::kPairs && F::second(0) == F::first(0) + 16;

__device__ __forceinline__ int dot_16(const uint32_t* w, uint4 x, int sum) {
  sum = __dp4a(static_cast<int>(w[0]), static_cast<int>(x.x), sum);
  sum = __dp4a(static_cast<int>(w[1]), static_cast<int>(x.y), sum);
  sum = __dp4a(static_cast<int>(w[2]), static_cast<int>(x.z), sum);
  return __dp4a(static_cast<int>(w[3]), static_cast<int>(x.w), sum);
}

template <class F>
__device__ __forceinline__ float scaled(int dot, int sum, float scale, float min) {
  if constexpr (F::kOffset != 0) dot -= F::kOffset * sum;
  float v = scale * static_cast<float>(dot);
  if constexpr (F::kHasMin) v -= min * static_cast<float>(sum);
  return v;
}

// Piece . activations, where the piece begins at element `at` of the row; j: its number in a block.
template <class F>
__device__ __forceinline__ float piece_dot(const Piece& p, int j, const int8_t* q,
                                           const ActGroup* groups) {
  const int a = F::first(j), b = F::second(j);
  const uint4 xa = __ldg(reinterpret_cast<const uint4*>(q + a));
  const uint4 xb = __ldg(reinterpret_cast<const uint4*>(q + b));
  const int2 ga = __ldg(reinterpret_cast<const int2*>(groups + a / 32));
  if constexpr (kWhole<F>) {
    const int dot = dot_16(p.w + 4, xb, dot_16(p.w, xa, 0));
    const int sum = static_cast<int16_t>(ga.y & 0xffff) + (ga.y >> 16);
    return __int_as_float(ga.x) * scaled<F>(dot, sum, p.scale[0], p.min[0]);
  } else {
    const int2 gb = __ldg(reinterpret_cast<const int2*>(groups + b / 32));
    const int sum_a = a / 16 % 2 ? ga.y >> 16 : static_cast<int16_t>(ga.y & 0xffff);
    const int sum_b = b / 16 % 2 ? gb.y >> 16 : static_cast<int16_t>(gb.y & 0xffff);
    return __int_as_float(ga.x) * scaled<F>(dot_16(p.w, xa, 0), sum_a, p.scale[0], p.min[0]) +
           __int_as_float(gb.x) * scaled<F>(dot_16(p.w + 4, xb, 0), sum_b, p.scale[1], p.min[1]);
  }
}

template <class F, int kSlots>
__global__ void __launch_bounds__(kMatvecWarps* kWarp)
    matvec_kernel(const __grid_constant__ Jobs jobs, const Acts x, const Grids* grids) {
  // Rows of a warp, and pieces of each that are asked for together.
  constexpr int kRows = kMatvecRows;
  constexpr int kAhead = kSlots == 1 && F::kElements == 32 ? 2 : 1;
  constexpr int kPieces = F::kElements / 32;
  const Job& job = jobs.job[blockIdx.y];
  const int lane = threadIdx.x % kWarp;
  const int row = (blockIdx.x * kMatvecWarps + threadIdx.x / kWarp) * kRows;
  const int fine = job.fine ? 1 : 0;
  const int begin = blockIdx.z * (kSlots >> fine);  // of the job's activations
  if (row >= job.weight_rows || begin >= job.count) return;

  const int8_t* q[kSlots];
  const ActGroup* groups[kSlots];
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    const int i = min(begin + (s >> fine), job.count - 1);
    const int r = job.rows ? __ldg(job.rows + i) : job.first + i;
    const int64_t packed = int64_t{r} * x.copies + (s & fine);
    q[s] = x.q + packed * x.stride;
    groups[s] = x.groups + packed * (x.stride / 32);
  }
  const uint8_t* weight[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    weight[r] = job.weight + min(row + r, job.weight_rows - 1) * jobs.row_bytes;

  float sum[kRows][kSlots] = {};
  const int pieces = jobs.cols / 32;
  const int j = lane % kPieces;
  for (int base = lane; base < pieces; base += kWarp * kAhead) {
    typename F::Raw raw[kAhead][kRows];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int piece = base + kWarp * u;
      if (piece >= pieces) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        raw[u][r] = F::load(weight[r] + static_cast<int64_t>(piece / kPieces) * F::kBytes, j);
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int piece = base + kWarp * u;
      if (piece >= pieces) continue;
      const int at = piece / kPieces * F::kElements;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        Piece p;
        F::unpack(raw[u][r], j, grids, p);
#pragma unroll
        for (int s = 0; s < kSlots; ++s)
          sum[r][s] += piece_dot<F>(p, j, q[s] + at, groups[s] + at / 32);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) sum[r][s] = warp_sum(sum[r][s]);
    if (row + r >= job.weight_rows) break;
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const int i = begin + (s >> fine);
      if (lane != s || i >= job.count || (s & fine)) continue;
      float v = sum[r][s];
      if (s + 1 < kSlots && fine) v += sum[r][s + 1 < kSlots ? s + 1 : s];
      float* out = job.out + int64_t{i} * job.out_stride + row + r;
      *out = job.accumulate ? *out + v : v;
    }
  }
}

template <class F>
int32_t matvec(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots) {
  int rows = 0;
  for (int i = 0; i < jobs.count; ++i)
    rows = rows < jobs.job[i].weight_rows ? jobs.job[i].weight_rows : rows;
  const auto launch = [&](auto kernel, int at_once) {
    const dim3 grid(static_cast<unsigned>(ceil_div(rows, kMatvecWarps * kMatvecRows)),
                    static_cast<unsigned>(jobs.count),
                    static_cast<unsigned>(ceil_div(slots, at_once)));
    kernel<<<grid, kMatvecWarps * kWarp, 0, backend->stream>>>(jobs, x, backend->grids);
  };
  if (slots <= 1) {
    launch(matvec_kernel<F, 1>, 1);
  } else if (slots <= 2) {
    launch(matvec_kernel<F, 2>, 2);
  } else if (slots <= 4) {
    launch(matvec_kernel<F, 4>, 4);
  } else {
    launch(matvec_kernel<F, 8>, 8);
  }
  return backend->launched("matvec");
}

}  // namespace sluice::cuda
