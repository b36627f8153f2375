// SPDX-License-Identifier: Apache-2.0
// Kernels on float arrays. Included after a level's header. Sums are made in 16 or 32 lanes
// whatever the level, so that all vector levels give the same bits.
#pragma once

#include "compute/cpu/simd/common.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kWide = 16;

// The last `count` < 16 elements, followed by zeros.
SLUICE_INLINE Wide wide_load_part(const float* p, int64_t count) {
  float padded[kWide] = {};
  std::memcpy(padded, p, static_cast<size_t>(count) * sizeof(float));
  return wide_load(padded);
}

SLUICE_INLINE void wide_store_part(float* p, Wide v, int64_t count) {
  float padded[kWide];
  wide_store(padded, v);
  std::memcpy(p, padded, static_cast<size_t>(count) * sizeof(float));
}

inline float dot_floats(const float* a, const float* b, int64_t n) {
  Wide even = wide_zero(), odd = wide_zero();
  int64_t i = 0;
  for (; i + 2 * kWide <= n; i += 2 * kWide) {
    even = wide_mul_add(wide_load(a + i), wide_load(b + i), even);
    odd = wide_mul_add(wide_load(a + i + kWide), wide_load(b + i + kWide), odd);
  }
  if (i + kWide <= n) {
    even = wide_mul_add(wide_load(a + i), wide_load(b + i), even);
    i += kWide;
  }
  if (i < n) odd = wide_mul_add(wide_load_part(a + i, n - i), wide_load_part(b + i, n - i), odd);
  return wide_sum(wide_add(even, odd));
}

inline void axpy(float a, const float* x, float* y, int64_t n) {
  const Wide factor = wide_each(a);
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide)
    wide_store(y + i, wide_mul_add(factor, wide_load(x + i), wide_load(y + i)));
  if (i < n)
    wide_store_part(
        y + i, wide_mul_add(factor, wide_load_part(x + i, n - i), wide_load_part(y + i, n - i)),
        n - i);
}

inline void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out) {
  WideDouble squares = wide_double_zero();
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) wide_add_squares(squares, wide_load(x + i));
  if (i < n) wide_add_squares(squares, wide_load_part(x + i, n - i));
  const double mean = wide_double_sum(squares) / static_cast<double>(n);
  const auto factor = static_cast<float>(1.0 / __builtin_sqrt(mean + static_cast<double>(eps)));
  const Wide scale = wide_each(factor);
  for (i = 0; i + kWide <= n; i += kWide)
    wide_store(out + i, wide_mul(wide_mul(wide_load(x + i), scale), wide_load(weight + i)));
  for (; i < n; ++i) out[i] = x[i] * factor * weight[i];
}

// e^x = 2^n e^r with |r| <= ln(2) / 2 and the Taylor series of e^r up to r^7, whose rest is below
// 6e-9. Relative error below 2e-7 where the result is a normal float; infinity above 88.72.
SLUICE_INLINE Wide wide_exp(Wide x) {
  const Wide bounded = wide_at_least(wide_each(-105.0f), wide_at_most(wide_each(90.0f), x));
  const Wide n = wide_round(wide_mul(bounded, wide_each(1.44269504f)));
  // ln(2) as a sum: the first part has few bits, so its product with n is exact.
  Wide r = wide_mul_add(n, wide_each(-0.693359375f), bounded);
  r = wide_mul_add(n, wide_each(2.12194440e-4f), r);
  Wide sum = wide_each(1.0f / 5040);
  sum = wide_mul_add(sum, r, wide_each(1.0f / 720));
  sum = wide_mul_add(sum, r, wide_each(1.0f / 120));
  sum = wide_mul_add(sum, r, wide_each(1.0f / 24));
  sum = wide_mul_add(sum, r, wide_each(1.0f / 6));
  sum = wide_mul_add(sum, r, wide_each(0.5f));
  sum = wide_mul_add(sum, r, wide_each(1.0f));
  sum = wide_mul_add(sum, r, wide_each(1.0f));
  return wide_scale(sum, n);
}

inline void exp_floats(float* x, float shift, int64_t n) {
  const Wide by = wide_each(shift);
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) wide_store(x + i, wide_exp(wide_sub(wide_load(x + i), by)));
  if (i < n) wide_store_part(x + i, wide_exp(wide_sub(wide_load_part(x + i, n - i), by)), n - i);
}

SLUICE_INLINE Wide wide_swiglu(Wide gate, Wide up) {
  const Wide e = wide_exp(wide_sub(wide_zero(), gate));
  return wide_mul(wide_div(gate, wide_add(wide_each(1.0f), e)), up);
}

inline void swiglu(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide)
    wide_store(gate + i, wide_swiglu(wide_load(gate + i), wide_load(up + i)));
  if (i < n)
    wide_store_part(gate + i,
                    wide_swiglu(wide_load_part(gate + i, n - i), wide_load_part(up + i, n - i)),
                    n - i);
}

// --- float weights: lane l adds elements l, l + 16, ... in increasing order ---

struct WeightF32 {
  static constexpr int64_t kBytes = 4;
  SLUICE_INLINE static Wide load(const uint8_t* p) {
    return wide_load(reinterpret_cast<const float*>(p));
  }
};
struct WeightF16 {
  static constexpr int64_t kBytes = 2;
  SLUICE_INLINE static Wide load(const uint8_t* p) { return wide_load_f16(p); }
};
struct WeightBF16 {
  static constexpr int64_t kBytes = 2;
  SLUICE_INLINE static Wide load(const uint8_t* p) { return wide_load_bf16(p); }
};

template <class Weight>
struct FloatProduct {
  template <int kRows, int kCount>
  SLUICE_INLINE static void tile(const uint8_t* weights, size_t row_bytes, int64_t n,
                                 const float* x, float* out, int64_t out_stride) {
    Wide sums[kRows][kCount];
    SLUICE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      SLUICE_UNROLL
      for (int a = 0; a < kCount; ++a) sums[r][a] = wide_zero();
    }
    const auto step = [&](const uint8_t* w, size_t stride, const float* from, int64_t next)
        __attribute__((always_inline)) {
      Wide values[kCount];
      SLUICE_UNROLL
      for (int a = 0; a < kCount; ++a) values[a] = wide_load(from + a * next);
      SLUICE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Wide weight = Weight::load(w + static_cast<size_t>(r) * stride);
        SLUICE_UNROLL
        for (int a = 0; a < kCount; ++a) sums[r][a] = wide_mul_add(weight, values[a], sums[r][a]);
      }
    };
    int64_t i = 0;
    for (; i + kWide <= n; i += kWide) step(weights + i * Weight::kBytes, row_bytes, x + i, n);
    if (i < n) {
      constexpr int64_t kPadded = kWide * Weight::kBytes;
      uint8_t w[kRows * kPadded] = {};
      float from[kCount * kWide] = {};
      const auto left = static_cast<size_t>(n - i);
      for (int r = 0; r < kRows; ++r)
        std::memcpy(w + r * kPadded,
                    weights + static_cast<size_t>(r) * row_bytes + i * Weight::kBytes,
                    left * Weight::kBytes);
      for (int a = 0; a < kCount; ++a)
        std::memcpy(from + a * kWide, x + a * n + i, left * sizeof(float));
      step(w, kPadded, from, kWide);
    }
    for (int r = 0; r < kRows; ++r)
      for (int a = 0; a < kCount; ++a) out[a * out_stride + r] = wide_sum(sums[r][a]);
  }

  template <int kRows>
  static void rows(const uint8_t* weights, size_t row_bytes, int64_t n, const float* x,
                   int64_t acts, float* out, int64_t out_stride) {
    // What fits in the registers: 32 of 512 bits, or 16 of 256.
    constexpr int kBatch = kWideRegisters == 1 ? 4 : 2;
    int64_t a = 0;
    for (; a + kBatch <= acts; a += kBatch)
      tile<kRows, kBatch>(weights, row_bytes, n, x + a * n, out + a * out_stride, out_stride);
    for (; a < acts; ++a)
      tile<kRows, 1>(weights, row_bytes, n, x + a * n, out + a * out_stride, out_stride);
  }

  static void run(const uint8_t* weights, size_t row_bytes, int64_t count, int64_t n,
                  const float* x, int64_t acts, float* out, int64_t out_stride) {
    constexpr int kRows = kWideRegisters == 1 ? 4 : 2;
    int64_t r = 0;
    for (; r + kRows <= count; r += kRows)
      rows<kRows>(weights + static_cast<size_t>(r) * row_bytes, row_bytes, n, x, acts, out + r,
                  out_stride);
    for (; r < count; ++r)
      rows<1>(weights + static_cast<size_t>(r) * row_bytes, row_bytes, n, x, acts, out + r,
              out_stride);
  }
};

inline void fill_floats(Kernels& table) {
  using quant::Type;
  table.dot = dot_floats;
  table.axpy = axpy;
  table.rms_norm = rms_norm;
  table.swiglu = swiglu;
  table.exp = exp_floats;
  table.dot_rows_float[static_cast<uint32_t>(Type::kF32)] = FloatProduct<WeightF32>::run;
  table.dot_rows_float[static_cast<uint32_t>(Type::kF16)] = FloatProduct<WeightF16>::run;
  table.dot_rows_float[static_cast<uint32_t>(Type::kBF16)] = FloatProduct<WeightBF16>::run;
}

}  // namespace
}  // namespace sluice::cpu
