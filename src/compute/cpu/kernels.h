// SPDX-License-Identifier: Apache-2.0
// The kernel table: one per instruction set level, chosen once when the backend opens. An entry
// that a level leaves empty is inherited from the level below it; "scalar" fills every entry.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/quant.h"

namespace sluice::cpu {

struct Kernels {
  // out[a * out_stride + r] = weight row r . activation a, for r in [0, rows), a in [0, acts).
  // Row r starts at weights + r * row_bytes and has n elements; activation a starts at
  // x + a * act_blocks(n).
  using DotRows = void (*)(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                           const quant::ActBlock* x, int64_t acts, float* out, int64_t out_stride);
  // The same against float activations; activation a starts at x + a * n.
  using DotRowsFloat = void (*)(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                                const float* x, int64_t acts, float* out, int64_t out_stride);
  using DecodeRow = void (*)(const uint8_t* blocks, int64_t n, float* out);
  using EncodeRow = void (*)(const float* values, int64_t n, uint8_t* blocks);

  const char* isa = nullptr;
  DotRows dot_rows[quant::kTypeIdLimit] = {};             // quantised types
  DotRowsFloat dot_rows_float[quant::kTypeIdLimit] = {};  // F32, F16, BF16
  DecodeRow decode[quant::kTypeIdLimit] = {};
  EncodeRow encode[quant::kTypeIdLimit] = {};
  void (*quantize)(const float* x, int64_t n, quant::ActBlock* out) = nullptr;
  float (*dot)(const float* a, const float* b, int64_t n) = nullptr;
  // y += a * x
  void (*axpy)(float a, const float* x, float* y, int64_t n) = nullptr;
  // out = x * scale * weight, scale = 1 / sqrt(mean(x^2) + eps). out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out) = nullptr;
  // gate = silu(gate) * up
  void (*swiglu)(float* gate, const float* up, int64_t n) = nullptr;
  // x = exp(x - shift)
  void (*exp)(float* x, float shift, int64_t n) = nullptr;
};

// The table for `isa` ("scalar", ...), the best of this machine for an empty name, nullptr when the
// level is unknown or not on this machine.
const Kernels* select_kernels(const char* isa);
// Names of the levels that this machine can run, best last, separated by ", ".
const char* available_levels();

// Filled by kernels_<level>.cpp.
void fill_scalar(Kernels& table);
void fill_avx2(Kernels& table);
void fill_avx_vnni(Kernels& table);
void fill_avx512(Kernels& table);

}  // namespace sluice::cpu
