// SPDX-License-Identifier: Apache-2.0
// The key-value cache and causal attention in flash style: tiles of positions are widened to float
// once for all query heads that share them, with an online softmax. Long contexts are cut into
// segments of a fixed length whose results are merged in order, so that one token's attention has
// work for every thread and the bits do not depend on who did it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kMaxHeadDim = 512;
constexpr int64_t kMaxQueries = 64;  // query vectors that share one pass over the cache
constexpr int64_t kSegment = 1024;   // cached positions, a multiple of the tile

uint8_t* cache_row(const sluice_kv& kv, void* base, uint32_t type, int64_t head, int64_t position) {
  const size_t bytes = quant::row_bytes(static_cast<quant::Type>(type), kv.head_dim);
  return static_cast<uint8_t*>(base) + static_cast<size_t>(head * kv.capacity + position) * bytes;
}

// What the queries of a block have seen so far.
struct Running {
  float maximum[kMaxQueries];
  float sum[kMaxQueries];
  std::vector<float> out;  // [queries, stride]

  void start(int64_t queries, int64_t stride) {
    std::fill_n(maximum, queries, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, queries, 0.0f);
    out.assign(static_cast<size_t>(queries * stride), 0.0f);
  }
};

struct Scratch {
  float decoded[kTilePositions * kMaxHeadDim];
  float keys[kTilePositions * kMaxHeadDim];
  float values[kTilePositions * kMaxHeadDim];
  float scores[kMaxQueries * kTilePositions];
  float queries[kMaxQueries * kMaxHeadDim];
};

// The rows of a span that are treated together, for one kv head.
struct Block {
  const sluice_span* span;
  int64_t kv_head;
  int64_t first_row;
  int64_t rows;
  int64_t group;  // query heads per kv head

  int64_t queries() const { return rows * group; }
  int64_t positions() const { return span->position + first_row + rows; }
  int64_t segments() const { return (positions() + kSegment - 1) / kSegment; }
  // Query q = row * group + head in the group, as its place in [batch rows, heads].
  int64_t vector(int64_t q) const {
    const int64_t row = span->first_row + first_row + q / group;
    return (row * span->kv.kv_heads + kv_head) * group + q % group;
  }
};

int64_t padded(int64_t dim) {
  return (dim + 63) / 64 * 64;
}

// Decodes `count` positions of a cache and fetches as many behind them, which are needed next, into
// the second-level cache: the system's own prefetching stops at every page.
void decode_positions(const Kernels& kernels, const uint8_t* rows, uint32_t type, int64_t count,
                      int64_t dim, float* out) {
  constexpr int64_t kStep = 8;
  const size_t row_bytes = quant::row_bytes(static_cast<quant::Type>(type), dim);
  for (int64_t p = 0; p < count; p += kStep) {
    const int64_t here = std::min(kStep, count - p);
    const uint8_t* from = rows + static_cast<size_t>(p) * row_bytes;
    for (size_t at = 0; at < static_cast<size_t>(here) * row_bytes; at += 64)
      __builtin_prefetch(from + static_cast<size_t>(count) * row_bytes + at, 0, 2);
    kernels.decode[type](from, here * dim, out + p * dim);
  }
}

// The block's queries against one segment of the cache.
void attend_segment(const Kernels& kernels, const Block& block, int64_t segment, const float* q,
                    float scale, Running& running) {
  const sluice_kv& kv = block.span->kv;
  const int64_t dim = kv.head_dim, stride = padded(dim), queries = block.queries();
  static thread_local Scratch scratch;
  for (int64_t i = 0; i < queries; ++i) {
    const float* from = q + block.vector(i) * dim;
    for (int64_t d = 0; d < dim; ++d) scratch.queries[i * dim + d] = scale * from[d];
  }
  running.start(queries, stride);

  const int64_t end = std::min(block.positions(), (segment + 1) * kSegment);
  for (int64_t begin = segment * kSegment; begin < end; begin += kTilePositions) {
    const int64_t count = std::min(kTilePositions, end - begin);
    decode_positions(kernels, cache_row(kv, kv.keys, kv.key_type, block.kv_head, begin),
                     kv.key_type, count, dim, scratch.decoded);
    kernels.transpose_keys(scratch.decoded, count, dim, scratch.keys);
    const uint8_t* values = cache_row(kv, kv.values, kv.value_type, block.kv_head, begin);
    if (stride == dim) {
      decode_positions(kernels, values, kv.value_type, count, dim, scratch.values);
    } else {
      decode_positions(kernels, values, kv.value_type, count, dim, scratch.decoded);
      for (int64_t p = 0; p < count; ++p) {
        std::copy_n(scratch.decoded + p * dim, dim, scratch.values + p * stride);
        std::fill_n(scratch.values + p * stride + dim, stride - dim, 0.0f);
      }
    }
    int32_t visible[kMaxQueries];
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t own = block.span->position + block.first_row + i / block.group;
      visible[i] = static_cast<int32_t>(std::clamp<int64_t>(own + 1 - begin, 0, count));
    }
    kernels.attend({scratch.queries, queries, dim, scratch.keys, scratch.values, count, visible,
                    scratch.scores, running.maximum, running.sum, running.out.data(), stride});
  }
}

// total = total and then `next`.
void merge(const Running& next, int64_t queries, int64_t stride, Running& total) {
  for (int64_t i = 0; i < queries; ++i) {
    if (next.sum[i] == 0) continue;  // the query sees nothing of that segment
    const float maximum = std::max(total.maximum[i], next.maximum[i]);
    const float old_weight = std::exp(total.maximum[i] - maximum);
    const float new_weight = std::exp(next.maximum[i] - maximum);
    total.maximum[i] = maximum;
    total.sum[i] = old_weight * total.sum[i] + new_weight * next.sum[i];
    float* to = total.out.data() + i * stride;
    const float* from = next.out.data() + i * stride;
    for (int64_t d = 0; d < stride; ++d) to[d] = old_weight * to[d] + new_weight * from[d];
  }
}

void finish(const Block& block, const Running& total, float* out) {
  const int64_t dim = block.span->kv.head_dim, stride = padded(dim);
  for (int64_t i = 0; i < block.queries(); ++i) {
    const float inverse = 1.0f / total.sum[i];
    float* to = out + block.vector(i) * dim;
    for (int64_t d = 0; d < dim; ++d)
      to[d] = total.out[static_cast<size_t>(i * stride + d)] * inverse;
  }
}

// All segments in order.
void attend(const Kernels& kernels, const Block& block, const float* q, float scale, float* out) {
  static thread_local Running total, next;
  attend_segment(kernels, block, 0, q, scale, total);
  for (int64_t s = 1; s < block.segments(); ++s) {
    attend_segment(kernels, block, s, q, scale, next);
    merge(next, block.queries(), padded(block.span->kv.head_dim), total);
  }
  finish(block, total, out);
}

}  // namespace

int32_t kv_store(sluice_backend* backend, const sluice_span* spans, int32_t span_count,
                 const float* keys, const float* values) {
  for (int32_t s = 0; s < span_count; ++s) {
    const sluice_span& span = spans[s];
    const sluice_kv& kv = span.kv;
    SLUICE_CHECK(span.position + span.rows <= kv.capacity, "positions beyond the cache");
    const auto encode_key = backend->kernels.encode[kv.key_type];
    const auto encode_value = backend->kernels.encode[kv.value_type];
    backend->pool.for_ranges(span.rows * kv.kv_heads, 16, [&](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / kv.kv_heads;
        const int64_t head = i % kv.kv_heads;
        const int64_t from = ((span.first_row + row) * kv.kv_heads + head) * kv.head_dim;
        const int64_t position = span.position + row;
        encode_key(keys + from, kv.head_dim, cache_row(kv, kv.keys, kv.key_type, head, position));
        encode_value(values + from, kv.head_dim,
                     cache_row(kv, kv.values, kv.value_type, head, position));
      }
    });
  }
  return 0;
}

int32_t attention(sluice_backend* backend, const sluice_span* spans, int32_t span_count,
                  const float* q, int64_t heads, float scale, float* out) {
  const Kernels& kernels = backend->kernels;
  static thread_local std::vector<Block> blocks;
  blocks.clear();
  int64_t segments = 0;
  for (int32_t s = 0; s < span_count; ++s) {
    const sluice_span& span = spans[s];
    const int64_t group = heads / span.kv.kv_heads;
    SLUICE_CHECK(span.kv.head_dim <= kMaxHeadDim, "head dimension");
    SLUICE_CHECK(group <= kMaxQueries, "query heads per kv head");
    const int64_t step = kMaxQueries / group;
    // The last rows see the most positions: handing them out first balances the end.
    for (int64_t first = (span.rows - 1) / step * step; first >= 0; first -= step)
      for (int64_t head = 0; head < span.kv.kv_heads; ++head) {
        const Block block{&span, head, first, std::min(step, span.rows - first), group};
        segments += block.segments();
        blocks.push_back(block);
      }
  }

  const auto count = static_cast<int64_t>(blocks.size());
  const Block* const all = blocks.data();
  if (segments == count || count >= 8 * backend->pool.size()) {
    backend->pool.run(count, [&](int, int64_t i) { attend(kernels, all[i], q, scale, out); });
    return 0;
  }
  // Few blocks: their segments are handed out one by one and merged afterwards.
  static thread_local std::vector<Running> parts;
  static thread_local std::vector<int64_t> first_part;
  Running* const part = grown(parts, static_cast<size_t>(segments));
  int64_t* const start = grown(first_part, static_cast<size_t>(count + 1));
  start[0] = 0;
  for (int64_t i = 0; i < count; ++i) start[i + 1] = start[i] + all[i].segments();
  backend->pool.run(segments, [&](int, int64_t i) {
    const int64_t block = std::upper_bound(start, start + count + 1, i) - start - 1;
    attend_segment(kernels, all[block], i - start[block], q, scale, part[i]);
  });
  backend->pool.run(count, [&](int, int64_t i) {
    Running& total = part[start[i]];
    for (int64_t s = start[i] + 1; s < start[i + 1]; ++s)
      merge(part[s], all[i].queries(), padded(all[i].span->kv.head_dim), total);
    finish(all[i], total, out);
  });
  return 0;
}

}  // namespace sluice::cpu
