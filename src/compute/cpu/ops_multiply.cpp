// SPDX-License-Identifier: Apache-2.0
// Matrix products: several weights applied to one input.
#include <algorithm>
#include <new>

#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

// x minus what its quantised form stands for.
void residual(const float* x, const quant::ActBlock* quantised, int64_t n, float* out) {
  for (int64_t begin = 0; begin < n; begin += 32) {
    const quant::ActBlock& block = quantised[begin / quant::kActBlock];
    const int64_t at = begin % quant::kActBlock;
    const float scale = block.scale[at / 32];
    for (int64_t i = 0; i < 32; ++i)
      out[begin + i] = x[begin + i] - scale * static_cast<float>(block.q[at + i]);
  }
}

// x . weight for weight rows first .. first + count - 1 into out[row * stride + i]. Row r of x is
// packed row r * copies, and with `fine` the next one too.
void multiply_quantised(const Kernels& kernels, const sluice_matrix& weight, int64_t first,
                        int64_t count, const PackedRows& x, int64_t copies, int64_t rows, bool fine,
                        float* out, int64_t stride) {
  const size_t row_bytes = bytes_per_row(weight);
  const uint8_t* data =
      static_cast<const uint8_t*>(weight.data) + static_cast<size_t>(first) * row_bytes;
  const int64_t parts = fine ? 2 : 1;
  thread_local std::vector<float> scratch;
  float* tile = fine ? grown(scratch, static_cast<size_t>(kActsPerPass * count)) : nullptr;
  const uint8_t* acts[kActsPerPass];
  const int64_t pass = kActsPerPass / parts;
  for (int64_t r = 0; r < rows; r += pass) {
    const int64_t here = std::min(pass, rows - r);
    for (int64_t i = 0; i < here; ++i)
      for (int64_t k = 0; k < parts; ++k) acts[i * parts + k] = x.row((r + i) * copies + k);
    float* to = out + r * stride;
    if (!fine) {
      kernels.dot_rows[weight.type](data, row_bytes, count, weight.cols, acts, here, to, stride,
                                    nullptr);
      continue;
    }
    kernels.dot_rows[weight.type](data, row_bytes, count, weight.cols, acts, here * 2, tile, count,
                                  nullptr);
    for (int64_t b = 0; b < here; ++b)
      for (int64_t i = 0; i < count; ++i)
        to[b * stride + i] = tile[2 * b * count + i] + tile[(2 * b + 1) * count + i];
  }
}

}  // namespace

PackedRows packed_rows(const sluice_backend& backend, int64_t rows, int64_t dim,
                       AlignedBuffer& scratch) {
  const size_t row_bytes =
      static_cast<size_t>(quant::act_blocks(dim)) * backend.kernels.packed_block_bytes;
  const size_t bytes = static_cast<size_t>(rows) * row_bytes;
  if (scratch.size() < bytes) {
    scratch = AlignedBuffer();
    scratch = AlignedBuffer::allocate(bytes);
    if (!scratch) throw std::bad_alloc();
  }
  return {scratch.data(), row_bytes};
}

void pack_row(const Kernels& kernels, const float* x, int64_t dim, const PackedRows& to,
              int64_t r) {
  thread_local std::vector<quant::ActBlock> scratch;
  const int64_t count = quant::act_blocks(dim);
  quant::ActBlock* blocks = grown(scratch, static_cast<size_t>(count));
  kernels.quantize(x, dim, blocks);
  kernels.pack(blocks, count, const_cast<uint8_t*>(to.row(r)));
}

PackedRows quantize_rows(sluice_backend& backend, const float* x, int64_t rows, int64_t dim,
                         AlignedBuffer& scratch, bool fine) {
  const Kernels& kernels = backend.kernels;
  const int64_t count = quant::act_blocks(dim);
  const PackedRows packed = packed_rows(backend, fine ? 2 * rows : rows, dim, scratch);
  backend.pool.for_ranges(rows, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (!fine) {
        pack_row(kernels, x + r * dim, dim, packed, r);
        continue;
      }
      thread_local std::vector<quant::ActBlock> blocks;
      thread_local std::vector<float> rest;
      quant::ActBlock* coarse = grown(blocks, static_cast<size_t>(count));
      kernels.quantize(x + r * dim, dim, coarse);
      kernels.pack(coarse, count, const_cast<uint8_t*>(packed.row(2 * r)));
      residual(x + r * dim, coarse, dim, grown(rest, static_cast<size_t>(dim)));
      pack_row(kernels, rest.data(), dim, packed, 2 * r + 1);
    }
  });
  return packed;
}

int64_t rows_per_chunk(const sluice_backend& backend, int64_t weight_rows, int64_t acts) {
  constexpr int64_t kSmall = 32, kLarge = 128;
  return acts > 4 && weight_rows >= kLarge * 4 * backend.pool.size() ? kLarge : kSmall;
}

int32_t multiply(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const sluice_product* products, int32_t count) {
  bool any_quantised = false;
  bool any_fine = false;
  int64_t weight_rows = 0;
  for (int32_t i = 0; i < count; ++i) {
    any_quantised |= !is_float_type(products[i].weight.type);
    any_fine |= products[i].fine != 0;
    weight_rows += products[i].weight.rows;
  }
  const PackedRows packed = any_quantised
                                ? quantize_rows(*backend, x, rows, dim, backend->input, any_fine)
                                : PackedRows{};
  const int64_t per_chunk = rows_per_chunk(*backend, weight_rows, rows);
  int64_t chunks = 0;
  for (int32_t i = 0; i < count; ++i)
    chunks += (products[i].weight.rows + per_chunk - 1) / per_chunk;

  backend->pool.run(chunks, [&](int, int64_t chunk) {
    const sluice_product* product = products;
    int64_t first = chunk * per_chunk;
    for (;; ++product) {
      const int64_t padded = (product->weight.rows + per_chunk - 1) / per_chunk * per_chunk;
      if (first < padded) break;
      first -= padded;
    }
    const sluice_matrix& weight = product->weight;
    const int64_t here = std::min(per_chunk, weight.rows - first);
    thread_local std::vector<float> scratch;
    float* out = product->out + first;
    int64_t stride = weight.rows;
    if (product->accumulate) {
      out = grown(scratch, static_cast<size_t>(rows * here));
      stride = here;
    }
    if (is_float_type(weight.type)) {
      const size_t row_bytes = bytes_per_row(weight);
      backend->kernels.dot_rows_float[weight.type](
          static_cast<const uint8_t*>(weight.data) + static_cast<size_t>(first) * row_bytes,
          row_bytes, here, dim, x, rows, out, stride);
    } else {
      multiply_quantised(backend->kernels, weight, first, here, packed, any_fine ? 2 : 1, rows,
                         product->fine != 0, out, stride);
    }
    if (!product->accumulate) return;
    for (int64_t r = 0; r < rows; ++r)
      backend->kernels.axpy(1.0f, out + r * stride, product->out + r * weight.rows + first, here);
  });
  return 0;
}

}  // namespace sluice::cpu
