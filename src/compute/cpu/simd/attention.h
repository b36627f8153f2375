// SPDX-License-Identifier: Apache-2.0
// One tile of flash attention; see AttentionTile in kernels.h. Included after floats.h.
#pragma once

#include "compute/cpu/simd/floats.h"

namespace sluice::cpu {
namespace {

// Columns of a block of outputs, so that 4 rows of it stay in registers: 16 of 512 bits, 8 of 256.
constexpr int kColumnBlock = kWideRegisters == 1 ? 4 : 1;

// c[r][0 .. 16 kColumnBlock) = (kAdd ? c : 0) + sum over k < depth of a[r][k] * b[k][..], added one
// by one in the order of k.
template <int kRows, bool kAdd>
SLUICE_INLINE void product_block(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                                 int64_t depth, float* c, int64_t c_stride) {
  Wide sums[kRows][kColumnBlock];
  SLUICE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    SLUICE_UNROLL
    for (int j = 0; j < kColumnBlock; ++j)
      sums[r][j] = kAdd ? wide_load(c + r * c_stride + j * kWide) : wide_zero();
  }
  for (int64_t k = 0; k < depth; ++k) {
    Wide columns[kColumnBlock];
    SLUICE_UNROLL
    for (int j = 0; j < kColumnBlock; ++j) columns[j] = wide_load(b + k * b_stride + j * kWide);
    SLUICE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Wide factor = wide_each(a[r * a_stride + k]);
      SLUICE_UNROLL
      for (int j = 0; j < kColumnBlock; ++j)
        sums[r][j] = wide_mul_add(factor, columns[j], sums[r][j]);
    }
  }
  SLUICE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    SLUICE_UNROLL
    for (int j = 0; j < kColumnBlock; ++j) wide_store(c + r * c_stride + j * kWide, sums[r][j]);
  }
}

// columns: a multiple of 64.
template <bool kAdd>
SLUICE_INLINE void float_product(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                                 int64_t rows, int64_t columns, int64_t depth, float* c,
                                 int64_t c_stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    for (int64_t j = 0; j < columns; j += kColumnBlock * kWide)
      product_block<4, kAdd>(a + r * a_stride, a_stride, b + j, b_stride, depth,
                             c + r * c_stride + j, c_stride);
  for (; r < rows; ++r)
    for (int64_t j = 0; j < columns; j += kColumnBlock * kWide)
      product_block<1, kAdd>(a + r * a_stride, a_stride, b + j, b_stride, depth,
                             c + r * c_stride + j, c_stride);
}

SLUICE_INLINE float largest_of(const float* x, int64_t n, float start) {
  float lanes[kWide];
  Wide most = wide_each(start);
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) most = wide_at_least(wide_load(x + i), most);
  wide_store(lanes, most);
  float result = start;
  for (int l = 0; l < kWide; ++l) result = lanes[l] > result ? lanes[l] : result;
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

inline void attend(const AttentionTile& t) {
  float_product<false>(t.queries, t.dim, t.keys, kTilePositions, t.count, kTilePositions, t.dim,
                       t.scores, kTilePositions);
  for (int64_t q = 0; q < t.count; ++q) {
    float* scores = t.scores + q * kTilePositions;
    const int64_t visible = t.visible[q];
    for (int64_t p = visible; p < kTilePositions; ++p) scores[p] = 0;
    if (visible == 0) continue;
    const float maximum = largest_of(scores, visible, t.maximum[q]);
    exp_floats(scores, maximum, visible);
    Wide sum = wide_zero();
    for (int64_t p = 0; p < kTilePositions; p += kWide) sum = wide_add(sum, wide_load(scores + p));
    if (maximum > t.maximum[q]) {
      float shrink[kWide];
      wide_store(shrink, wide_exp(wide_each(t.maximum[q] - maximum)));  // 0 at the first tile
      t.sum[q] *= shrink[0];
      t.maximum[q] = maximum;
      float* out = t.out + q * t.out_stride;
      for (int64_t i = 0; i < t.out_stride; i += kWide)
        wide_store(out + i, wide_mul(wide_each(shrink[0]), wide_load(out + i)));
    }
    t.sum[q] += wide_sum(sum);
  }
  float_product<true>(t.scores, kTilePositions, t.values, t.out_stride, t.count, t.out_stride,
                      t.positions, t.out, t.out_stride);
}

inline void transpose_keys(const float* from, int64_t positions, int64_t dim, float* to) {
  int64_t p = 0;
  for (; p + 8 <= positions; p += 8) {
    int64_t i = 0;
    for (; i + 8 <= dim; i += 8)
      transpose_8x8(from + p * dim + i, dim, to + i * kTilePositions + p);
    for (; i < dim; ++i)
      for (int64_t k = p; k < p + 8; ++k) to[i * kTilePositions + k] = from[k * dim + i];
  }
  for (; p < positions; ++p)
    for (int64_t i = 0; i < dim; ++i) to[i * kTilePositions + p] = from[p * dim + i];
}

inline void fill_attention(Kernels& table) {
  table.attend = attend;
  table.transpose_keys = transpose_keys;
}

}  // namespace
}  // namespace sluice::cpu
