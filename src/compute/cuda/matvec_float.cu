// SPDX-License-Identifier: Apache-2.0
// Rows of float weights times a few vectors, in float32 throughout.
#include "compute/cuda/floats.cuh"
#include "compute/cuda/products.h"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4;

// Several rows share what is read of several vectors.
__host__ __device__ constexpr int rows_of_warp(int slots) {
  return slots > 1 ? 2 : 1;
}

template <class W, int kSlots>
__global__ void __launch_bounds__(kWarps* kWarp)
    matvec_float_kernel(const __grid_constant__ Jobs jobs, const Acts x) {
  constexpr int kRows = rows_of_warp(kSlots);
  const Job& job = jobs.job[blockIdx.y];
  const int lane = threadIdx.x % kWarp;
  const int row = (blockIdx.x * kWarps + threadIdx.x / kWarp) * kRows;
  const int begin = blockIdx.z * kSlots;
  if (row >= job.weight_rows || begin >= job.count) return;
  const float* from[kSlots];
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    const int i = min(begin + s, job.count - 1);
    const int r = job.rows ? __ldg(job.rows + i) : job.first + i;
    from[s] = x.floats + int64_t{r} * x.dim;
  }
  const uint8_t* weight[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    weight[r] = job.weight + min(row + r, job.weight_rows - 1) * int64_t{job.row_bytes};
  float sum[kRows][kSlots] = {};
  for (int at = 8 * lane; at < jobs.cols; at += 8 * kWarp) {
    float w[kRows][8];
#pragma unroll
    for (int r = 0; r < kRows; ++r) load_weights<W>(weight[r], at, jobs.cols, w[r]);
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      float v[8];
      load_floats(from[s], at, jobs.cols, v);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[r][s] = fmaf(w[r][i], v[i], sum[r][s]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const float v = warp_sum(sum[r][s]);
      if (lane != s || begin + s >= job.count || row + r >= job.weight_rows) continue;
      float* out = job.out + int64_t{begin + s} * job.weight_rows + row + r;
      *out = job.accumulate ? *out + v : v;
    }
  }
}

template <class W>
int32_t launch(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots) {
  int rows = 0;
  for (int i = 0; i < jobs.count; ++i)
    rows = rows < jobs.job[i].weight_rows ? jobs.job[i].weight_rows : rows;
  const int at_once = slots <= 1 ? 1 : slots <= 4 ? 4 : 8;
  const dim3 grid(static_cast<unsigned>(ceil_div(rows, kWarps * rows_of_warp(at_once))),
                  static_cast<unsigned>(jobs.count),
                  static_cast<unsigned>(ceil_div(slots, at_once)));
  if (at_once == 1) {
    matvec_float_kernel<W, 1><<<grid, kWarps * kWarp, 0, backend->stream>>>(jobs, x);
  } else if (at_once == 4) {
    matvec_float_kernel<W, 4><<<grid, kWarps * kWarp, 0, backend->stream>>>(jobs, x);
  } else {
    matvec_float_kernel<W, 8><<<grid, kWarps * kWarp, 0, backend->stream>>>(jobs, x);
  }
  return backend->launched("matvec_float");
}

}  // namespace

int32_t matvec_float(sluice_backend* backend, FloatType type, const Jobs& jobs, const Acts& x,
                     int slots) {
  switch (type) {
    case FloatType::kF32:
      return launch<WeightF32>(backend, jobs, x, slots);
    case FloatType::kF16:
      return launch<WeightF16>(backend, jobs, x, slots);
    case FloatType::kBF16:
      return launch<WeightBF16>(backend, jobs, x, slots);
  }
  return backend->failed("matvec_float: a type without kernels");
}

}  // namespace sluice::cuda
