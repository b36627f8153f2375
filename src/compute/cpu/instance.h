// SPDX-License-Identifier: Apache-2.0
// What the operations of the CPU backend share. Private to compute/cpu.
#pragma once

#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "compute/backend_abi.h"
#include "compute/cpu/kernels.h"

struct sluice_backend {
  sluice_backend(int threads, const sluice::cpu::Kernels* table) : kernels(*table), pool(threads) {}

  const sluice::cpu::Kernels& kernels;
  sluice::ThreadPool pool;
  std::string description;

  // Scratch that grows to the largest batch and stays: no allocation in the token loop.
  std::vector<sluice::quant::ActBlock> input;   // the rows of an operation's x, quantised
  std::vector<sluice::quant::ActBlock> middle;  // experts: the rows of silu(gate) * up, quantised
  std::vector<float> hidden;                    // experts: silu(gate) * up
  std::vector<float> logits;                    // router
};

namespace sluice::cpu {

inline size_t bytes_per_row(const sluice_matrix& m) {
  return quant::row_bytes(static_cast<quant::Type>(m.type), m.cols);
}

inline bool is_float_type(uint32_t type) {
  return quant::traits(static_cast<quant::Type>(type)).is_float;
}

template <typename T>
T* grown(std::vector<T>& scratch, size_t size) {
  if (scratch.size() < size) scratch.resize(size);
  return scratch.data();
}

// Quantises rows of x into `scratch`, in parallel; row r starts at result + r * act_blocks(dim).
// With `fine` every row gives two: 2 r, and 2 r + 1 with what the first one's rounding lost.
const quant::ActBlock* quantize_rows(sluice_backend& backend, const float* x, int64_t rows,
                                     int64_t dim, std::vector<quant::ActBlock>& scratch,
                                     bool fine = false);

// The operations, one file per group.
int32_t embed(sluice_backend*, const sluice_matrix*, const int32_t*, int64_t, float*);
int32_t rms_norm(sluice_backend*, const float*, const float*, int64_t, int64_t, float, float*);
int32_t norm_rope(sluice_backend*, float*, int64_t, int64_t, int64_t, int64_t, const float*, float,
                  const float*, const float*, int64_t);
int32_t gather(sluice_backend*, const float*, const int32_t*, int64_t, int64_t, float*);
int32_t multiply(sluice_backend*, const float*, int64_t, int64_t, const sluice_product*, int32_t,
                 int32_t);
int32_t kv_store(sluice_backend*, const sluice_span*, int32_t, const float*, const float*);
int32_t attention(sluice_backend*, const sluice_span*, int32_t, const float*, int64_t, float,
                  float*);
int32_t route(sluice_backend*, const float*, int64_t, int64_t, const sluice_matrix*, int64_t,
              int32_t*, float*);
int32_t experts(sluice_backend*, const float*, int64_t, int64_t, const sluice_expert*, int32_t,
                float*);

}  // namespace sluice::cpu
