// SPDX-License-Identifier: Apache-2.0
// Attention for a few rows: the cache is read once for all query heads that share it, and float32
// arithmetic keeps up with memory. One block treats up to kQueries query vectors of a kv head over
// one segment of the context; its warps take tiles of 32 positions in turn and are added in order
// at the end. A query's bits depend on nothing but its own context and the segment's length.
#include <algorithm>

#include "compute/cuda/attention.cuh"
#include "compute/cuda/last_block.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTile = kWarp;  // positions

// kCount rows of the cache, each held by kLanes lanes with kParts times 8 elements: as they come
// from memory where they are F16 (kHalf), so that the wait for them is where they are used.
template <int kLanes, int kParts, bool kHalf, int kCount>
struct FetchedRows {
  static constexpr int kElements = 8 * kParts;
  uint4 words[kHalf ? kParts : 1][kCount];
  float floats[kHalf ? 1 : kParts][kCount][8];

  // Elements of part j start here.
  static __device__ __forceinline__ int element(int lane, int j) {
    return (j * kLanes + lane % kLanes) * 8;
  }

  __device__ __forceinline__ void fetch(const uint8_t* const (&rows)[kCount], uint32_t type,
                                        int lane, int dim) {
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      if constexpr (kHalf) {
#pragma unroll
        for (int r = 0; r < kCount; ++r)
          words[j][r] = *reinterpret_cast<const uint4*>(rows[r] + 2 * element(lane, j));
      } else {
        // Lanes behind the row's end read its beginning; their queries are zero.
        load_elements(rows, type, element(lane, j) < dim ? element(lane, j) : 0, floats[j]);
      }
    }
  }
  __device__ __forceinline__ void get(int row, float (&x)[kElements]) const {
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      float values[8];
      if constexpr (kHalf) {
        halves_to_floats(words[j][row], values);
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = floats[j][row][i];
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) x[8 * j + i] = values[i];
    }
  }
};

// Adds each of kCount values, at most kLanes, over groups of kLanes lanes; every stage halves the
// values that a lane still carries while it can. values[0] is left with the sum of the returned
// index. Additions come in the same order for every index and any kCount.
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

// The parts of all segments of up to kQueries queries, added in order by one block. parts[n] and
// statistics[n]: of query n, of whose segments there are `segments[n]`, or 0: it has no parts.
template <int kQueries>
__device__ __forceinline__ void add_segments(const float* const (&parts)[kQueries],
                                             const float2* const (&statistics)[kQueries],
                                             const int (&segments)[kQueries], int dim,
                                             float* const (&out)[kQueries]) {
  __shared__ float weights[kQueries][kMostSegments];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  constexpr int kPerLane = kMostSegments / kWarp;
  int most_segments = 0;
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    most_segments = max(most_segments, segments[n]);
    if (n % kWarps != warp) continue;  // one warp per query
    float2 found[kPerLane];
    float largest = -INFINITY, total = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int s = i * kWarp + lane;
      found[i] = s < segments[n] ? __ldcg(statistics[n] + s) : make_float2(-INFINITY, 0.0f);
      largest = fmaxf(largest, found[i].x);
    }
    largest = warp_max(largest);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      found[i].x = rescale(found[i].x, largest);
      total += found[i].x * found[i].y;
    }
    total = warp_sum(total);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) weights[n][i * kWarp + lane] = found[i].x / total;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < dim; i += kThreads) {
    float sum[kQueries] = {};
#pragma unroll 4
    for (int s = 0; s < most_segments; ++s)
#pragma unroll
      for (int n = 0; n < kQueries; ++n)
        if (s < segments[n]) sum[n] += weights[n][s] * __ldcg(parts[n] + int64_t{s} * dim + i);
#pragma unroll
    for (int n = 0; n < kQueries; ++n)
      if (segments[n] > 0) out[n][i] = sum[n];
  }
}

// Queries and kv head blockIdx.x, segment blockIdx.y of the context of span blockIdx.z. kHalf:
// both caches are F16 with aligned rows, and kLanes * 8 * kParts = head_dim.
template <int kLanes, int kParts, int kQueries, bool kHalf>
__global__ __launch_bounds__(kThreads) void attend_segment(
    const __grid_constant__ AttentionSpans a) {
  constexpr int kAtOnce = kWarp / kLanes;  // positions side by side
  constexpr int kFetched = kParts > 1 ? 2 : kHalf ? 8 : 4;
  constexpr int kStep = kAtOnce * kFetched;
  static_assert(kTile % kStep == 0);
  using Fetched = FetchedRows<kLanes, kParts, kHalf, kFetched>;
  constexpr int kElements = Fetched::kElements;
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
        const int element = Fetched::element(lane, j) + i;
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
  const int mine = lane / kLanes;
  // Positions behind the end are read as the last one: no query sees them.
  const auto fetch = [&](Fetched& to, const uint8_t* base, int64_t bytes, uint32_t type,
                         int64_t position) {
    const uint8_t* rows[kFetched];
#pragma unroll
    for (int f = 0; f < kFetched; ++f)
      rows[f] = base + min(position + f * kAtOnce + mine, end - 1) * bytes;
    to.fetch(rows, type, lane, dim);
  };

  for (int64_t tile = begin + warp * kTile; tile < end; tile += kWarps * kTile) {
    Fetched fetched;
#pragma unroll 1
    for (int step = 0; step < kTile; step += kStep) {
      fetch(fetched, keys, key_bytes, kv.key_type, tile + step);
#pragma unroll
      for (int f = 0; f < kFetched; ++f) {
        float key[kElements], found[kQueries];
        fetched.get(f, key);
#pragma unroll
        for (int n = 0; n < kQueries; ++n) {
          found[n] = 0;
#pragma unroll
          for (int i = 0; i < kElements; ++i) found[n] += query[n][i] * key[i];
        }
        const int first = spread_sums<kLanes, kQueries>(found, lane);
        // Each lane is left with one sum, of which several lanes have the same.
        if (lane % kLanes < kQueries) scores[warp][first][step + f * kAtOnce + mine] = found[0];
      }
    }
    // On their way during the softmax.
    if constexpr (kHalf) fetch(fetched, values, value_bytes, kv.value_type, tile);
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
    for (int step = 0; step < kTile; step += kStep) {
      if (!kHalf || step > 0) fetch(fetched, values, value_bytes, kv.value_type, tile + step);
#pragma unroll
      for (int f = 0; f < kFetched; ++f) {
        float value[kElements];
        fetched.get(f, value);
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
          float& to = merged[n][Fetched::element(lane, i / 8) + i % 8];
          to = (w == 0 ? 0.0f : to) + shrink * out[n][i];
        }
      }
    }
    __syncthreads();
  }
  const float* all_parts[kQueries] = {};
  const float2* all_statistics[kQueries] = {};
  float* outputs[kQueries];
  int segments[kQueries];
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    const int64_t vector = vector_of(a, span, kv_head, first_query + min(n, count - 1));
    outputs[n] = a.out + vector * dim;
    segments[n] = 0;
    if (n >= count) continue;
    if (own[n] < a.segment) {  // this is all there is
      if (begin == 0)
        for (int i = threadIdx.x; i < dim; i += kThreads) outputs[n][i] = merged[n][i] / total[n];
      continue;
    }
    segments[n] = static_cast<int>(own[n] / a.segment) + 1;
    const int64_t first = first_part_of(a, static_cast<int>(blockIdx.z), vector);
    all_parts[n] = a.parts + first * dim;
    all_statistics[n] = a.statistics + first;
    if (begin > own[n]) continue;
    const int64_t part = first + blockIdx.y;
    for (int i = threadIdx.x; i < dim; i += kThreads) a.parts[part * dim + i] = merged[n][i];
    if (threadIdx.x == 0) a.statistics[part] = make_float2(most[n], total[n]);
  }
  if (last_own < a.segment) return;
  const auto blocks = static_cast<uint32_t>(last_own / a.segment + 1);
  if (is_last_block(a.counters + blockIdx.z * gridDim.x + blockIdx.x, blocks))
    add_segments<kQueries>(all_parts, all_statistics, segments, dim, outputs);
}

template <int kLanes, int kParts, int kQueries, bool kHalf>
int32_t launch(sluice_backend* backend, AttentionSpans& a) {
  int64_t blocks = 0;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_span& span = a.spans.span[s];
    const int64_t queries = span.rows * (a.heads / span.kv.kv_heads);
    blocks = std::max(blocks, ceil_div(queries, kQueries) * span.kv.kv_heads);
  }
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(a.segments),
                  static_cast<unsigned>(a.count));
  if (a.segments > 1) {
    a.counters = backend->counters.reserve(backend, blocks * a.count);
    if (!a.counters) return 1;
  }
  attend_segment<kLanes, kParts, kQueries, kHalf><<<grid, kThreads, 0, backend->stream>>>(a);
  return backend->launched("attention");
}

// Single: no span has more than one query for a kv head.
template <int kLanes, bool kHalf>
int32_t launch_for(sluice_backend* backend, AttentionSpans& a, bool single) {
  return single ? launch<kLanes, 1, 1, kHalf>(backend, a) : launch<kLanes, 1, 4, kHalf>(backend, a);
}

}  // namespace

int32_t attend_vectors(sluice_backend* backend, AttentionSpans& a) {
  const int64_t dim = a.spans.span[0].kv.head_dim;
  bool half = dim == 128 || dim == 256, single = true;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_span& span = a.spans.span[s];
    for (const bool is_value : {false, true}) {
      const uint32_t type = is_value ? span.kv.value_type : span.kv.key_type;
      const void* base = is_value ? span.kv.values : span.kv.keys;
      half &=
          type == static_cast<uint32_t>(Type::kF16) && reinterpret_cast<uintptr_t>(base) % 16 == 0;
    }
    single &= span.rows * (a.heads / span.kv.kv_heads) == 1;
  }
  if (dim == 128 && half) return launch_for<16, true>(backend, a, single);
  if (dim == 256 && half) return launch_for<32, true>(backend, a, single);
  if (dim <= 64) return launch_for<8, false>(backend, a, single);
  if (dim <= 128) return launch_for<16, false>(backend, a, single);
  if (dim <= 256) return launch_for<32, false>(backend, a, single);
  return launch<32, 2, 2, false>(backend, a);
}

}  // namespace sluice::cuda
