// SPDX-License-Identifier: Apache-2.0
// Router and experts.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kRowsPerChunk = 32;
constexpr int64_t kBatch = 16;  // activations per pass over a chunk of weight rows

// dot_rows over activations that need not follow one another: `index` maps to rows of x.
struct Input {
  const quant::ActBlock* quantised;
  const float* floats;
  int64_t dim;
};

void product_chunk(const Kernels& kernels, const sluice_matrix& weight, int64_t first, int64_t rows,
                   const Input& x, const int32_t* index, int64_t begin, int64_t count,
                   float* tile) {
  const size_t row_bytes = bytes_per_row(weight);
  const uint8_t* data =
      static_cast<const uint8_t*>(weight.data) + static_cast<size_t>(first) * row_bytes;
  const bool is_float = is_float_type(weight.type);
  const int64_t blocks = quant::act_blocks(x.dim);
  // Runs of consecutive rows go to the kernel together.
  for (int64_t i = 0; i < count;) {
    const int64_t row = index ? index[begin + i] : begin + i;
    int64_t run = 1;
    while (i + run < count && (index ? index[begin + i + run] : begin + i + run) == row + run)
      ++run;
    if (is_float)
      kernels.dot_rows_float[weight.type](data, row_bytes, rows, x.dim, x.floats + row * x.dim, run,
                                          tile + i * kRowsPerChunk, kRowsPerChunk);
    else
      kernels.dot_rows[weight.type](data, row_bytes, rows, x.dim, x.quantised + row * blocks, run,
                                    tile + i * kRowsPerChunk, kRowsPerChunk);
    i += run;
  }
}

}  // namespace

int32_t route(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
              const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights) {
  const int64_t count = weight->rows;
  const size_t row_bytes = bytes_per_row(*weight);
  const auto* data = static_cast<const uint8_t*>(weight->data);
  float* logits = grown(backend->logits, static_cast<size_t>(rows * count));
  const Kernels& kernels = backend->kernels;

  backend->pool.for_ranges(count, 16, [&](int, int64_t begin, int64_t end) {
    if (is_float_type(weight->type)) {
      kernels.dot_rows_float[weight->type](data + static_cast<size_t>(begin) * row_bytes, row_bytes,
                                           end - begin, dim, x, rows, logits + begin, count);
      return;
    }
    thread_local std::vector<float> row;
    row.resize(static_cast<size_t>(dim));
    for (int64_t e = begin; e < end; ++e) {
      kernels.decode[weight->type](data + static_cast<size_t>(e) * row_bytes, dim, row.data());
      for (int64_t r = 0; r < rows; ++r)
        logits[r * count + e] = kernels.dot(row.data(), x + r * dim, dim);
    }
  });

  backend->pool.for_ranges(rows, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* p = logits + r * count;
      const float maximum = *std::max_element(p, p + count);
      float chosen = 0;
      for (int64_t i = 0; i < k; ++i) {
        const float* best = std::max_element(p, p + count);  // the first of equals
        ids[r * k + i] = static_cast<int32_t>(best - p);
        // The softmax's denominator cancels in the renormalisation over the chosen.
        weights[r * k + i] = std::exp(*best - maximum);
        chosen += weights[r * k + i];
        p[best - p] = -std::numeric_limits<float>::infinity();
      }
      for (int64_t i = 0; i < k; ++i) weights[r * k + i] /= chosen;
    }
  });
  return 0;
}

int32_t experts(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                const sluice_expert* list, int32_t count, float* out) {
  if (count == 0) return 0;
  const Kernels& kernels = backend->kernels;
  bool input_quantised = false;
  bool middle_quantised = false;
  int64_t assignments = 0;
  for (int32_t e = 0; e < count; ++e) {
    input_quantised |= !is_float_type(list[e].gate.type) || !is_float_type(list[e].up.type);
    middle_quantised |= !is_float_type(list[e].down.type);
    assignments += list[e].count;
  }
  const int64_t hidden_dim = list[0].gate.rows;
  const Input input{
      input_quantised ? quantize_rows(*backend, x, rows, dim, backend->input) : nullptr, x, dim};
  float* hidden = grown(backend->hidden, static_cast<size_t>(assignments * hidden_dim));

  // Stage 1: hidden = silu(gate x) * (up x), split by expert and rows of gate and up.
  const int64_t per_expert = (hidden_dim + kRowsPerChunk - 1) / kRowsPerChunk;
  backend->pool.run(count * per_expert, [&](int, int64_t chunk) {
    const sluice_expert& expert = list[chunk / per_expert];
    const int64_t first = chunk % per_expert * kRowsPerChunk;
    const int64_t here = std::min(kRowsPerChunk, hidden_dim - first);
    float* to = hidden + first;
    for (const sluice_expert* e = list; e != &expert; ++e) to += e->count * hidden_dim;
    float gate[kBatch * kRowsPerChunk];
    float up[kBatch * kRowsPerChunk];
    for (int64_t begin = 0; begin < expert.count; begin += kBatch) {
      const int64_t batch = std::min<int64_t>(kBatch, expert.count - begin);
      product_chunk(kernels, expert.gate, first, here, input, expert.rows, begin, batch, gate);
      product_chunk(kernels, expert.up, first, here, input, expert.rows, begin, batch, up);
      for (int64_t b = 0; b < batch; ++b) {
        kernels.swiglu(gate + b * kRowsPerChunk, up + b * kRowsPerChunk, here);
        std::copy_n(gate + b * kRowsPerChunk, here, to + (begin + b) * hidden_dim);
      }
    }
  });

  const quant::ActBlock* middle =
      middle_quantised ? quantize_rows(*backend, hidden, assignments, hidden_dim, backend->middle)
                       : nullptr;

  // Stage 2: every chunk owns columns of `out` and adds the experts in order: no race, one result.
  const int64_t chunks = (dim + kRowsPerChunk - 1) / kRowsPerChunk;
  backend->pool.run(chunks, [&](int, int64_t chunk) {
    const int64_t first = chunk * kRowsPerChunk;
    const int64_t here = std::min(kRowsPerChunk, dim - first);
    float tile[kBatch * kRowsPerChunk];
    int64_t start = 0;
    for (int32_t e = 0; e < count; ++e) {
      const sluice_expert& expert = list[e];
      const Input from{middle ? middle + start * quant::act_blocks(hidden_dim) : nullptr,
                       hidden + start * hidden_dim, hidden_dim};
      for (int64_t begin = 0; begin < expert.count; begin += kBatch) {
        const int64_t batch = std::min<int64_t>(kBatch, expert.count - begin);
        product_chunk(kernels, expert.down, first, here, from, nullptr, begin, batch, tile);
        for (int64_t b = 0; b < batch; ++b)
          kernels.axpy(expert.weights[begin + b], tile + b * kRowsPerChunk,
                       out + expert.rows[begin + b] * dim + first, here);
      }
      start += expert.count;
    }
  });
  return 0;
}

}  // namespace sluice::cpu
