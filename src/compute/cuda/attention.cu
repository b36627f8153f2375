// SPDX-License-Identifier: Apache-2.0
// Which form of attention a span gets, and the addition of what the segments of a context gave.
#include <algorithm>
#include <string>

#include "compute/cuda/attention.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = kMaxHeadDim;
constexpr int64_t kFewRows = 8;  // of a span: what decoding and speculation bring
// Of a few rows' context. Segments follow from the cache's size, not from the batch, so that a
// row's bits do not depend on what else is in it.
constexpr int64_t kSegment = 128;
constexpr int64_t kTile = 64;  // of attend_tiles
constexpr float kLog2E = 1.44269504088896341f;

// One block per row and head adds the parts that attend_tiles left. Threads that share an element
// take every few segments each; their sums are added in order.
__global__ __launch_bounds__(kThreads) void combine(const __grid_constant__ AttentionSpans a) {
  __shared__ float weights[kMostSegments];
  __shared__ float sums[kMostSegments];
  __shared__ float shares[kThreads];
  const sluice_span& span = a.spans.span[blockIdx.z];
  const int64_t row = blockIdx.x;
  if (row >= span.rows) return;
  const int dim = span.kv.head_dim, thread = static_cast<int>(threadIdx.x);
  const auto segments = static_cast<int>((span.position + row) / a.segment + 1);
  if (segments == 1) return;  // written by the segment itself
  const int64_t vector = (span.first_row + row) * a.heads + blockIdx.y;
  const int64_t first = first_part_of(a, static_cast<int>(blockIdx.z), vector);
  const float* parts = a.parts + first * dim;
  if (thread < segments) {
    const float2 found = a.statistics[first + thread];
    weights[thread] = found.x;
    sums[thread] = found.y;
  }
  __syncthreads();
  float largest = -INFINITY;
  for (int s = thread % kWarp; s < segments; s += kWarp) largest = fmaxf(largest, weights[s]);
  largest = warp_max(largest);
  __syncthreads();
  if (thread < segments) {
    weights[thread] = rescale(weights[thread], largest);
    sums[thread] *= weights[thread];
  }
  __syncthreads();
  float total = 0;
  for (int s = thread % kWarp; s < segments; s += kWarp) total += sums[s];
  total = warp_sum(total);

  const int groups = kThreads / dim, group = thread / dim;
  float share = 0;
  if (group < groups) {
#pragma unroll 8
    for (int s = group; s < segments; s += groups)
      share += weights[s] * parts[int64_t{s} * dim + thread % dim];
  }
  shares[thread] = share;
  __syncthreads();
  if (thread >= dim) return;
  float sum = 0;
  for (int g = 0; g < groups; ++g) sum += shares[g * dim + thread];
  a.out[vector * dim + thread] = sum / total;
}

// Spans that one launch can treat: they differ in their rows and caches, not in the form.
struct Form {
  bool tiles;
  int64_t head_dim;
  int64_t kv_heads;
  int64_t segment;
  bool operator==(const Form&) const = default;
};

Form form_of(const sluice_backend& backend, const sluice_span& span, int64_t heads) {
  const sluice_kv& kv = span.kv;
  const int64_t end = span.position + span.rows;
  const auto float32 = static_cast<uint32_t>(Type::kF32);
  const bool tiles = span.rows > kFewRows && (kv.head_dim == 128 || kv.head_dim == 256) &&
                     kv.key_type != float32 && kv.value_type != float32;
  if (span.rows <= kFewRows) {
    const int64_t least = ceil_div(kv.capacity, kMostSegments);
    return {false, kv.head_dim, kv.kv_heads,
            std::max(kSegment, ceil_div(least, kSegment) * kSegment)};
  }
  if (!tiles) return {false, kv.head_dim, kv.kv_heads, end};
  // A short prompt behind a long context: too few blocks for the device unless that is cut.
  const int64_t blocks = ceil_div(span.rows * (heads / kv.kv_heads), kTile) * kv.kv_heads;
  const int64_t most = std::min(ceil_div(end, 8 * kTile), kMostSegments);
  const int64_t cuts = std::clamp(2 * backend.multiprocessors / blocks, int64_t{1}, most);
  return {true, kv.head_dim, kv.kv_heads,
          cuts == 1 ? end : ceil_div(ceil_div(end, cuts), kTile) * kTile};
}

int32_t refuse_shape(sluice_backend* backend, const sluice_span& span, int64_t heads) {
  const sluice_kv& kv = span.kv;
  if (kv.head_dim < 8 || kv.head_dim % 8 != 0 || kv.head_dim > kMaxHeadDim ||
      (kv.head_dim % 32 != 0 && (is_block_cache(kv.key_type) || is_block_cache(kv.value_type))))
    return backend->failed("attention: heads of " + std::to_string(kv.head_dim) +
                           " are not supported: multiples of 32 up to " +
                           std::to_string(kMaxHeadDim) + " are");
  if (heads % kv.kv_heads != 0)
    return backend->failed("attention: " + std::to_string(heads) + " heads over " +
                           std::to_string(kv.kv_heads) + " kv heads");
  if (!supports_cache(backend, kv.key_type) || !supports_cache(backend, kv.value_type))
    return backend->failed("attention: a type of cache that this backend does not have");
  if (span.position + span.rows > kv.capacity)
    return backend->failed("attention: positions beyond the cache");
  return 0;
}

// All spans of `a` have the form.
int32_t attend(sluice_backend* backend, AttentionSpans& a, const Form& form) {
  int64_t rows = 0, all_rows = 0, end = 0;
  for (int32_t s = 0; s < a.count; ++s) {
    const sluice_span& span = a.spans.span[s];
    a.rows_before[s] = static_cast<int32_t>(all_rows);
    all_rows += span.rows;
    rows = std::max(rows, span.rows);
    end = std::max(end, span.position + span.rows);
  }
  a.segment = form.segment;
  a.segments = ceil_div(end, form.segment);
  if (a.segments > 1) {
    const int64_t parts = all_rows * a.heads * a.segments;
    auto* memory = backend->partial.reserve_array<float>(backend, parts * (form.head_dim + 2));
    if (!memory) return 1;
    a.parts = memory;
    a.statistics = reinterpret_cast<float2*>(memory + parts * form.head_dim);
  }
  SLUICE_STEP(form.tiles ? attend_tiles(backend, a) : attend_vectors(backend, a));
  if (a.segments == 1 || !form.tiles) return 0;
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(a.heads),
                  static_cast<unsigned>(a.count));
  combine<<<grid, kThreads, 0, backend->stream>>>(a);
  return backend->launched("attention");
}

}  // namespace

int32_t attention(sluice_backend* backend, const sluice_span* spans, int32_t span_count,
                  const float* q, int64_t heads, float scale, float* out) {
  for (int32_t s = 0; s < span_count;) {
    if (spans[s].rows == 0) {
      ++s;
      continue;
    }
    AttentionSpans a{};
    a.heads = heads;
    a.q = q;
    a.out = out;
    a.scale = scale * kLog2E;
    SLUICE_STEP(refuse_shape(backend, spans[s], heads));
    const Form form = form_of(*backend, spans[s], heads);
    // Neighbours of one form go together.
    while (s < span_count && a.count < kSpansPerLaunch) {
      if (spans[s].rows > 0) {
        SLUICE_STEP(refuse_shape(backend, spans[s], heads));
        if (!(form_of(*backend, spans[s], heads) == form)) break;
        a.spans.span[a.count++] = spans[s];
      }
      ++s;
    }
    SLUICE_STEP(attend(backend, a, form));
  }
  return 0;
}

}  // namespace sluice::cuda
