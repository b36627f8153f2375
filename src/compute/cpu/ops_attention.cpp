// SPDX-License-Identifier: Apache-2.0
// The key-value cache and causal attention in flash style: tiles of positions are widened to float
// once for all query heads that share them, with an online softmax.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kTile = 64;  // cached positions per step
constexpr int64_t kMaxHeadDim = 512;
constexpr int64_t kQueryRows = 4;  // batch rows that share one pass over the cache

struct Tile {
  float keys[kTile * kMaxHeadDim];
  float values[kTile * kMaxHeadDim];
};

// One query vector's running softmax.
struct Running {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

uint8_t* cache_row(const sluice_kv& kv, void* base, uint32_t type, int64_t head, int64_t position) {
  const size_t bytes = quant::row_bytes(static_cast<quant::Type>(type), kv.head_dim);
  return static_cast<uint8_t*>(base) + static_cast<size_t>(head * kv.capacity + position) * bytes;
}

void attend(const Kernels& kernels, const sluice_span& span, int64_t kv_head, int64_t first_row,
            int64_t rows, const float* q, int64_t heads, float scale, float* out) {
  const sluice_kv& kv = span.kv;
  const int64_t dim = kv.head_dim;
  const int64_t group = heads / kv.kv_heads;
  thread_local Tile tile;
  thread_local std::vector<Running> running;
  running.assign(static_cast<size_t>(rows * group), Running{});

  auto vector_index = [&](int64_t row, int64_t g) {
    return ((span.first_row + first_row + row) * heads + kv_head * group + g) * dim;
  };
  for (int64_t r = 0; r < rows; ++r) std::fill_n(out + vector_index(r, 0), group * dim, 0.0f);

  const int64_t last_position = span.position + first_row + rows - 1;
  for (int64_t begin = 0; begin <= last_position; begin += kTile) {
    const int64_t count = std::min(kTile, last_position + 1 - begin);
    kernels.decode[kv.key_type](cache_row(kv, kv.keys, kv.key_type, kv_head, begin), count * dim,
                                tile.keys);
    kernels.decode[kv.value_type](cache_row(kv, kv.values, kv.value_type, kv_head, begin),
                                  count * dim, tile.values);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t visible = std::min(count, span.position + first_row + r + 1 - begin);
      if (visible <= 0) continue;
      for (int64_t g = 0; g < group; ++g) {
        const float* query = q + vector_index(r, g);
        float* sum = out + vector_index(r, g);
        Running& state = running[static_cast<size_t>(r * group + g)];

        float scores[kTile];
        float maximum = state.maximum;
        for (int64_t p = 0; p < visible; ++p) {
          scores[p] = scale * kernels.dot(query, tile.keys + p * dim, dim);
          maximum = std::max(maximum, scores[p]);
        }
        if (maximum > state.maximum) {
          const float shrink = std::exp(state.maximum - maximum);  // 0 at the first tile
          state.sum *= shrink;
          for (int64_t i = 0; i < dim; ++i) sum[i] *= shrink;
          state.maximum = maximum;
        }
        for (int64_t p = 0; p < visible; ++p) {
          const float weight = std::exp(scores[p] - maximum);
          state.sum += weight;
          kernels.axpy(weight, tile.values + p * dim, sum, dim);
        }
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < group; ++g) {
      float* sum = out + vector_index(r, g);
      const float inverse = 1.0f / running[static_cast<size_t>(r * group + g)].sum;
      for (int64_t i = 0; i < dim; ++i) sum[i] *= inverse;
    }
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
  for (int32_t s = 0; s < span_count; ++s) {
    const sluice_span& span = spans[s];
    SLUICE_CHECK(span.kv.head_dim <= kMaxHeadDim, "head dimension");
    const int64_t blocks = (span.rows + kQueryRows - 1) / kQueryRows;
    backend->pool.run(blocks * span.kv.kv_heads, [&](int, int64_t chunk) {
      // The last rows see the most positions: handing them out first balances the end.
      const int64_t block = blocks - 1 - chunk / span.kv.kv_heads;
      const int64_t first = block * kQueryRows;
      attend(backend->kernels, span, chunk % span.kv.kv_heads, first,
             std::min(kQueryRows, span.rows - first), q, heads, scale, out);
    });
  }
  return 0;
}

}  // namespace sluice::cpu
