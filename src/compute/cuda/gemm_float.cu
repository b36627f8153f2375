// SPDX-License-Identifier: Apache-2.0
// Float weights times many vectors on tensor cores. Both sides become sums of two bf16 numbers (a
// bf16 weight is one), whose products are added up in float32: about 16 bits of every factor count.
#include "compute/cuda/floats.cuh"
#include "compute/cuda/mma.cuh"
#include "compute/cuda/products.h"

namespace sluice::cuda {
namespace {

constexpr int kRows = 64;  // of weights in a block of threads: 16 for each warp
constexpr int kSlots = kTileSlots;
constexpr int kStep = 32;  // elements of a row at a time
constexpr int kThreads = 128;
constexpr int kPitch = kStep + 8;  // bf16 from row to row: no two of 8 rows share banks
constexpr int kTiles = kSlots / 8;
constexpr int kParts = kStep / 8;  // of eight elements in a row of a step
constexpr int kLoads = kRows * kParts / kThreads;
static_assert(kRows == kSlots);

using Half2 = uint32_t;  // two bf16

__device__ __forceinline__ Half2 pack(float a, float b) {
  const __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&v);
}

// v = high + low, eight elements each.
__device__ __forceinline__ void split(const float (&v)[8], uint4& high, uint4& low) {
  Half2 h[4], l[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    h[i] = pack(v[2 * i], v[2 * i + 1]);
    const float a = bfloat_bits(h[i] & 0xffff), b = bfloat_bits(h[i] >> 16);
    // What is infinite or no number stays so through the high part alone.
    l[i] = pack(isfinite(a) ? v[2 * i] - a : 0.0f, isfinite(b) ? v[2 * i + 1] - b : 0.0f);
  }
  high = make_uint4(h[0], h[1], h[2], h[3]);
  low = make_uint4(l[0], l[1], l[2], l[3]);
}

template <class W>
__global__ void __launch_bounds__(kThreads)
    gemm_float_kernel(const __grid_constant__ Jobs jobs, const Acts x) {
  __shared__ __align__(16) uint16_t weights[2][kRows * kPitch];
  __shared__ __align__(16) uint16_t acts[2][kSlots * kPitch];
  const Job& job = jobs.of_tile(static_cast<int>(blockIdx.x));
  const int slot_base = (static_cast<int>(blockIdx.x) - job.tile) * kSlots;
  const int row_base = blockIdx.y * kRows;
  if (row_base >= job.weight_rows || slot_base >= job.count) return;
  const int here = min(kSlots, job.count - slot_base);
  const int tiles = (here + 7) / 8;
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const int part = thread % kParts;

  const uint8_t* weight[kLoads];
  const float* from[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int at = thread / kParts + i * (kThreads / kParts);
    weight[i] = job.weight + min(row_base + at, job.weight_rows - 1) * int64_t{job.row_bytes};
    const int slot = slot_base + min(at, here - 1);
    const int r = job.rows ? __ldg(job.rows + slot) : job.first + slot;
    from[i] = x.floats + int64_t{r} * x.dim;
  }

  float sum[kTiles][4] = {};
  float w[kLoads][8], v[kLoads][8];
  const auto fetch = [&](int begin) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      load_weights<W>(weight[i], begin + 8 * part, jobs.cols, w[i]);
      load_floats(from[i], begin + 8 * part, jobs.cols, v[i]);
    }
  };
  fetch(0);
  for (int begin = 0; begin < jobs.cols; begin += kStep) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int at = (thread / kParts + i * (kThreads / kParts)) * kPitch + 8 * part;
      uint4 high, low;
      split(w[i], high, low);
      *reinterpret_cast<uint4*>(weights[0] + at) = high;
      if constexpr (!W::kExactInBf16) *reinterpret_cast<uint4*>(weights[1] + at) = low;
      split(v[i], high, low);
      *reinterpret_cast<uint4*>(acts[0] + at) = high;
      *reinterpret_cast<uint4*>(acts[1] + at) = low;
    }
    __syncthreads();
    if (begin + kStep < jobs.cols) fetch(begin + kStep);
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
      const int a_at = (16 * warp + lane % 16) * kPitch + k + 8 * (lane / 16);
      uint32_t a[4], a_low[4];
      load_fragments(weights[0] + a_at, a);
      if constexpr (!W::kExactInBf16) load_fragments(weights[1] + a_at, a_low);
#pragma unroll
      for (int pair = 0; pair < kTiles / 2; ++pair) {
        if (2 * pair >= tiles) break;
        const int b_at = (16 * pair + lane % 8 + 8 * (lane / 16)) * kPitch + k + 8 * (lane / 8 % 2);
        uint32_t b[4], b_low[4];
        load_fragments(acts[0] + b_at, b);
        load_fragments(acts[1] + b_at, b_low);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          float(&c)[4] = sum[2 * pair + n];
          multiply_bf16(c, a, b_low[2 * n], b_low[2 * n + 1]);
          if constexpr (!W::kExactInBf16) multiply_bf16(c, a_low, b[2 * n], b[2 * n + 1]);
          multiply_bf16(c, a, b[2 * n], b[2 * n + 1]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = row_base + 16 * warp + lane / 4 + 8 * (i / 2);
      const int s = 8 * n + 2 * (lane % 4) + i % 2;
      if (row >= job.weight_rows || s >= here) continue;
      float* out = job.out + int64_t{slot_base + s} * job.weight_rows + row;
      *out = job.accumulate ? *out + sum[n][i] : sum[n][i];
    }
  }
}

template <class W>
int32_t launch(sluice_backend* backend, const Jobs& jobs, const Acts& x, int tiles) {
  int rows = 0;
  for (int i = 0; i < jobs.count; ++i)
    rows = rows < jobs.job[i].weight_rows ? jobs.job[i].weight_rows : rows;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(ceil_div(rows, kRows)));
  gemm_float_kernel<W><<<grid, kThreads, 0, backend->stream>>>(jobs, x);
  return backend->launched("gemm_float");
}

}  // namespace

int32_t gemm_float(sluice_backend* backend, FloatType type, const Jobs& jobs, const Acts& x,
                   int tiles) {
  switch (type) {
    case FloatType::kF32:
      return launch<WeightF32>(backend, jobs, x, tiles);
    case FloatType::kF16:
      return launch<WeightF16>(backend, jobs, x, tiles);
    case FloatType::kBF16:
      return launch<WeightBF16>(backend, jobs, x, tiles);
  }
  return backend->failed("gemm_float: a type without kernels");
}

}  // namespace sluice::cuda
