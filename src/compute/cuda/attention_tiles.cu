// SPDX-License-Identifier: Apache-2.0
// Attention for many rows on tensor cores: fp16 operands, float32 sums and softmax. A block treats
// 64 query vectors of a kv head, 16 a warp, over tiles of positions that lie in shared memory as
// fp16, whatever the cache's type. Keys of the next tile and values of this one are on their way
// while the other product runs. A query's bits depend on its context alone: positions that it does
// not see add nothing.
#include <algorithm>

#include "compute/cuda/async.cuh"
#include "compute/cuda/attention.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kQueries = 16 * kWarps;

// --- pieces of inline assembly ---

// Four 8 x 8 matrices of halves; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address));
}
__device__ __forceinline__ void load_transposed(uint32_t (&m)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address));
}

// c [16, 8] += a [16, 16] * b [16, 8]
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

__device__ __forceinline__ uint32_t pack_halves(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Eight halves; what is beyond their range becomes its end, since an infinity would spread to
// queries that do not see it.
__device__ __forceinline__ uint4 pack_chunk(const float (&x)[8]) {
  float bounded[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) bounded[i] = fminf(fmaxf(x[i], -65504.0f), 65504.0f);
  return make_uint4(pack_halves(bounded[0], bounded[1]), pack_halves(bounded[2], bounded[3]),
                    pack_halves(bounded[4], bounded[5]), pack_halves(bounded[6], bounded[7]));
}

// --- tiles in shared memory ---

// Rows of kDim halves in chunks of 8; chunks change places within a row so that eight rows' equal
// chunks lie in different banks.
template <int kDim>
__device__ __forceinline__ __half* chunk_at(__half* tile, int row, int chunk) {
  return tile + row * kDim + ((chunk ^ (row % 8)) * 8);
}

// Positions [first, first + kRows) of a cache; what is behind `end` is not seen. With kHalf the
// copies are still under way on return.
template <int kDim, int kRows, bool kHalf>
__device__ __forceinline__ void load_tile(const sluice_kv& kv, bool is_value, int64_t kv_head,
                                          int64_t first, int64_t end, __half* tile) {
  constexpr int kChunks = kDim / 8;
  const uint32_t type = is_value ? kv.value_type : kv.key_type;
  const uint8_t* rows = cache_row(kv, is_value, kv_head, first);
  const int64_t row_bytes = kHalf ? kDim * 2 : cache_row_bytes(type, kDim);
  if constexpr (kHalf) {
#pragma unroll 8
    for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool inside = first + row < end;
      copy_16(chunk_at<kDim>(tile, row, chunk),
              inside ? rows + row * row_bytes + chunk * 16 : nullptr);
    }
  } else {
    // A thread keeps to one chunk and takes several rows at a time; those behind the end are read
    // as the last, and no query sees them.
    constexpr int kStep = kThreads / kChunks, kAtOnce = 4;
    static_assert(kThreads % kChunks == 0 && kRows % (kStep * kAtOnce) == 0);
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int last = static_cast<int>(min(int64_t{kRows}, end - first)) - 1;
#pragma unroll 1
    for (int row = static_cast<int>(threadIdx.x) / kChunks; row < kRows; row += kStep * kAtOnce) {
      const uint8_t* from[kAtOnce];
      float x[kAtOnce][8];
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) from[n] = rows + min(row + n * kStep, last) * row_bytes;
      load_elements(from, type, chunk * 8, x);
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n)
        *reinterpret_cast<uint4*>(chunk_at<kDim>(tile, row + n * kStep, chunk)) = pack_chunk(x[n]);
    }
  }
}

// The block's queries as fp16; those behind the last are zero.
template <int kDim>
__device__ __forceinline__ void load_queries(const AttentionSpans& a, const sluice_span& span,
                                             int64_t kv_head, int64_t first, int count,
                                             __half* tile) {
  constexpr int kChunks = kDim / 8;
  for (int i = threadIdx.x; i < kQueries * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    float x[8] = {};
    if (row < count) {
      const float* from = a.q + vector_of(a, span, kv_head, first + row) * kDim + chunk * 8;
#pragma unroll
      for (int k = 0; k < 8; ++k) x[k] = from[k];
    }
    *reinterpret_cast<uint4*>(chunk_at<kDim>(tile, row, chunk)) = pack_chunk(x);
  }
}

// Heads of 128 keep their queries in registers, and their tiles are of 64 positions; heads of 256
// leave them in shared memory.
template <int kDim>
struct Shape {
  static constexpr bool kQueriesInRegisters = kDim <= 128;
  static constexpr int kPositions = kDim <= 128 ? 64 : 32;
  static constexpr int kQueryHalves = kQueriesInRegisters ? 0 : kQueries * kDim;
  static constexpr int kTileHalves = kPositions * kDim;
  // Before the first tile, queries on their way to registers lie where tiles will.
  static_assert(!kQueriesInRegisters || kQueries * kDim <= 2 * kTileHalves);
  static constexpr size_t kBytes = (kQueryHalves + 2 * kTileHalves) * sizeof(__half);
};

// Queries blockIdx.x (last ones first: they have most to do), kv head and segment blockIdx.y, span
// blockIdx.z. kHalf: both caches are F16 with aligned rows.
template <int kDim, bool kHalf>
__global__ __launch_bounds__(kThreads, kDim <= 128 ? 3 : 2) void attend_block(
    const __grid_constant__ AttentionSpans a) {
  using S = Shape<kDim>;
  constexpr int kPositions = S::kPositions;
  constexpr int kSteps = kDim / 16;         // of 16 elements, in scores = q k^T
  constexpr int kColumns = kPositions / 8;  // of 8 positions, in the scores
  extern __shared__ uint4 shared[];
  auto* query_tile = reinterpret_cast<__half*>(shared);
  __half* key_tile = query_tile + S::kQueryHalves;
  __half* value_tile = key_tile + S::kTileHalves;

  const sluice_span& span = a.spans.span[blockIdx.z];
  const sluice_kv& kv = span.kv;
  const int64_t group = a.group(span), queries = span.rows * group;
  const int64_t blocks = ceil_div(queries, int64_t{kQueries});
  if (blockIdx.x >= blocks) return;
  const int64_t first_query = (blocks - 1 - blockIdx.x) * kQueries;
  const int64_t kv_head = blockIdx.y % kv.kv_heads, segment = blockIdx.y / kv.kv_heads;
  const int count = static_cast<int>(min(int64_t{kQueries}, queries - first_query));
  const int64_t last_own = span.position + (first_query + count - 1) / group;
  const int64_t begin = segment * a.segment, end = min(begin + a.segment, last_own + 1);
  if (begin >= end) return;
  const int64_t first_own = span.position + first_query / group;

  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  load_queries<kDim>(a, span, kv_head, first_query, count, query_tile);
  __syncthreads();
  // Of the operands' rows: lane l % 16 in chunk l / 16.
  const auto load_query = [&](uint32_t(&m)[4], int step) {
    load_matrices(
        m, shared_address(chunk_at<kDim>(query_tile, warp * 16 + lane % 16, 2 * step + lane / 16)));
  };
  uint32_t query[S::kQueriesInRegisters ? kSteps : 1][4];
  if constexpr (S::kQueriesInRegisters) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) load_query(query[s], s);
    __syncthreads();
  }

  // This lane's two queries of the warp's 16: rows lane / 4 and lane / 4 + 8.
  int64_t own[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t at = first_query + min(warp * 16 + lane / 4 + 8 * h, count - 1);
    own[h] = span.position + at / group;
  }
  float out[kDim / 8][4] = {};  // [n][2 h + i]: of query h, element 8 n + 2 (lane % 4) + i
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // sum: of this lane's positions

  load_tile<kDim, kPositions, kHalf>(kv, false, kv_head, begin, end, key_tile);
  end_group_of_copies();
  for (int64_t tile = begin; tile < end; tile += kPositions) {
    wait_for_copies<0>();
    __syncthreads();  // keys are here, the values before are done with
    load_tile<kDim, kPositions, kHalf>(kv, true, kv_head, tile, end, value_tile);
    end_group_of_copies();

    float scores[kColumns][4] = {};  // [c][2 h + i]: position tile + 8 c + 2 (lane % 4) + i
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      uint32_t q[4];
      if constexpr (S::kQueriesInRegisters) {
#pragma unroll
        for (int i = 0; i < 4; ++i) q[i] = query[s][i];
      } else {
        load_query(q, s);
      }
#pragma unroll
      for (int c = 0; c < kColumns; c += 2) {
        uint32_t k[4];
        load_matrices(k, shared_address(chunk_at<kDim>(key_tile, c * 8 + lane / 16 * 8 + lane % 8,
                                                       2 * s + lane / 8 % 2)));
        multiply_add(scores[c], q, k[0], k[1]);
        multiply_add(scores[c + 1], q, k[2], k[3]);
      }
    }
    if (tile + kPositions - 1 > first_own) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (tile + 8 * c + lane % 4 * 2 + i % 2 > own[i / 2]) scores[c][i] = -INFINITY;
    }
    uint32_t weights[kColumns][2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = -INFINITY;
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        most = fmaxf(most, fmaxf(scores[c][2 * h], scores[c][2 * h + 1]));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
      most = fmaxf(largest[h], most * a.scale);
      const float shrink = rescale(largest[h], most);
      const float base = most == -INFINITY ? 0.0f : most;
      largest[h] = most;
      sum[h] *= shrink;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float low = exp2f(scores[c][2 * h] * a.scale - base);
        const float high = exp2f(scores[c][2 * h + 1] * a.scale - base);
        sum[h] += low + high;
        weights[c][h] = pack_halves(low, high);
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        out[n][2 * h] *= shrink;
        out[n][2 * h + 1] *= shrink;
      }
    }
    __syncthreads();  // the keys are done with
    if (tile + kPositions < end)
      load_tile<kDim, kPositions, kHalf>(kv, false, kv_head, tile + kPositions, end, key_tile);
    end_group_of_copies();
    wait_for_copies<1>();
    __syncthreads();  // the values are here
#pragma unroll
    for (int s = 0; s < kPositions / 16; ++s) {
      const uint32_t p[4] = {weights[2 * s][0], weights[2 * s][1], weights[2 * s + 1][0],
                             weights[2 * s + 1][1]};
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t v[4];
        load_transposed(
            v, shared_address(chunk_at<kDim>(value_tile, s * 16 + lane % 16, n + lane / 16)));
        multiply_add(out[n], p, v[0], v[1]);
        multiply_add(out[n + 1], p, v[2], v[3]);
      }
    }
  }

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(kAllLanes, sum[h], 1);
    sum[h] += __shfl_xor_sync(kAllLanes, sum[h], 2);
    const int at = warp * 16 + lane / 4 + 8 * h;
    if (at >= count || begin > own[h]) continue;
    const int64_t vector = vector_of(a, span, kv_head, first_query + at);
    const bool whole = own[h] < a.segment;
    const int64_t part = first_part_of(a, static_cast<int>(blockIdx.z), vector) + segment;
    const float factor = whole ? 1.0f / sum[h] : 1.0f;
    float* to = (whole ? a.out + vector * kDim : a.parts + part * kDim) + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      to[8 * n] = out[n][2 * h] * factor;
      to[8 * n + 1] = out[n][2 * h + 1] * factor;
    }
    if (!whole && lane % 4 == 0) a.statistics[part] = make_float2(largest[h], sum[h]);
  }
}

template <int kDim, bool kHalf>
int32_t launch(sluice_backend* backend, const AttentionSpans& a) {
  constexpr size_t kBytes = Shape<kDim>::kBytes;
  if (kBytes > 48 << 10)  // asked for each time: the setting belongs to the device in use
    SLUICE_CUDA(backend, cudaFuncSetAttribute(attend_block<kDim, kHalf>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(kBytes)));
  int64_t blocks = 0;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_span& span = a.spans.span[s];
    blocks = std::max(blocks, ceil_div(span.rows * (a.heads / span.kv.kv_heads), kQueries));
  }
  const int64_t kv_heads = a.spans.span[0].kv.kv_heads;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(kv_heads * a.segments),
                  static_cast<unsigned>(a.count));
  attend_block<kDim, kHalf><<<grid, kThreads, kBytes, backend->stream>>>(a);
  return backend->launched("attention");
}

}  // namespace

int32_t attend_tiles(sluice_backend* backend, const AttentionSpans& a) {
  bool half = true;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_kv& kv = a.spans.span[s].kv;
    for (const bool is_value : {false, true})
      half &= (is_value ? kv.value_type : kv.key_type) == static_cast<uint32_t>(Type::kF16) &&
              reinterpret_cast<uintptr_t>(is_value ? kv.values : kv.keys) % 16 == 0;
  }
  if (a.spans.span[0].kv.head_dim == 128)
    return half ? launch<128, true>(backend, a) : launch<128, false>(backend, a);
  return half ? launch<256, true>(backend, a) : launch<256, false>(backend, a);
}

}  // namespace sluice::cuda
