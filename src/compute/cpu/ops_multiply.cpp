// SPDX-License-Identifier: Apache-2.0
// Matrix products: several weights applied to one input.
#include <algorithm>

#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kRowsPerChunk = 32;

}  // namespace

const quant::ActBlock* quantize_rows(sluice_backend& backend, const float* x, int64_t rows,
                                     int64_t dim, std::vector<quant::ActBlock>& scratch) {
  const int64_t blocks = quant::act_blocks(dim);
  quant::ActBlock* out = grown(scratch, static_cast<size_t>(rows * blocks));
  backend.pool.for_ranges(rows, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      backend.kernels.quantize(x + r * dim, dim, out + r * blocks);
  });
  return out;
}

int32_t multiply(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const sluice_product* products, int32_t count) {
  bool any_quantised = false;
  int64_t chunks = 0;
  for (int32_t i = 0; i < count; ++i) {
    any_quantised |= !is_float_type(products[i].weight.type);
    chunks += (products[i].weight.rows + kRowsPerChunk - 1) / kRowsPerChunk;
  }
  const quant::ActBlock* quantised =
      any_quantised ? quantize_rows(*backend, x, rows, dim, backend->input) : nullptr;

  backend->pool.run(chunks, [&](int, int64_t chunk) {
    const sluice_product* product = products;
    int64_t first = chunk * kRowsPerChunk;
    for (;; ++product) {
      const int64_t padded =
          (product->weight.rows + kRowsPerChunk - 1) / kRowsPerChunk * kRowsPerChunk;
      if (first < padded) break;
      first -= padded;
    }
    const sluice_matrix& weight = product->weight;
    const int64_t here = std::min(kRowsPerChunk, weight.rows - first);
    const size_t row_bytes = bytes_per_row(weight);
    const uint8_t* data =
        static_cast<const uint8_t*>(weight.data) + static_cast<size_t>(first) * row_bytes;

    constexpr int64_t kBatch = 16;
    float tile[kBatch * kRowsPerChunk];
    for (int64_t r = 0; r < rows; r += kBatch) {
      const int64_t batch = std::min(kBatch, rows - r);
      if (quantised && !is_float_type(weight.type))
        backend->kernels.dot_rows[weight.type](data, row_bytes, here, dim,
                                               quantised + r * quant::act_blocks(dim), batch, tile,
                                               kRowsPerChunk);
      else
        backend->kernels.dot_rows_float[weight.type](data, row_bytes, here, dim, x + r * dim, batch,
                                                     tile, kRowsPerChunk);
      for (int64_t b = 0; b < batch; ++b) {
        float* out = product->out + (r + b) * weight.rows + first;
        const float* values = tile + b * kRowsPerChunk;
        if (product->accumulate)
          for (int64_t i = 0; i < here; ++i) out[i] += values[i];
        else
          std::copy(values, values + here, out);
      }
    }
  });
  return 0;
}

}  // namespace sluice::cpu
