// SPDX-License-Identifier: Apache-2.0
// The kernels as they are defined: the quant module's scalar functions and plain loops. What every
// level is compared with.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "levels.h"

namespace sluice::cpu {
namespace {

using quant::ActBlock;
using quant::Type;

constexpr int kLanes = 16;  // independent partial sums that a compiler can keep in vector registers

// Partial sums are combined as a balanced tree, so the rounding error grows with log(n).
float tree_sum(float (&lanes)[kLanes]) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

float dot(const float* a, const float* b, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
  for (int l = 0; i < n; ++i, ++l) lanes[l] += a[i] * b[i];
  return tree_sum(lanes);
}

void axpy(float a, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void swiglu(float* gate, const float* up, int64_t n) {
  // exp(-g) overflows to infinity for very negative g, which gives the right limit: -0.
  for (int64_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void exp(float* x, float shift, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = std::exp(x[i] - shift);
}

void attend(const AttentionTile& t) {
  for (int64_t q = 0; q < t.count; ++q) {
    const int64_t visible = t.visible[q];
    if (visible == 0) continue;
    float* scores = t.scores + q * kTilePositions;
    float* out = t.out + q * t.out_stride;
    float maximum = t.maximum[q];
    for (int64_t p = 0; p < visible; ++p) {
      scores[p] = 0;
      for (int64_t i = 0; i < t.dim; ++i)
        scores[p] += t.queries[q * t.dim + i] * t.keys[i * kTilePositions + p];
      maximum = std::max(maximum, scores[p]);
    }
    const float shrink = std::exp(t.maximum[q] - maximum);  // 0 at the first tile
    t.maximum[q] = maximum;
    t.sum[q] *= shrink;
    for (int64_t i = 0; i < t.dim; ++i) out[i] *= shrink;
    exp(scores, maximum, visible);
    for (int64_t p = 0; p < visible; ++p) {
      t.sum[q] += scores[p];
      axpy(scores[p], t.values + p * t.out_stride, out, t.dim);
    }
  }
}

void transpose_keys(const float* from, int64_t positions, int64_t dim, float* to) {
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t i = 0; i < dim; ++i) to[i * kTilePositions + p] = from[p * dim + i];
}

template <Type kType>
void dot_rows(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
              const uint8_t* const* x, int64_t acts, float* out, int64_t out_stride,
              const uint8_t* /*next*/) {
  static const quant::Traits& format = quant::traits(kType);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t a = 0; a < acts; ++a)
      out[a * out_stride + r] = format.dot(weights + static_cast<size_t>(r) * row_bytes,
                                           reinterpret_cast<const ActBlock*>(x[a]), n);
}

void pack(const ActBlock* blocks, int64_t count, uint8_t* out) {
  std::memcpy(out, blocks, static_cast<size_t>(count) * sizeof(ActBlock));
}

// Float weights are widened once per row, in pieces that stay in the first-level cache.
template <Type kType>
void dot_rows_float(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                    const float* x, int64_t acts, float* out, int64_t out_stride) {
  static const quant::Traits& format = quant::traits(kType);
  constexpr int64_t kPiece = 1024;
  float piece[kPiece];
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row = weights + static_cast<size_t>(r) * row_bytes;
    for (int64_t a = 0; a < acts; ++a) out[a * out_stride + r] = 0;
    for (int64_t begin = 0; begin < n; begin += kPiece) {
      const int64_t count = n - begin < kPiece ? n - begin : kPiece;
      format.decode(row + static_cast<size_t>(begin * format.block_bytes), count, piece);
      for (int64_t a = 0; a < acts; ++a)
        out[a * out_stride + r] += dot(piece, x + a * n + begin, count);
    }
  }
}

template <Type kType>
void set_quantised(Kernels& table) {
  const auto id = static_cast<size_t>(kType);
  table.dot_rows[id] = dot_rows<kType>;
  table.decode[id] = quant::traits(kType).decode;
  table.encode[id] = quant::traits(kType).encode;
}

template <Type kType>
void set_float(Kernels& table) {
  const auto id = static_cast<size_t>(kType);
  table.dot_rows_float[id] = dot_rows_float<kType>;
  table.decode[id] = quant::traits(kType).decode;
  table.encode[id] = quant::traits(kType).encode;
}

template <Type... kTypes>
void set_all_quantised(Kernels& table) {
  (set_quantised<kTypes>(table), ...);
}

}  // namespace

namespace {

void fill(Kernels& table) {
  set_float<Type::kF32>(table);
  set_float<Type::kF16>(table);
  set_float<Type::kBF16>(table);
  set_all_quantised<Type::kQ4_0, Type::kQ4_1, Type::kQ5_0, Type::kQ5_1, Type::kQ8_0, Type::kQ2_K,
                    Type::kQ3_K, Type::kQ4_K, Type::kQ5_K, Type::kQ6_K, Type::kIQ2_XXS,
                    Type::kIQ2_XS, Type::kIQ2_S, Type::kIQ3_XXS, Type::kIQ3_S, Type::kIQ4_NL,
                    Type::kIQ4_XS, Type::kMXFP4>(table);
  table.quantize = quant::quantize_activations;
  table.packed_block_bytes = sizeof(ActBlock);
  table.pack = pack;
  table.dot = dot;
  table.axpy = axpy;
  table.rms_norm = rms_norm;
  table.swiglu = swiglu;
  table.exp = exp;
  table.attend = attend;
  table.transpose_keys = transpose_keys;
  fill_delta_reference(table);
}

}  // namespace

const Kernels& reference() {
  static const Kernels table = [] {
    Kernels filled;
    fill(filled);
    return filled;
  }();
  return table;
}

}  // namespace sluice::cpu
