// SPDX-License-Identifier: Apache-2.0
// Matrix times many vectors on tensor cores: integer products of 32 elements, scaled and added up
// in float32, k in order. A block of threads takes kTileRows weight rows and up to kTileSlots
// activations; in every step of kTileK elements it unpacks the weights once, to shared memory,
// while the bytes of the next step are on their way. Each warp has 16 rows and all activations, of
// which only the tiles of 8 that exist are multiplied.
#pragma once

#include "compute/cuda/formats.cuh"
#include "compute/cuda/mma.cuh"
#include "compute/cuda/products.h"

namespace sluice::cuda {

constexpr int kTileRows = 128;
constexpr int kTileK = 128;
constexpr int kTileWarps = kTileRows / 16;
constexpr int kTileThreads = kTileWarps * kWarp;
constexpr int kTilePitch = kTileK + 16;  // bytes from row to row: no two of 8 rows share banks
constexpr int kStepGroups = kTileK / 32;
constexpr int kStepPieces = kTileRows * kStepGroups / kTileThreads;  // of a thread

// A step's weights and activations, unpacked.
template <class F>
struct GemmShared {
  static constexpr int kScales = F::kPairs ? 2 * kStepGroups : kStepGroups;
  alignas(16) uint8_t weights[kTileRows * kTilePitch];
  alignas(16) uint8_t acts[kTileSlots * kTilePitch];
  float scale[kScales][kTileRows];
  float min[F::kHasMin ? kScales : 1][kTileRows];
  float act_scale[kStepGroups][kTileSlots];
  float act_sum[F::kHasMin ? kScales : 1][kTileSlots];  // scale * sum of levels
};

// Levels with their offset taken off, as signed bytes.
template <class F>
__device__ __forceinline__ uint32_t signed_levels(uint32_t levels) {
  if constexpr (F::kOffset == 0) return levels;
  return ((levels | 0x80808080u) - F::kOffset * 0x01010101u) ^ 0x80808080u;
}

template <class F>
__device__ __forceinline__ void store_piece(GemmShared<F>& shared, const Piece& p, int row,
                                            int part) {
  // Of a large block the steps take pieces 0 .. 3 and 4 .. 7, whose elements are those of a step;
  // small blocks lie one behind the other.
  const int begin = F::kElements == 32 ? 32 * part : 0;
  const int a = begin + F::first(F::kElements == 32 ? 0 : part);
  const int b = begin + F::second(F::kElements == 32 ? 0 : part);
  uint32_t w[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) w[i] = signed_levels<F>(p.w[i]);
  uint8_t* to = shared.weights + row * kTilePitch;
  *reinterpret_cast<uint4*>(to + a) = make_uint4(w[0], w[1], w[2], w[3]);
  *reinterpret_cast<uint4*>(to + b) = make_uint4(w[4], w[5], w[6], w[7]);
  constexpr int kPer = F::kPairs ? 16 : 32;
  shared.scale[a / kPer][row] = p.scale[0];
  shared.scale[b / kPer][row] = p.scale[1];
  if constexpr (F::kHasMin) {
    shared.min[a / kPer][row] = p.min[0];
    shared.min[b / kPer][row] = p.min[1];
  }
}

template <class F>
__global__ void __launch_bounds__(kTileThreads, 2)
    gemm_kernel(const __grid_constant__ Jobs jobs, const Acts x, const Grids* grids) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto& shared = *reinterpret_cast<GemmShared<F>*>(memory);
  constexpr int kPieces = F::kElements / 32;
  constexpr int kTiles = kTileSlots / 8;

  const Job& job = jobs.of_tile(static_cast<int>(blockIdx.x));
  const int fine = job.fine ? 1 : 0;
  const int slots = job.count << fine;
  const int slot_base = (static_cast<int>(blockIdx.x) - job.tile) * kTileSlots;
  const int row_base = blockIdx.y * kTileRows;
  if (row_base >= job.weight_rows || slot_base >= slots) return;
  const int here = min(kTileSlots, slots - slot_base);
  const int tiles = (here + 7) / 8;
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;

  // A thread's part of the weights: piece thread % 4 of each step, of rows thread / 4 + 64 i.
  const int part = thread % kStepGroups;
  const uint8_t* weight[kStepPieces];
#pragma unroll
  for (int i = 0; i < kStepPieces; ++i) {
    const int row = row_base + thread / kStepGroups + i * (kTileThreads / kStepGroups);
    weight[i] = job.weight + min(row, job.weight_rows - 1) * int64_t{job.row_bytes};
  }
  // Its part of the activations: group thread % 4 of slot thread / 4.
  static_assert(kTileThreads == kTileSlots * kStepGroups);
  const int slot = thread / kStepGroups;
  const bool has_slot = slot < here;
  const int8_t* q = x.q;
  const ActGroup* groups = x.groups;
  if (has_slot) {
    const int i = (slot_base + slot) >> fine;
    const int r = job.rows ? __ldg(job.rows + i) : job.first + i;
    const int64_t packed = int64_t{r} * x.copies + ((slot_base + slot) & fine);
    q += packed * x.stride + part * 32;
    groups += packed * (x.stride / 32) + part;
  }

  const int steps = (jobs.cols + kTileK - 1) / kTileK;
  const int pieces = jobs.cols / 32;
  typename F::Raw raw[kStepPieces];
  uint4 levels[2] = {make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)};
  int2 group = make_int2(0, 0);
  const auto fetch = [&](int step) {
    const int piece = step * kStepGroups + part;
    if (piece < pieces) {
#pragma unroll
      for (int i = 0; i < kStepPieces; ++i)
        raw[i] =
            F::load(weight[i] + static_cast<int64_t>(piece / kPieces) * F::kBytes, piece % kPieces);
    }
    if (has_slot) {
      const auto* from = reinterpret_cast<const uint4*>(q + step * kTileK);
      levels[0] = __ldg(from);
      levels[1] = __ldg(from + 1);
      group = __ldg(reinterpret_cast<const int2*>(groups + step * kStepGroups));
    }
  };

  float sum[kTiles][4] = {};
  fetch(0);
  for (int step = 0; step < steps; ++step) {
    const int piece = step * kStepGroups + part;
#pragma unroll
    for (int i = 0; i < kStepPieces; ++i) {
      const int row = thread / kStepGroups + i * (kTileThreads / kStepGroups);
      Piece p = {};
      const int j = piece % kPieces;
      if (piece < pieces) F::unpack(raw[i], j, grids, p);
      store_piece<F>(shared, p, row, part);
    }
    auto* to = reinterpret_cast<uint4*>(shared.acts + slot * kTilePitch + part * 32);
    to[0] = levels[0];
    to[1] = levels[1];
    const float scale = __int_as_float(group.x);
    shared.act_scale[part][slot] = scale;
    if constexpr (F::kHasMin) {
      const int low = static_cast<int16_t>(group.y & 0xffff), high = group.y >> 16;
      if constexpr (F::kPairs) {
        shared.act_sum[2 * part][slot] = scale * static_cast<float>(low);
        shared.act_sum[2 * part + 1][slot] = scale * static_cast<float>(high);
      } else {
        shared.act_sum[part][slot] = scale * static_cast<float>(low + high);
      }
    }
    __syncthreads();
    if (step + 1 < steps) fetch(step + 1);

    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < kStepGroups; ++k) {
      uint32_t a[4];
      load_fragments(
          shared.weights + (16 * warp + lane % 16) * kTilePitch + 32 * k + 16 * (lane / 16), a);
      constexpr int kHalves = F::kPairs ? 2 : 1;
      float scales[kHalves][2], mins[kHalves][2];
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          scales[h][r] = shared.scale[kHalves * k + h][16 * warp + g + 8 * r];
          if constexpr (F::kHasMin) mins[h][r] = shared.min[kHalves * k + h][16 * warp + g + 8 * r];
        }
      }
#pragma unroll
      for (int pair = 0; pair < kTiles / 2; ++pair) {
        if (2 * pair >= tiles) break;
        uint32_t b[4];
        load_fragments(shared.acts + (16 * pair + lane % 8 + 8 * (lane / 16)) * kTilePitch +
                           32 * k + 16 * (lane / 8 % 2),
                       b);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int column = 8 * (2 * pair + n) + 2 * t;
          float(&c)[4] = sum[2 * pair + n];
          const float2 s = *reinterpret_cast<const float2*>(&shared.act_scale[k][column]);
          int d[4] = {};
          if constexpr (F::kPairs) {
            int e[4] = {};
            multiply_16(d, a[0], a[1], b[2 * n]);
            multiply_16(e, a[2], a[3], b[2 * n + 1]);
#pragma unroll
            for (int i = 0; i < 4; ++i)
              c[i] += (i % 2 ? s.y : s.x) * (scales[0][i / 2] * static_cast<float>(d[i]) +
                                             scales[1][i / 2] * static_cast<float>(e[i]));
          } else {
            multiply_32(d, a, b[2 * n], b[2 * n + 1]);
#pragma unroll
            for (int i = 0; i < 4; ++i)
              c[i] += (i % 2 ? s.y : s.x) * scales[0][i / 2] * static_cast<float>(d[i]);
          }
          if constexpr (F::kHasMin) {
#pragma unroll
            for (int h = 0; h < kHalves; ++h) {
              const float2 m =
                  *reinterpret_cast<const float2*>(&shared.act_sum[kHalves * k + h][column]);
#pragma unroll
              for (int i = 0; i < 4; ++i) c[i] -= mins[h][i / 2] * (i % 2 ? m.y : m.x);
            }
          }
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
      if (row >= job.weight_rows || s >= here || (fine && i % 2)) continue;
      const float v = fine ? sum[n][i] + sum[n][i | 1] : sum[n][i];
      float* out = job.out + int64_t{(slot_base + s) >> fine} * job.weight_rows + row;
      *out = job.accumulate ? *out + v : v;
    }
  }
}

template <class F>
int32_t gemm(sluice_backend* backend, const Jobs& jobs, const Acts& x, int tiles) {
  int rows = 0;
  for (int i = 0; i < jobs.count; ++i)
    rows = rows < jobs.job[i].weight_rows ? jobs.job[i].weight_rows : rows;
  constexpr int kBytes = sizeof(GemmShared<F>);
  SLUICE_CUDA(backend, cudaFuncSetAttribute(gemm_kernel<F>,
                                            cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(ceil_div(rows, kTileRows)));
  gemm_kernel<F><<<grid, kTileThreads, kBytes, backend->stream>>>(jobs, x, backend->grids);
  return backend->launched("gemm");
}

}  // namespace sluice::cuda
