// SPDX-License-Identifier: Apache-2.0
// The kernel table: one per instruction set level, chosen once when the backend opens. An entry
// that a level leaves empty is inherited from the level below it; "scalar" fills every entry.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/quant.h"

namespace sluice::cpu {

// Cached positions per step of attention.
inline constexpr int64_t kTilePositions = 64;

// One step of flash attention for `count` query vectors: scores = queries . keys, an online softmax
// over those that a query sees, out += softmax . values.
struct AttentionTile {
  const float* queries;  // [count, dim], times the scale of the scores
  int64_t count;
  int64_t dim;
  const float* keys;       // [dim, kTilePositions]
  const float* values;     // [positions, out_stride], zero from dim on
  int64_t positions;       // in the tile, 1 .. kTilePositions
  const int32_t* visible;  // [count], 0 .. positions: how many of them a query sees
  float* scores;           // [count, kTilePositions], scratch
  float* maximum;          // [count], -infinity before the first tile
  float* sum;              // [count], of the exponentials
  float* out;              // [count, out_stride], not yet divided by the sum
  int64_t out_stride;      // dim, rounded up to a multiple of 64
};

constexpr int64_t kDeltaStrip = 32;  // value elements whose states lie side by side

// The tokens that one call of the delta rule takes one head through, all with q and k of that head.
struct DeltaTokens {
  int64_t count;
  int64_t key_dim;
  const float* keys;     // [count, key_dim], normalised
  const float* queries;  // [count, key_dim], normalised and scaled
  const float* match;    // [count]: key . query
  const float* decay;    // [count], in [0, 1]
  const float* beta;     // [count], in [0, 1]
};

struct Kernels {
  // out[a * out_stride + r] = weight row r . activation a, for r in [0, rows), a in [0, acts).
  // Row r starts at weights + r * row_bytes and has n elements; x[a] are the act_blocks(n) packed
  // blocks of activation a. The bits of an output do not depend on rows, acts and the others. With
  // more activations than a few, every block of weights is unpacked once for all of them. `next` is
  // where this thread will read weights after these, to be fetched ahead; nullptr: right behind.
  using DotRows = void (*)(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                           const uint8_t* const* x, int64_t acts, float* out, int64_t out_stride,
                           const uint8_t* next);
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
  // The level's own form of activation blocks, which dot_rows takes; `out` is 64-byte aligned and
  // has blocks * packed_block_bytes bytes.
  size_t packed_block_bytes = 0;
  void (*pack)(const quant::ActBlock* blocks, int64_t count, uint8_t* out) = nullptr;
  float (*dot)(const float* a, const float* b, int64_t n) = nullptr;
  // y += a * x
  void (*axpy)(float a, const float* x, float* y, int64_t n) = nullptr;
  // out = x * scale * weight, scale = 1 / sqrt(mean(x^2) + eps). out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out) = nullptr;
  // gate = silu(gate) * up
  void (*swiglu)(float* gate, const float* up, int64_t n) = nullptr;
  // x = exp(x - shift)
  void (*exp)(float* x, float shift, int64_t n) = nullptr;
  void (*attend)(const AttentionTile& tile) = nullptr;
  // [positions, dim] to [dim, kTilePositions]
  void (*transpose_keys)(const float* from, int64_t positions, int64_t dim, float* to) = nullptr;
  // x = x * sigmoid(gate)
  void (*sigmoid_gate)(const float* gate, int64_t n, float* x) = nullptr;
  // out = silu(sum over j < taps of weight[j * weight_stride ...] * inputs[j][...]), n channels
  void (*conv_silu)(const float* const* inputs, const float* weight, int64_t weight_stride,
                    int64_t taps, int64_t n, float* out) = nullptr;
  // Takes `strips` strips of a state, [strips, key_dim, 32], through the tokens. Token t's values
  // are at values + t * value_stride, its outputs go to out + t * out_stride, 32 * strips each.
  void (*delta_rule)(const DeltaTokens& tokens, float* state, int64_t strips, const float* values,
                     int64_t value_stride, float* out, int64_t out_stride) = nullptr;
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
void fill_neon(Kernels& table);

}  // namespace sluice::cpu
