// SPDX-License-Identifier: Apache-2.0
// 256-bit helpers that all x86 levels use.
#pragma once

#include <immintrin.h>

#include "compute/cpu/simd/common.h"

namespace sluice::cpu {
namespace {

SLUICE_INLINE __m128i load_128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

SLUICE_INLINE __m256i load_256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

SLUICE_INLINE void store_256(void* p, __m256i v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}

// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))
SLUICE_INLINE float sum_8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  s = _mm_add_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

// (0 + 2) + (1 + 3)
SLUICE_INLINE double sum_4(__m256d v) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// Eight fp16 values at p, p + stride, ...
SLUICE_INLINE __m128i gather_u16(const uint8_t* p, int64_t stride) {
  const auto at = [&](int64_t j) { return static_cast<uint64_t>(load_u16(p + j * stride)); };
  const uint64_t low = at(0) | at(1) << 16 | at(2) << 32 | at(3) << 48;
  const uint64_t high = at(4) | at(5) << 16 | at(6) << 32 | at(7) << 48;
  return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
}

SLUICE_INLINE __m256i gather_u32(const uint8_t* p, int64_t stride) {
  const auto at = [&](int64_t j) { return static_cast<int>(load_u32(p + j * stride)); };
  return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}

SLUICE_INLINE __m256i gather_u8(const uint8_t* p, int64_t stride) {
  uint64_t bytes = 0;
  for (int64_t j = 0; j < 8; ++j) bytes |= static_cast<uint64_t>(p[j * stride]) << (8 * j);
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
}

// Table look-ups are scalar loads: gather instructions are slow on many processors (those with the
// mitigation of gather data sampling among them).
SLUICE_INLINE __m256i look_up_32(const uint32_t* table, const int32_t* at) {
  const auto entry = [&](int j) __attribute__((always_inline)) {
    return static_cast<int>(table[at[j]]);
  };
  return _mm256_setr_epi32(entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6),
                           entry(7));
}

// low, high: dwords of eight 64-bit entries.
SLUICE_INLINE void look_up_64(const uint64_t* table, const int32_t* at, __m256i& low,
                              __m256i& high) {
  const auto pair = [&](int j) __attribute__((always_inline)) {
    const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(table + at[j]));
    return _mm_loadh_pi(_mm_castsi128_ps(first), reinterpret_cast<const __m64*>(table + at[j + 1]));
  };
  const auto join = [](__m128 a, __m128 b) __attribute__((always_inline)) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(a), b, 1);
  };
  const __m256 a = join(pair(0), pair(4)), b = join(pair(2), pair(6));
  low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
  high = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
}

// Rows of four dwords per 128 bits: out[m] = dword m of each of r0..r3.
SLUICE_INLINE void transpose_256(__m256i r0, __m256i r1, __m256i r2, __m256i r3, __m256i* out) {
  const __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpackhi_epi32(r0, r1);
  const __m256i c = _mm256_unpacklo_epi32(r2, r3), d = _mm256_unpackhi_epi32(r2, r3);
  out[0] = _mm256_unpacklo_epi64(a, c);
  out[1] = _mm256_unpackhi_epi64(a, c);
  out[2] = _mm256_unpacklo_epi64(b, d);
  out[3] = _mm256_unpackhi_epi64(b, d);
}

// 8 x 8 floats, for attention.h.
SLUICE_INLINE void transpose_8x8(const float* from, int64_t stride, float* to) {
  __m256 r[8], t[8];
  SLUICE_UNROLL
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(from + i * stride);
  SLUICE_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  SLUICE_UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  SLUICE_UNROLL
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * kTilePositions, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * kTilePositions, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

SLUICE_INLINE void pack(const quant::ActBlock& from, PackedAct& to) {
  for (int half = 0; half < 2; ++half) {
    const auto rows = [&](int j) {  // groups j and j + 4
      const int8_t* q = from.q + 32 * j + 16 * half;
      return _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(q)), load_128(q + 128), 1);
    };
    __m256i out[4];
    transpose_256(rows(0), rows(1), rows(2), rows(3), out);
    for (int k = 0; k < 4; ++k) store_256(to.q[4 * half + k], out[k]);
  }
  store_256(to.scale, load_256(from.scale));
  const __m256i sums = load_256(from.sum);  // dword j: the two sums of group j
  const __m256i zero = _mm256_setzero_si256();
  const __m256i first = _mm256_sub_epi32(zero, _mm256_srai_epi32(_mm256_slli_epi32(sums, 16), 16));
  const __m256i second = _mm256_sub_epi32(zero, _mm256_srai_epi32(sums, 16));
  store_256(to.minus[0], first);
  store_256(to.minus[1], second);
  const __m256i all = _mm256_add_epi32(first, second);
  store_256(to.minus_all, all);
  _mm256_storeu_ps(to.minus_sum, _mm256_cvtepi32_ps(all));
}

inline void pack_blocks(const quant::ActBlock* from, int64_t blocks, uint8_t* to) {
  auto* out = reinterpret_cast<PackedAct*>(to);
  for (int64_t b = 0; b < blocks; ++b) pack(from[b], out[b]);
}

}  // namespace
}  // namespace sluice::cpu
