// SPDX-License-Identifier: Apache-2.0
// What the operations of the CPU backend share. Private to compute/cpu.
#pragma once

#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "compute/backend_abi.h"
#include "compute/cpu/kernels.h"

struct sluice_backend {
  sluice_backend(int threads, const sluice::cpu::Kernels* table) : kernels(*table), pool(threads) {}

  const sluice::cpu::Kernels& kernels;
  sluice::ThreadPool pool;
  std::string description;

  // Scratch that grows to the largest batch and stays: no allocation in the token loop.
  sluice::AlignedBuffer input;      // the rows of an operation's x, quantised and packed
  sluice::AlignedBuffer middle;     // experts: the rows of silu(gate) * up, likewise
  std::vector<float> hidden;        // experts: silu(gate) * up
  std::vector<int32_t> unfinished;  // experts: pieces of the first stage, per expert
  std::vector<float> logits;        // router
};

namespace sluice::cpu {

inline size_t bytes_per_row(const sluice_matrix& m) {
  return quant::row_bytes(static_cast<quant::Type>(m.type), m.cols);
}

inline bool is_float_type(uint32_t type) {
  return quant::traits(static_cast<quant::Type>(type)).is_float;
}

// What was in it is not kept, so that old and new need not be there together.
template <typename T>
T* grown(std::vector<T>& scratch, size_t size) {
  if (scratch.size() < size) {
    std::vector<T>().swap(scratch);
    scratch.resize(size);
  }
  return scratch.data();
}

// Activations as dot_rows takes them, row after row.
struct PackedRows {
  const uint8_t* data = nullptr;
  size_t row_bytes = 0;

  const uint8_t* row(int64_t r) const { return data + static_cast<size_t>(r) * row_bytes; }
};

// Where `rows` packed rows of `dim` elements go in `scratch`, which grows.
PackedRows packed_rows(const sluice_backend& backend, int64_t rows, int64_t dim,
                       AlignedBuffer& scratch);
// Quantises one row of x to where row `r` of `to` is.
void pack_row(const Kernels& kernels, const float* x, int64_t dim, const PackedRows& to, int64_t r);
// Quantises rows of x into `scratch`, in parallel. With `fine` every row gives two: 2 r, and 2 r +
// 1 with what the first one's rounding lost.
PackedRows quantize_rows(sluice_backend& backend, const float* x, int64_t rows, int64_t dim,
                         AlignedBuffer& scratch, bool fine = false);

// A product's weight rows are handed out in chunks: small ones for a few activations, so that
// threads end together; in a batch large ones, since every chunk reads all activations.
int64_t rows_per_chunk(const sluice_backend& backend, int64_t weight_rows, int64_t acts);
// Activations that stay in the second-level cache while the rows of a chunk pass by.
constexpr int64_t kActsPerPass = 128;

// The operations, one file per group.
int32_t embed(sluice_backend*, const sluice_matrix*, const int32_t*, int64_t, float*);
int32_t rms_norm(sluice_backend*, const float*, const float*, int64_t, int64_t, float, float*);
int32_t norm_rope(sluice_backend*, float*, int64_t, int64_t, int64_t, int64_t, const float*, float,
                  const float*, const float*, int64_t);
int32_t gather(sluice_backend*, const float*, const int32_t*, int64_t, int64_t, float*);
int32_t multiply(sluice_backend*, const float*, int64_t, int64_t, const sluice_product*, int32_t);
int32_t kv_store(sluice_backend*, const sluice_span*, int32_t, const float*, const float*);
int32_t attention(sluice_backend*, const sluice_span*, int32_t, const float*, int64_t, float,
                  float*);
int32_t route(sluice_backend*, const float*, int64_t, int64_t, const sluice_matrix*, int64_t,
              int32_t*, float*);
int32_t experts(sluice_backend*, const float*, int64_t, int64_t, const sluice_expert*, int32_t,
                float*);
int32_t add_experts(sluice_backend*, const sluice_expert*, int32_t, int64_t, float*);
int32_t short_conv(sluice_backend*, const sluice_recurrent_span*, int32_t, const float*,
                   const float*, int64_t, int64_t, float*);
int32_t delta_rule(sluice_backend*, const sluice_recurrent_span*, int32_t,
                   const sluice_delta_heads*, const float*, const float*, const float*,
                   const float*, float, float*);
int32_t gated_norm(sluice_backend*, const float*, const float*, int64_t, int64_t, float, float*);
int32_t sigmoid_gate(sluice_backend*, const float*, int64_t, float*);
int32_t row_gate(sluice_backend*, const float*, int64_t, int64_t, const float*, float*);

}  // namespace sluice::cpu
