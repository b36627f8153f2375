// SPDX-License-Identifier: Apache-2.0
// Router and experts.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

// The activations of an expert: rows of x (which need not follow one another) in both forms.
struct Input {
  PackedRows packed;
  const float* floats;
  int64_t dim;
  const int32_t* index;  // nullptr: the rows first, first + 1, ...
  int64_t first;

  int64_t row(int64_t i) const { return index ? index[i] : first + i; }
};

const uint8_t* row_of(const sluice_matrix& weight, int64_t row) {
  return static_cast<const uint8_t*>(weight.data) +
         static_cast<size_t>(row) * bytes_per_row(weight);
}

// out[i * stride + r] = weight row first + r . input row i. next: as in Kernels::DotRows.
void multiply_rows(const Kernels& kernels, const sluice_matrix& weight, int64_t first, int64_t rows,
                   const Input& x, int64_t count, float* out, int64_t stride,
                   const uint8_t* next = nullptr) {
  const size_t row_bytes = bytes_per_row(weight);
  const uint8_t* data = row_of(weight, first);
  if (!is_float_type(weight.type)) {
    const uint8_t* acts[kActsPerPass];
    for (int64_t i = 0; i < count; ++i) acts[i] = x.packed.row(x.row(i));
    kernels.dot_rows[weight.type](data, row_bytes, rows, x.dim, acts, count, out, stride, next);
    return;
  }
  // Runs of consecutive rows go to the kernel together.
  for (int64_t i = 0; i < count;) {
    int64_t run = 1;
    while (i + run < count && x.row(i + run) == x.row(i) + run) ++run;
    kernels.dot_rows_float[weight.type](data, row_bytes, rows, x.dim, x.floats + x.row(i) * x.dim,
                                        run, out + i * stride, stride);
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
    SLUICE_CHECK(list[e].gate.rows == list[0].gate.rows, "experts of one call are of one size");
  }
  const int64_t hidden_dim = list[0].gate.rows;
  const PackedRows input =
      input_quantised ? quantize_rows(*backend, x, rows, dim, backend->input) : PackedRows{};
  const PackedRows middle = middle_quantised
                                ? packed_rows(*backend, assignments, hidden_dim, backend->middle)
                                : PackedRows{};
  float* hidden = grown(backend->hidden, static_cast<size_t>(assignments * hidden_dim));

  // Stage 1: hidden = silu(gate x) * (up x), split by expert and rows of gate and up. Who finishes
  // an expert's last piece quantises what it gave, so that no stage of its own is needed.
  const int64_t average = assignments / count;
  const int64_t per_chunk = rows_per_chunk(*backend, count * hidden_dim, average);
  const int64_t per_expert = (hidden_dim + per_chunk - 1) / per_chunk;
  int32_t* unfinished = grown(backend->unfinished, static_cast<size_t>(count));
  std::fill_n(unfinished, count, static_cast<int32_t>(per_expert));
  backend->pool.run(count * per_expert, [&](int, int64_t chunk) {
    const sluice_expert& expert = list[chunk / per_expert];
    const int64_t first = chunk % per_expert * per_chunk;
    const int64_t here = std::min(per_chunk, hidden_dim - first);
    int64_t start = 0;
    for (const sluice_expert* e = list; e != &expert; ++e) start += e->count;
    thread_local std::vector<float> scratch;
    float* up = grown(scratch, static_cast<size_t>(kActsPerPass * here));
    for (int64_t begin = 0; begin < expert.count; begin += kActsPerPass) {
      const int64_t pass = std::min<int64_t>(kActsPerPass, expert.count - begin);
      const Input from{input, x, dim, expert.rows + begin, 0};
      float* gate = hidden + (start + begin) * hidden_dim + first;
      multiply_rows(kernels, expert.gate, first, here, from, pass, gate, hidden_dim);
      multiply_rows(kernels, expert.up, first, here, from, pass, up, here);
      for (int64_t b = 0; b < pass; ++b) kernels.swiglu(gate + b * hidden_dim, up + b * here, here);
    }
    std::atomic_ref<int32_t> left(unfinished[chunk / per_expert]);
    if (!middle_quantised || left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (int64_t i = start; i < start + expert.count; ++i)
      pack_row(kernels, hidden + i * hidden_dim, hidden_dim, middle, i);
  });

  // Stage 2: every chunk owns columns of `out` and adds the experts in order: no race, one result.
  // In a batch all activations pass by for every chunk, so that there are only as many chunks as
  // keep the threads busy.
  constexpr int64_t kFewColumns = 32, kManyColumns = 256;
  int64_t columns = kFewColumns;
  if (average > 4) {
    const int64_t share = dim / (4 * backend->pool.size()) / kFewColumns * kFewColumns;
    columns = std::clamp(share, kFewColumns, kManyColumns);
  }
  backend->pool.run((dim + columns - 1) / columns, [&](int, int64_t chunk) {
    const int64_t first = chunk * columns;
    const int64_t here = std::min(columns, dim - first);
    thread_local std::vector<float> scratch;
    float* tile = grown(scratch, static_cast<size_t>(kActsPerPass * here));
    int64_t start = 0;
    for (int32_t e = 0; e < count; ++e) {
      const sluice_expert& expert = list[e];
      for (int64_t begin = 0; begin < expert.count; begin += kActsPerPass) {
        const int64_t pass = std::min<int64_t>(kActsPerPass, expert.count - begin);
        const Input from{middle, hidden, hidden_dim, nullptr, start + begin};
        const bool last = begin + pass == expert.count;
        const uint8_t* next = last && e + 1 < count ? row_of(list[e + 1].down, first) : nullptr;
        if (expert.apart) {
          multiply_rows(kernels, expert.down, first, here, from, pass,
                        expert.apart + begin * dim + first, dim, next);
          continue;
        }
        multiply_rows(kernels, expert.down, first, here, from, pass, tile, here, next);
        for (int64_t b = 0; b < pass; ++b)
          kernels.axpy(expert.weights[begin + b], tile + b * here,
                       out + expert.rows[begin + b] * dim + first, here);
      }
      start += expert.count;
    }
  });
  return 0;
}

int32_t add_experts(sluice_backend* backend, const sluice_expert* list, int32_t count, int64_t dim,
                    float* out) {
  const Kernels& kernels = backend->kernels;
  backend->pool.for_ranges(dim, 64, [&](int, int64_t begin, int64_t end) {
    for (const sluice_expert* e = list; e != list + count; ++e)
      for (int64_t i = 0; i < e->count; ++i)
        kernels.axpy(e->weights[i], e->apart + i * dim + begin, out + e->rows[i] * dim + begin,
                     end - begin);
  });
  return 0;
}

}  // namespace sluice::cpu
