// SPDX-License-Identifier: Apache-2.0
// Matrix products: several weights applied to one input.
#include <algorithm>

#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kRowsPerChunk = 32;

// x minus what its quantised form stands for.
void residual(const float* x, const quant::ActBlock* quantised, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const quant::ActBlock& block = quantised[i / quant::kActBlock];
    const int64_t at = i % quant::kActBlock;
    out[i] = x[i] - block.scale[at / 32] * static_cast<float>(block.q[at]);
  }
}

}  // namespace

const quant::ActBlock* quantize_rows(sluice_backend& backend, const float* x, int64_t rows,
                                     int64_t dim, std::vector<quant::ActBlock>& scratch,
                                     bool fine) {
  const int64_t blocks = quant::act_blocks(dim);
  const int64_t copies = fine ? 2 : 1;
  quant::ActBlock* out = grown(scratch, static_cast<size_t>(rows * copies * blocks));
  backend.pool.for_ranges(rows, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      quant::ActBlock* row = out + r * copies * blocks;
      backend.kernels.quantize(x + r * dim, dim, row);
      if (!fine) continue;
      thread_local std::vector<float> rest;
      residual(x + r * dim, row, dim, grown(rest, static_cast<size_t>(dim)));
      backend.kernels.quantize(rest.data(), dim, row + blocks);
    }
  });
  return out;
}

int32_t multiply(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const sluice_product* products, int32_t count, int32_t fine) {
  bool any_quantised = false;
  int64_t chunks = 0;
  for (int32_t i = 0; i < count; ++i) {
    any_quantised |= !is_float_type(products[i].weight.type);
    chunks += (products[i].weight.rows + kRowsPerChunk - 1) / kRowsPerChunk;
  }
  const quant::ActBlock* quantised =
      any_quantised ? quantize_rows(*backend, x, rows, dim, backend->input, fine != 0) : nullptr;
  const int64_t copies = fine ? 2 : 1;
  const int64_t blocks = quant::act_blocks(dim);

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
    float tile[2 * kBatch * kRowsPerChunk];
    for (int64_t r = 0; r < rows; r += kBatch) {
      const int64_t batch = std::min(kBatch, rows - r);
      const bool integer = !is_float_type(weight.type);
      if (integer)
        backend->kernels.dot_rows[weight.type](data, row_bytes, here, dim,
                                               quantised + r * copies * blocks, batch * copies,
                                               tile, kRowsPerChunk);
      else
        backend->kernels.dot_rows_float[weight.type](data, row_bytes, here, dim, x + r * dim, batch,
                                                     tile, kRowsPerChunk);
      for (int64_t b = 0; b < batch; ++b) {
        float* out = product->out + (r + b) * weight.rows + first;
        float* values = tile + b * kRowsPerChunk * (integer ? copies : 1);
        if (integer && fine)
          for (int64_t i = 0; i < here; ++i) values[i] += values[kRowsPerChunk + i];
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
