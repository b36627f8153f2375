// SPDX-License-Identifier: Apache-2.0
// Matrix times a few vectors: bound by reading the weights. A warp, or a part of it where rows are
// short, takes two rows; its lanes take pieces of 32 or units of 64 elements, multiply them as
// integers and add up in float32: first a lane's pieces in order, then the lanes. An activation's
// result does not depend on the others.
#pragma once

#include "compute/cuda/formats.cuh"
#include "compute/cuda/launch.h"
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

// Unit . activations: q is the unit's first chunk in their order, groups those of the row from the
// unit's first.
template <class F>
__device__ __forceinline__ float unit_dot(const Unit& u, const int8_t* q, const ActGroup* groups) {
  constexpr int kSecond = F::second(0) - F::first(0);
  constexpr int kChunks = 8;  // from chunk to chunk of a unit
  const auto* from = reinterpret_cast<const uint4*>(q);
  float result = 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4 xa = __ldg(from + 2 * h * kChunks), xb = __ldg(from + (2 * h + 1) * kChunks);
    const int2 g = __ldg(reinterpret_cast<const int2*>(groups + h * kSecond / 32));
    const uint32_t* w = u.w + 8 * h;
    const int low = static_cast<int16_t>(g.y & 0xffff), high = g.y >> 16;
    float v;
    if constexpr (F::kPairs) {
      static_assert(!F::kHasMin);
      v = scaled<F>(dot_16(w, xa, 0), low, u.scale[2 * h], 0) +
          scaled<F>(dot_16(w + 4, xb, 0), high, u.scale[2 * h + 1], 0);
    } else {
      v = scaled<F>(dot_16(w + 4, xb, dot_16(w, xa, 0)), low + high, u.scale[h], u.min[h]);
    }
    result += __int_as_float(g.x) * v;
  }
  return result;
}

// What a lane takes at once: a unit where the format has them, else a piece.
template <class F>
constexpr int kTake = HasUnits<F> ? 64 : 32;

// Lanes of a row, as a power of two: short rows leave a part of the warp to others.
template <class F>
__host__ __device__ constexpr int lanes_of_row(int cols) {
  const int parts = cols / kTake<F>;
  return parts > 16 ? 5 : parts > 8 ? 4 : 3;
}

template <class F>
struct Loaded {
  typename F::Raw raw;
  __device__ __forceinline__ void load(const uint8_t* block, int j) { raw = F::load(block, j); }
};
template <HasUnits F>
struct Loaded<F> {
  typename F::UnitRaw raw;
  __device__ __forceinline__ void load(const uint8_t* block, int m) {
    raw = F::load_unit(block, m);
  }
};

// Lane `lane` of the `width` that share rows: adds its part of weight[r] . activations s to
// sum[r][s]. q: rows in the format's order (see order_of).
template <class F, int kRows, int kSlots>
__device__ __forceinline__ void add_products(const uint8_t* const (&weight)[kRows],
                                             const int8_t* const (&q)[kSlots],
                                             const ActGroup* const (&groups)[kSlots], int cols,
                                             int lane, int width, const Grids* grids,
                                             float (&sum)[kRows][kSlots]) {
  // Parts of a row that are asked for together.
  constexpr int kAhead = kSlots == 1 && F::kElements == 32 ? 2 : 1;
  constexpr int kParts = F::kElements / kTake<F>;  // of a block
  const int parts = cols / kTake<F>;
  const int j = lane % kParts;  // the same in all its blocks
  // Longer bodies would take more registers than they hide latency.
  constexpr int kUnroll = HasUnits<F> || kSlots > 2 ? 1 : 4;
#pragma unroll kUnroll
  for (int base = lane; base < parts; base += width * kAhead) {
    Loaded<F> loaded[kAhead][kRows];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int part = base + width * u;
      if (part >= parts) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        loaded[u][r].load(weight[r] + static_cast<int64_t>(part / kParts) * F::kBytes, j);
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int part = base + width * u;
      if (part >= parts) continue;
      const int at = part / kParts * F::kElements;
      // All rows before the first activation, so that those are read one after the other.
      if constexpr (HasUnits<F>) {
        Unit unit[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) F::unpack_unit(loaded[u][r].raw, j, unit[r]);
        const int chunk = part / 8 * 512 + part % 8 * 16;
        const int group = (at + F::first(2 * j)) / 32;
#pragma unroll
        for (int s = 0; s < kSlots; ++s) {
#pragma unroll
          for (int r = 0; r < kRows; ++r)
            sum[r][s] += unit_dot<F>(unit[r], q[s] + chunk, groups[s] + group);
        }
      } else {
        Piece piece[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) F::unpack(loaded[u][r].raw, j, grids, piece[r]);
#pragma unroll
        for (int s = 0; s < kSlots; ++s) {
#pragma unroll
          for (int r = 0; r < kRows; ++r)
            sum[r][s] += piece_dot<F>(piece[r], j, q[s] + at, groups[s] + at / 32);
        }
      }
    }
  }
}

// Row `packed` of the activations as add_products takes it.
template <class F>
__device__ __forceinline__ const int8_t* order_of(const Acts& x, int64_t packed) {
  if constexpr (HasUnits<F>) return x.units[F::kUnitOrder] + packed * x.unit_stride;
  return x.q + packed * x.stride;
}

// Blocks that a multiprocessor must hold: bounds the registers.
template <class F>
__host__ __device__ constexpr int matvec_blocks(int slots) {
  if (slots > 4) return 4;
  if (slots > 2 || (slots > 1 && HasUnits<F>)) return 5;
  return HasUnits<F> ? 6 : 1;
}

template <class F, int kSlots>
__device__ __forceinline__ void multiply_job(const Jobs& jobs, const Acts& x, const Grids* grids) {
  constexpr int kRows = kMatvecRows;
  allow_next();
  const Job& job = jobs.job[blockIdx.y];
  const int log = lanes_of_row<F>(jobs.cols);
  const int width = 1 << log;
  const int lane = threadIdx.x & (width - 1);
  const int row = ((blockIdx.x * kMatvecWarps * kWarp + threadIdx.x) >> log) * kRows;
  const int fine = job.fine;
  const int begin = blockIdx.z * (kSlots >> fine);  // of the job's activations
  // Whole warps leave: the sums need all lanes of one.
  const int warp_row = row - static_cast<int>(threadIdx.x % kWarp >> log) * kRows;
  if (warp_row >= job.weight_rows || begin >= job.count) return await_previous();
  const uint8_t* weight[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    weight[r] = job.weight + min(row + r, job.weight_rows - 1) * int64_t{job.row_bytes};
    prefetch_row(weight[r], job.row_bytes, lane, width);
  }
  await_previous();

  const int8_t* q[kSlots];
  const ActGroup* groups[kSlots];
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    const int i = min(begin + (s >> fine), job.count - 1);
    const int r = job.rows ? __ldg(job.rows + i) : job.first + i;
    const int64_t packed = int64_t{r} * x.copies + (s & fine);
    q[s] = order_of<F>(x, packed);
    groups[s] = x.groups + packed * (x.stride / 32);
  }
  float sum[kRows][kSlots] = {};
  add_products<F>(weight, q, groups, jobs.cols, lane, width, grids, sum);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) sum[r][s] = lanes_sum(sum[r][s], width);
    if (row + r >= job.weight_rows) continue;
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const int i = begin + (s >> fine);
      if (lane != s || i >= job.count || (s & fine)) continue;
      float v = sum[r][s];
      if (fine) v += sum[r][s + 1 < kSlots ? s + 1 : s];
      float* out = job.out + int64_t{i} * job.weight_rows + row + r;
      *out = job.accumulate ? *out + v : v;
    }
  }
}

template <class F, int kSlots>
__global__ void __launch_bounds__(kMatvecWarps* kWarp, matvec_blocks<F>(kSlots))
    matvec_kernel(const __grid_constant__ Jobs jobs, const Acts x, const Grids* grids) {
  multiply_job<F, kSlots>(jobs, x, grids);
}

template <class F>
int32_t matvec(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots) {
  int rows = 0;
  for (int i = 0; i < jobs.count; ++i)
    rows = rows < jobs.job[i].weight_rows ? jobs.job[i].weight_rows : rows;
  const int block_rows = (kMatvecWarps * kWarp >> lanes_of_row<F>(jobs.cols)) * kMatvecRows;
  const auto launch = [&](auto kernel, int at_once) {
    const dim3 grid(static_cast<unsigned>(ceil_div(rows, block_rows)),
                    static_cast<unsigned>(jobs.count),
                    static_cast<unsigned>(ceil_div(slots, at_once)));
    return launch_after(backend, "matvec", kernel, grid, kMatvecWarps * kWarp, jobs, x,
                        backend->grids);
  };
  if (slots <= 1) return launch(matvec_kernel<F, 1>, 1);
  if (slots <= 2) return launch(matvec_kernel<F, 2>, 2);
  if (slots <= 4) return launch(matvec_kernel<F, 4>, 4);
  return launch(matvec_kernel<F, 8>, 8);
}

}  // namespace sluice::cuda
