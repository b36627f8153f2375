// SPDX-License-Identifier: Apache-2.0
// Attention for a few rows: the cache is read once for all query heads that share it, and float32
// arithmetic keeps up with memory. One block treats up to kQueries query vectors of a kv head over
// one segment of the context; its warps take tiles of 32 positions in turn and are added in order
// at the end. A query's bits depend on nothing but its own context and the segment's length.
#include <algorithm>

#include "compute/cuda/attention.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTile = kWarp;  // positions

// kLanes lanes hold one row of the cache, kParts times 8 elements each.
template <int kLanes, int kParts, bool kHalf>
struct RowLoader {
  static constexpr int kElements = 8 * kParts;

  // Elements of part j start here.
  static __device__ __forceinline__ int element(int lane, int j) {
    return (j * kLanes + lane % kLanes) * 8;
  }

  // The raw row is fetched first, so that several can be on their way.
  struct Raw {
    uint4 words[kHalf ? kParts : 1];
    const uint8_t* row;
  };
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, int lane) {
    Raw raw;
    raw.row = row;
    if constexpr (kHalf) {
#pragma unroll
      for (int j = 0; j < kParts; ++j)
        raw.words[j] = row ? *reinterpret_cast<const uint4*>(row + 2 * element(lane, j))
                           : make_uint4(0, 0, 0, 0);
    }
    return raw;
  }
  static __device__ __forceinline__ void decode(const Raw& raw, uint32_t type, int lane, int dim,
                                                float (&x)[kElements]) {
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      float values[8] = {};
      if constexpr (kHalf)
        halves_to_floats(raw.words[j], values);
      else if (raw.row && element(lane, j) < dim)
        load_8_elements(raw.row, type, element(lane, j), values);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[8 * j + i] = values[i];
    }
  }
};

// Adds each of kCount values over groups of kLanes lanes; every stage halves the values that a lane
// still carries while it can. What is left in values[i] belongs to index `first` + i, i <
// max(1, kCount / kLanes). Additions come in the same order for every index and any kCount.
template <int kLanes, int kCount>
__device__ __forceinline__ int spread_sums(float (&values)[kCount], int lane) {
  int first = 0;
  int carried = kCount;
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) {
    if (carried > 1) {
      carried /= 2;
      const bool upper = lane & offset;
#pragma unroll
      for (int i = 0; i < kCount / 2; ++i) {
        if (i >= carried) break;
        const float given = upper ? values[i] : values[i + carried];
        const float own = upper ? values[i + carried] : values[i];
        values[i] = own + __shfl_xor_sync(kAllLanes, given, offset);
      }
      if (upper) first += carried;
    } else {
      values[0] += __shfl_xor_sync(kAllLanes, values[0], offset);
    }
  }
  return first;
}

// Queries and kv head blockIdx.x, segment blockIdx.y of the context of span blockIdx.z. kHalf: both
// caches are F16 with aligned rows, and kLanes * 8 * kParts = head_dim.
template <int kLanes, int kParts, int kQueries, bool kHalf>
__global__ __launch_bounds__(kThreads) void attend_segment(
    const __grid_constant__ AttentionSpans a) {
  using Loader = RowLoader<kLanes, kParts, kHalf>;
  constexpr int kElements = Loader::kElements;
  constexpr int kAtOnce = kWarp / kLanes;  // positions
  constexpr int kFetched = kHalf && kParts == 1 ? 4 : 1;
  static_assert(kTile % (kAtOnce * kFetched) == 0);
  __shared__ float scores[kWarps][kQueries][kTile + 1];
  __shared__ float merged[kQueries][kLanes * kElements];
  __shared__ float2 statistics[kWarps][kQueries];

  const sluice_span& span = a.spans.span[blockIdx.z];
  const sluice_kv& kv = span.kv;
  const int dim = kv.head_dim;
  const int64_t group = a.group(span), queries = span.rows * group;
  const int64_t kv_head = blockIdx.x % kv.kv_heads;
  const int64_t first_query = blockIdx.x / kv.kv_heads * kQueries;
  if (first_query >= queries) return;
  const int count = static_cast<int>(min(int64_t{kQueries}, queries - first_query));
  const int64_t last_own = span.position + (first_query + count - 1) / group;
  const int64_t begin = blockIdx.y * a.segment, end = min(begin + a.segment, last_own + 1);
  if (begin >= end) return;

  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  float query[kQueries][kElements];
  int own[kQueries];  // the last position that a query sees
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    const int64_t at = first_query + min(n, count - 1);
    own[n] = static_cast<int>(span.position + at / group);
    const float* from = a.q + vector_of(a, span, kv_head, at) * dim;
#pragma unroll
    for (int j = 0; j < kParts; ++j)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int element = Loader::element(lane, j) + i;
        query[n][8 * j + i] = element < dim ? from[element] * a.scale : 0.0f;
      }
  }
  float out[kQueries][kElements] = {};
  float largest[kQueries], sum[kQueries];  // sum: of this lane's positions
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    largest[n] = -INFINITY;
    sum[n] = 0;
  }
  const uint8_t* keys = cache_row(kv, false, kv_head, 0);
  const uint8_t* values = cache_row(kv, true, kv_head, 0);
  const int64_t key_bytes = kHalf ? kLanes * kElements * 2 : cache_row_bytes(kv.key_type, dim);
  const int64_t value_bytes = kHalf ? kLanes * kElements * 2 : cache_row_bytes(kv.value_type, dim);
  // A row of the cache, or none.
  const auto key_at = [&](int64_t position) {
    return position < end ? keys + position * key_bytes : nullptr;
  };
  const auto value_at = [&](int64_t position) {
    return position < end ? values + position * value_bytes : nullptr;
  };

  for (int64_t tile = begin + warp * kTile; tile < end; tile += kWarps * kTile) {
    const int mine = lane / kLanes;
#pragma unroll 1
    for (int step = 0; step < kTile; step += kAtOnce * kFetched) {
      typename Loader::Raw raw[kFetched];
#pragma unroll
      for (int f = 0; f < kFetched; ++f)
        raw[f] = Loader::fetch(key_at(tile + step + f * kAtOnce + mine), lane);
#pragma unroll
      for (int f = 0; f < kFetched; ++f) {
        float key[kElements], found[kQueries];
        Loader::decode(raw[f], kv.key_type, lane, dim, key);
#pragma unroll
        for (int n = 0; n < kQueries; ++n) {
          found[n] = 0;
#pragma unroll
          for (int i = 0; i < kElements; ++i) found[n] += query[n][i] * key[i];
        }
        const int first = spread_sums<kLanes, kQueries>(found, lane);
        constexpr int kKept = kQueries > kLanes ? kQueries / kLanes : 1;
        // With fewer queries than lanes several lanes hold the same sum.
        if (kQueries >= kLanes || lane % kLanes < kQueries) {
#pragma unroll
          for (int i = 0; i < kKept; ++i)
            scores[warp][first + i][step + f * kAtOnce + mine] = found[i];
        }
      }
    }
    __syncwarp();
    // One position a lane.
    const int64_t position = tile + lane;
#pragma unroll
    for (int n = 0; n < kQueries; ++n) {
      const bool visible = position < end && position <= own[n];
      const float score = visible ? scores[warp][n][lane] : -INFINITY;
      const float most = fmaxf(largest[n], warp_max(score));
      const float shrink = rescale(largest[n], most);
      const float weight = visible ? exp2f(score - most) : 0.0f;
      scores[warp][n][lane] = weight;
      sum[n] = sum[n] * shrink + weight;
      largest[n] = most;
#pragma unroll
      for (int i = 0; i < kElements; ++i) out[n][i] *= shrink;
    }
    __syncwarp();
#pragma unroll 1
    for (int step = 0; step < kTile; step += kAtOnce * kFetched) {
      typename Loader::Raw raw[kFetched];
#pragma unroll
      for (int f = 0; f < kFetched; ++f)
        raw[f] = Loader::fetch(value_at(tile + step + f * kAtOnce + mine), lane);
#pragma unroll
      for (int f = 0; f < kFetched; ++f) {
        float value[kElements];
        Loader::decode(raw[f], kv.value_type, lane, dim, value);
#pragma unroll
        for (int n = 0; n < kQueries; ++n) {
          const float weight = scores[warp][n][step + f * kAtOnce + mine];
#pragma unroll
          for (int i = 0; i < kElements; ++i) out[n][i] += weight * value[i];
        }
      }
    }
    __syncwarp();
  }

  // Within the warp: the positions that went side by side.
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    sum[n] = warp_sum(sum[n]);
    if (lane == 0) statistics[warp][n] = make_float2(largest[n], sum[n]);
#pragma unroll
    for (int offset = kLanes; offset < kWarp; offset *= 2)
#pragma unroll
      for (int i = 0; i < kElements; ++i)
        out[n][i] += __shfl_xor_sync(kAllLanes, out[n][i], offset);
  }
  __syncthreads();
  // Over the warps, in order.
  float most[kQueries], total[kQueries];
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    most[n] = -INFINITY;
    total[n] = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) most[n] = fmaxf(most[n], statistics[w][n].x);
#pragma unroll
    for (int w = 0; w < kWarps; ++w)
      total[n] += rescale(statistics[w][n].x, most[n]) * statistics[w][n].y;
  }
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp && lane < kLanes) {
#pragma unroll
      for (int n = 0; n < kQueries; ++n) {
        const float shrink = rescale(largest[n], most[n]);
#pragma unroll
        for (int i = 0; i < kElements; ++i) {
          float& to = merged[n][Loader::element(lane, i / 8) + i % 8];
          to = (w == 0 ? 0.0f : to) + shrink * out[n][i];
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    if (n >= count || begin > own[n]) continue;
    const int64_t vector = vector_of(a, span, kv_head, first_query + n);
    if (own[n] < a.segment) {  // all there is
      for (int i = threadIdx.x; i < dim; i += kThreads)
        a.out[vector * dim + i] = merged[n][i] / total[n];
      continue;
    }
    const int64_t part = first_part_of(a, static_cast<int>(blockIdx.z), vector) + blockIdx.y;
    for (int i = threadIdx.x; i < dim; i += kThreads) a.parts[part * dim + i] = merged[n][i];
    if (threadIdx.x == 0) a.statistics[part] = make_float2(most[n], total[n]);
  }
}

template <int kLanes, int kParts, int kQueries, bool kHalf>
void launch(cudaStream_t stream, const AttentionSpans& a) {
  int64_t blocks = 0;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_span& span = a.spans.span[s];
    const int64_t queries = span.rows * (a.heads / span.kv.kv_heads);
    blocks = std::max(blocks, ceil_div(queries, kQueries) * span.kv.kv_heads);
  }
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(a.segments),
                  static_cast<unsigned>(a.count));
  attend_segment<kLanes, kParts, kQueries, kHalf><<<grid, kThreads, 0, stream>>>(a);
}

// Few: no span has more than two queries for a kv head.
template <int kLanes, bool kHalf>
void launch_for(cudaStream_t stream, const AttentionSpans& a, bool few) {
  if (few)
    launch<kLanes, 1, 2, kHalf>(stream, a);
  else
    launch<kLanes, 1, 8, kHalf>(stream, a);
}

}  // namespace

int32_t attend_vectors(sluice_backend* backend, const AttentionSpans& a) {
  const int64_t dim = a.spans.span[0].kv.head_dim;
  bool half = dim == 128 || dim == 256, few = true;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_span& span = a.spans.span[s];
    for (const bool is_value : {false, true}) {
      const uint32_t type = is_value ? span.kv.value_type : span.kv.key_type;
      const void* base = is_value ? span.kv.values : span.kv.keys;
      half &=
          type == static_cast<uint32_t>(Type::kF16) && reinterpret_cast<uintptr_t>(base) % 16 == 0;
    }
    few &= span.rows * (a.heads / span.kv.kv_heads) <= 2;
  }
  if (dim == 128 && half)
    launch_for<16, true>(backend->stream, a, few);
  else if (dim == 256 && half)
    launch_for<32, true>(backend->stream, a, few);
  else if (dim <= 64)
    launch_for<8, false>(backend->stream, a, few);
  else if (dim <= 128)
    launch_for<16, false>(backend->stream, a, few);
  else if (dim <= 256)
    launch_for<32, false>(backend->stream, a, few);
  else
    launch<32, 2, 2, false>(backend->stream, a);
  return backend->launched("attention");
}

}  // namespace sluice::cuda
