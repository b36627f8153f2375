// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compute/cuda/matvec.cuh"
#include "compute/cuda/quantize.cuh"
#include "compute/cuda/token.h"

namespace sluice::cuda {

// A warp, or a part of it, takes the same row of gate and up. The block that finishes the last of
// 32 rows quantises them.
template <class F>
__global__ void __launch_bounds__(kMatvecWarps* kWarp)
    token_gates_kernel(const __grid_constant__ TokenGates gates, const Acts x, const Grids* grids,
                       float* values, int8_t* q, ActGroup* groups, const UnitOrders orders,
                       int32_t stride, int32_t* arrivals) {
  allow_next();
  const int e = blockIdx.y;
  const int log = lanes_of_row<F>(gates.cols);
  const int lane = threadIdx.x & ((1 << log) - 1);
  const int row = (blockIdx.x * kMatvecWarps * kWarp + threadIdx.x) >> log;
  const uint8_t* const weight[2] = {gates.gate[e] + row * gates.row_bytes,
                                    gates.up[e] + row * gates.row_bytes};
  prefetch_row(weight[0], gates.row_bytes, lane, 1 << log);
  prefetch_row(weight[1], gates.row_bytes, lane, 1 << log);
  await_previous();
  const int64_t packed = int64_t{gates.row} * x.copies;
  const int8_t* const from[1] = {order_of<F>(x, packed)};
  const ActGroup* const from_groups[1] = {x.groups + packed * (x.stride / 32)};
  float sum[2][1] = {};
  add_products<F>(weight, from, from_groups, gates.cols, lane, 1 << log, grids, sum);
  const float gate = lanes_sum(sum[0][0], 1 << log), up = lanes_sum(sum[1][0], 1 << log);
  float* to = values + int64_t{e} * gates.hidden;
  if (lane == 0) to[row] = silu_times(gate, up);

  // Rows of a block lie in one group of 32.
  __shared__ bool last;
  const int block_rows = kMatvecWarps * kWarp >> log;
  const int group = blockIdx.x * block_rows / 32;
  int32_t* arrived = arrivals + e * (gates.hidden / 32) + group;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(arrived, 1) == 32 / block_rows - 1;
  __syncthreads();
  if (!last || threadIdx.x >= kWarp) return;
  __threadfence();
  if (threadIdx.x == 0) *arrived = 0;
  const bool exists = threadIdx.x < kGroupLanes;
  const int at = 32 * group + 4 * static_cast<int>(threadIdx.x % kGroupLanes);
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = __ldcg(to + at + i);
  quantize_to(v, exists, e, at, 1, stride, q, groups, orders);
}

// Each warp of a block has an expert, all have the same rows; then the experts are added in order.
template <class F>
__global__ void __launch_bounds__(kTokenExperts* kWarp)
    token_downs_kernel(const __grid_constant__ TokenDowns downs, const Acts hidden,
                       const Grids* grids, float* out) {
  constexpr int kRows = kMatvecRows;
  constexpr int kMost = kWarp / 8 * kRows;  // rows of a block
  __shared__ float part[kTokenExperts][kMost];
  allow_next();
  const int e = threadIdx.x / kWarp;
  const int log = lanes_of_row<F>(downs.cols);
  const int lane = threadIdx.x & ((1 << log) - 1);
  const int block_rows = (kWarp >> log) * kRows;
  const int local = static_cast<int>(threadIdx.x % kWarp >> log) * kRows;
  const int first = blockIdx.x * block_rows;
  const uint8_t* weight[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    weight[r] = downs.down[e] + min(first + local + r, downs.rows - 1) * downs.row_bytes;
    prefetch_row(weight[r], downs.row_bytes, lane, 1 << log);
  }
  await_previous();
  const int8_t* const from[1] = {order_of<F>(hidden, e)};
  const ActGroup* const from_groups[1] = {hidden.groups + int64_t{e} * (hidden.stride / 32)};
  float sum[kRows][1] = {};
  add_products<F>(weight, from, from_groups, downs.cols, lane, 1 << log, grids, sum);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float v = lanes_sum(sum[r][0], 1 << log);
    if (lane == 0) part[e][local + r] = v;
  }
  __syncthreads();
  const int row = first + static_cast<int>(threadIdx.x);
  if (threadIdx.x >= block_rows || row >= downs.rows) return;
  float v = out[row];
  for (int i = 0; i < downs.count; ++i) v = fmaf(downs.weight[i], part[i][threadIdx.x], v);
  out[row] = v;
}

template <class F>
int32_t token_gates(sluice_backend* backend, const TokenGates& gates, const Acts& x, float* values,
                    const Acts& hidden, const UnitOrders& orders) {
  const int block_rows = kMatvecWarps * kWarp >> lanes_of_row<F>(gates.cols);
  const dim3 grid(static_cast<unsigned>(gates.hidden / block_rows),
                  static_cast<unsigned>(gates.count));
  return launch_after(backend, "token_gates", token_gates_kernel<F>, grid, kMatvecWarps * kWarp,
                      gates, x, backend->grids, values, const_cast<int8_t*>(hidden.q),
                      const_cast<ActGroup*>(hidden.groups), orders,
                      static_cast<int32_t>(hidden.stride), backend->arrivals);
}

template <class F>
int32_t token_downs(sluice_backend* backend, const TokenDowns& downs, const Acts& hidden,
                    float* out) {
  const int block_rows = (kWarp >> lanes_of_row<F>(downs.cols)) * kMatvecRows;
  return launch_after(backend, "token_downs", token_downs_kernel<F>,
                      static_cast<unsigned>(ceil_div(downs.rows, block_rows)),
                      static_cast<unsigned>(downs.count * kWarp), downs, hidden, backend->grids,
                      out);
}

}  // namespace sluice::cuda
