// SPDX-License-Identifier: Apache-2.0
// What the two forms of attention share. A query vector is a row and a head; the heads that share a
// kv head are treated together, as query q = row * group + head in the group. Where a context is
// cut into segments, each gives a part: an output that is not yet divided, the largest score and
// the sum of the exponentials (to base 2, of scores times log2 e). They are added in order.
#pragma once

#include "compute/cuda/cache.cuh"
#include "compute/cuda/instance.h"
#include "compute/cuda/reduce.cuh"

namespace sluice::cuda {

constexpr int kMaxHeadDim = 512;
constexpr int64_t kMostSegments = 128;

struct AttentionSpans {
  SpanList<sluice_span> spans;
  int32_t count;
  int64_t heads;
  const float* q;  // [batch rows, heads, head_dim], out likewise
  float* out;
  float scale;       // of the scores, times log2 e
  int64_t segment;   // positions
  int64_t segments;  // the most that a row of this launch has
  // Of the rows of this launch alone: a batch may be much larger.
  float* parts;                          // [rows, heads, segments, head_dim]
  float2* statistics;                    // [rows, heads, segments]: largest score, sum
  int32_t rows_before[kSpansPerLaunch];  // of the spans before this one
  uint32_t* counters;                    // of attend_vectors: blocks that are done

  __device__ int64_t group(const sluice_span& span) const { return heads / span.kv.kv_heads; }
};

// A query vector's place in [batch rows, heads].
__device__ __forceinline__ int64_t vector_of(const AttentionSpans& a, const sluice_span& span,
                                             int64_t kv_head, int64_t query) {
  const int64_t group = a.group(span);
  return (span.first_row + query / group) * a.heads + kv_head * group + query % group;
}

// The place of its first part in [rows, heads, segments].
__device__ __forceinline__ int64_t first_part_of(const AttentionSpans& a, int span,
                                                 int64_t vector) {
  const int64_t row = a.rows_before[span] - a.spans.span[span].first_row;
  return (vector + row * a.heads) * a.segments;
}

__device__ __forceinline__ const uint8_t* cache_row(const sluice_kv& kv, bool is_value,
                                                    int64_t kv_head, int64_t position) {
  const uint32_t type = is_value ? kv.value_type : kv.key_type;
  return static_cast<const uint8_t*>(is_value ? kv.values : kv.keys) +
         (kv_head * kv.capacity + position) * cache_row_bytes(type, kv.head_dim);
}

// The weight of a part or tile whose largest score is `from` beside one that is `to`; 0 where it
// has seen nothing.
__device__ __forceinline__ float rescale(float from, float to) {
  return from == -INFINITY ? 0.0f : exp2f(from - to);
}

// Launches over all spans of `a`, whose segment, segments, parts and statistics are set.
// For a few rows: float32 arithmetic, any type of cache, head_dim a multiple of 8. Adds the parts
// itself.
int32_t attend_vectors(sluice_backend* backend, AttentionSpans& a);
// For many, leaving the parts to combine(): tensor cores in fp16 with float32 sums. Head dimensions
// of 128 and 256, caches of at most 16 bits.
int32_t attend_tiles(sluice_backend* backend, const AttentionSpans& a);

}  // namespace sluice::cuda
