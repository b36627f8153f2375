// SPDX-License-Identifier: Apache-2.0
// Vectors of 512 bits: two rows of weights per vector, one in each half; see vectors_256.h.
#pragma once

#include "compute/cpu/simd/x86.h"

namespace sluice::cpu {
namespace {

constexpr int kVectorRows = 2;

using Ints = __m512i;
using Floats = __m512;
using Narrow = __m256i;

struct Source {
  const uint8_t* row[2];
  SLUICE_INLINE Source operator+(size_t bytes) const { return {{row[0] + bytes, row[1] + bytes}}; }
};

SLUICE_INLINE Ints join(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// --- loads ---
SLUICE_INLINE Ints load_32_bytes(Source s, int64_t at) {
  return join(load_256(s.row[0] + at), load_256(s.row[1] + at));
}
SLUICE_INLINE Ints load_16_bytes(Source s, int64_t low, int64_t high) {
  Ints v = _mm512_castsi128_si512(load_128(s.row[0] + low));
  v = _mm512_mask_broadcast_i32x4(v, 0x00f0, load_128(s.row[0] + high));
  v = _mm512_mask_broadcast_i32x4(v, 0x0f00, load_128(s.row[1] + low));
  return _mm512_mask_broadcast_i32x4(v, 0xf000, load_128(s.row[1] + high));
}
SLUICE_INLINE void load_split(Source s, int64_t low, int64_t high, Ints& a, Ints& b) {
  const Ints first = load_32_bytes(s, low), second = load_32_bytes(s, high);
  a = _mm512_permutex2var_epi64(first, _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), second);
  b = _mm512_permutex2var_epi64(first, _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15), second);
}
SLUICE_INLINE Ints broadcast_u32(Source s, int64_t at) {
  const Ints v = _mm512_set1_epi32(static_cast<int>(load_u32(s.row[0] + at)));
  return _mm512_mask_set1_epi32(v, 0xff00, static_cast<int>(load_u32(s.row[1] + at)));
}
SLUICE_INLINE Floats broadcast_f16(Source s, int64_t at) {
  const int both = load_u16(s.row[0] + at) | load_u16(s.row[1] + at) << 16;
  const __m128 v = _mm_cvtph_ps(_mm_cvtsi32_si128(both));
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
                               _mm512_castps128_ps512(v));
}
SLUICE_INLINE Floats gather_f16(Source s, int64_t at, int64_t stride) {
  const __m128i low = gather_u16(s.row[0] + at, stride), high = gather_u16(s.row[1] + at, stride);
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}
SLUICE_INLINE Ints gather_dwords(Source s, int64_t at, int64_t stride) {
  return join(gather_u32(s.row[0] + at, stride), gather_u32(s.row[1] + at, stride));
}
SLUICE_INLINE Ints gather_bytes(Source s, int64_t at, int64_t stride) {
  return join(gather_u8(s.row[0] + at, stride), gather_u8(s.row[1] + at, stride));
}

// --- the same values for every row ---
SLUICE_INLINE Ints each_row(const int32_t* v) {
  return _mm512_broadcast_i64x4(load_256(v));
}
SLUICE_INLINE Ints each_row(const int8_t* v) {
  return _mm512_broadcast_i64x4(load_256(v));
}
SLUICE_INLINE Floats each_row(const float* v) {
  return _mm512_broadcast_f32x8(_mm256_loadu_ps(v));
}
SLUICE_INLINE Ints each_128(const void* bytes) {
  return _mm512_broadcast_i32x4(load_128(bytes));
}
SLUICE_INLINE Ints each_byte(int v) {
  return _mm512_set1_epi8(static_cast<char>(v));
}
SLUICE_INLINE Ints each_dword(int v) {
  return _mm512_set1_epi32(v);
}
SLUICE_INLINE Floats each_float(float v) {
  return _mm512_set1_ps(v);
}

// --- integers ---
SLUICE_INLINE Ints bits_and(Ints a, Ints b) {
  return _mm512_and_si512(a, b);
}
SLUICE_INLINE Ints bits_or(Ints a, Ints b) {
  return _mm512_or_si512(a, b);
}
SLUICE_INLINE Ints bits_xor(Ints a, Ints b) {
  return _mm512_xor_si512(a, b);
}
SLUICE_INLINE Ints or_masked(Ints a, Ints b, Ints mask) {
  return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}
SLUICE_INLINE Ints add_32(Ints a, Ints b) {
  return _mm512_add_epi32(a, b);
}
SLUICE_INLINE Ints max_32(Ints a, Ints b) {
  return _mm512_max_epi32(a, b);
}
SLUICE_INLINE Ints min_32(Ints a, Ints b) {
  return _mm512_min_epi32(a, b);
}
template <int kBits>
SLUICE_INLINE Ints left_32(Ints a) {
  return _mm512_slli_epi32(a, kBits);
}
template <int kBits>
SLUICE_INLINE Ints right_32(Ints a) {
  return _mm512_srli_epi32(a, kBits);
}
template <int kBits>
SLUICE_INLINE Ints right_signed_32(Ints a) {
  return _mm512_srai_epi32(a, kBits);
}
SLUICE_INLINE Ints left_each_32(Ints a, Ints bits) {
  return _mm512_sllv_epi32(a, bits);
}
SLUICE_INLINE Ints right_each_32(Ints a, Ints bits) {
  return _mm512_srlv_epi32(a, bits);
}
SLUICE_INLINE Ints shuffle_bytes(Ints table, Ints index) {
  return _mm512_shuffle_epi8(table, index);
}
template <int kA, int kB, int kC, int kD>
SLUICE_INLINE Ints shuffle_32(Ints a, Ints b) {
  return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b),
                                               kA | kB << 2 | kC << 4 | kD << 6));
}
SLUICE_INLINE Ints unpack_low_32(Ints a, Ints b) {
  return _mm512_unpacklo_epi32(a, b);
}
SLUICE_INLINE Ints unpack_high_32(Ints a, Ints b) {
  return _mm512_unpackhi_epi32(a, b);
}
SLUICE_INLINE void transpose(Ints r0, Ints r1, Ints r2, Ints r3, Ints* out) {
  const Ints a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpackhi_epi32(r0, r1);
  const Ints c = _mm512_unpacklo_epi32(r2, r3), d = _mm512_unpackhi_epi32(r2, r3);
  out[0] = _mm512_unpacklo_epi64(a, c);
  out[1] = _mm512_unpackhi_epi64(a, c);
  out[2] = _mm512_unpacklo_epi64(b, d);
  out[3] = _mm512_unpackhi_epi64(b, d);
}
SLUICE_INLINE Ints signed_from_64(Ints g, Ints signs, Ints bits) {
  const Ints middle = each_byte(64);
  return _mm512_mask_sub_epi8(_mm512_add_epi8(middle, g), _mm512_test_epi8_mask(signs, bits),
                              middle, g);
}
template <int kValue>
SLUICE_INLINE Ints or_where_bit(Ints w, Ints v, Ints bits) {
  return _mm512_mask_add_epi8(w, _mm512_test_epi8_mask(v, bits), w, each_byte(kValue));
}
SLUICE_INLINE Ints look_up(const uint32_t* table, Ints index) {
  alignas(64) int32_t at[16];
  _mm512_store_si512(at, index);
  return join(look_up_32(table, at), look_up_32(table, at + 8));
}
SLUICE_INLINE void look_up(const uint64_t* table, Ints index, Ints& low, Ints& high) {
  alignas(64) int32_t at[16];
  _mm512_store_si512(at, index);
  __m256i low0, low1, high0, high1;
  look_up_64(table, at, low0, high0);
  look_up_64(table, at + 8, low1, high1);
  low = join(low0, low1);
  high = join(high0, high1);
}

// --- floats ---
SLUICE_INLINE Floats to_float(Ints a) {
  return _mm512_cvtepi32_ps(a);
}
SLUICE_INLINE Floats as_float(Ints a) {
  return _mm512_castsi512_ps(a);
}
SLUICE_INLINE Floats mul(Floats a, Floats b) {
  return _mm512_mul_ps(a, b);
}
SLUICE_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
SLUICE_INLINE Floats zero_floats() {
  return _mm512_setzero_ps();
}
SLUICE_INLINE Ints zero_ints() {
  return _mm512_setzero_si512();
}

// --- 16 bytes per row ---
SLUICE_INLINE Narrow narrow_load(Source s, int64_t at) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(s.row[0] + at)),
                                 load_128(s.row[1] + at), 1);
}
SLUICE_INLINE Narrow narrow_each(const void* bytes) {
  return _mm256_broadcastsi128_si256(load_128(bytes));
}
SLUICE_INLINE Narrow narrow_shuffle(Narrow v, Narrow index) {
  return _mm256_shuffle_epi8(v, index);
}
SLUICE_INLINE Narrow narrow_and(Narrow a, Narrow b) {
  return _mm256_and_si256(a, b);
}
SLUICE_INLINE Narrow narrow_or(Narrow a, Narrow b) {
  return _mm256_or_si256(a, b);
}
SLUICE_INLINE Narrow narrow_sub_8(Narrow a, Narrow b) {
  return _mm256_sub_epi8(a, b);
}
SLUICE_INLINE Narrow narrow_left_each_32(Narrow a, Narrow bits) {
  return _mm256_sllv_epi32(a, bits);
}
SLUICE_INLINE Narrow narrow_right_each_32(Narrow a, Narrow bits) {
  return _mm256_srlv_epi32(a, bits);
}
SLUICE_INLINE Ints widen_low_u8(Narrow a) {
  return _mm512_cvtepu8_epi32(_mm256_castsi256_si128(_mm256_permute4x64_epi64(a, 0x08)));
}
SLUICE_INLINE Ints widen_high_u8(Narrow a) {
  return _mm512_cvtepu8_epi32(_mm256_castsi256_si128(_mm256_permute4x64_epi64(a, 0x0d)));
}
SLUICE_INLINE Ints widen_u16(Narrow a) {
  return _mm512_cvtepu16_epi32(a);
}
SLUICE_INLINE Floats widen_f16(Narrow a) {
  return _mm512_cvtph_ps(a);
}
template <int kLane>
SLUICE_INLINE Floats broadcast_lane(Floats a) {
  constexpr int k = kLane, h = kLane + 8;
  return _mm512_permutexvar_ps(_mm512_setr_epi32(k, k, k, k, k, k, k, k, h, h, h, h, h, h, h, h),
                               a);
}

SLUICE_INLINE void store_sums(Floats a, float* out) {
  out[0] = sum_8(_mm512_castps512_ps256(a));
  out[1] = sum_8(_mm512_extractf32x8_ps(a, 1));
}

// out[a][2 v + r] = the sum of row r's lanes of lanes[v][a], in the order of sum_8.
SLUICE_INLINE void sum_block(const Floats (&lanes)[2][4], float (&out)[4][4]) {
  // Lanes 0 + 4 .. 3 + 7 of two vectors: four quarters are vector a's rows and vector b's rows.
  const auto halves = [](Floats a, Floats b) __attribute__((always_inline)) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  };
  const auto quarters = [](Floats a, Floats b) __attribute__((always_inline)) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
  };
  Floats pairs[2];  // quarters: a0 r0, a0 r1, a1 r0, a1 r1 with (v0, v1) pairs; then a2, a3
  SLUICE_UNROLL
  for (int i = 0; i < 2; ++i)
    pairs[i] = quarters(halves(lanes[0][2 * i], lanes[0][2 * i + 1]),
                        halves(lanes[1][2 * i], lanes[1][2 * i + 1]));
  // Quarter q of `all`: act q / 2, row q % 2: v0, v1 of acts 0, 1; then v0, v1 of acts 2, 3.
  const Floats all = _mm512_add_ps(_mm512_shuffle_ps(pairs[0], pairs[1], 0x88),
                                   _mm512_shuffle_ps(pairs[0], pairs[1], 0xdd));
  _mm512_storeu_ps(&out[0][0], _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 1, 5, 8, 12, 9, 13, 2,
                                                                       6, 3, 7, 10, 14, 11, 15),
                                                     all));
}

// --- 16 floats ---
using Wide = __m512;
constexpr int kWideRegisters = 1;

SLUICE_INLINE Wide wide_zero() {
  return _mm512_setzero_ps();
}
SLUICE_INLINE Wide wide_each(float v) {
  return _mm512_set1_ps(v);
}
SLUICE_INLINE Wide wide_load(const float* p) {
  return _mm512_loadu_ps(p);
}
SLUICE_INLINE void wide_store(float* p, Wide v) {
  _mm512_storeu_ps(p, v);
}
SLUICE_INLINE Wide wide_load_f16(const uint8_t* p) {
  return _mm512_cvtph_ps(load_256(p));
}
SLUICE_INLINE Wide wide_load_bf16(const uint8_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_256(p)), 16));
}
SLUICE_INLINE Wide wide_add(Wide a, Wide b) {
  return _mm512_add_ps(a, b);
}
SLUICE_INLINE Wide wide_sub(Wide a, Wide b) {
  return _mm512_sub_ps(a, b);
}
SLUICE_INLINE Wide wide_mul(Wide a, Wide b) {
  return _mm512_mul_ps(a, b);
}
SLUICE_INLINE Wide wide_div(Wide a, Wide b) {
  return _mm512_div_ps(a, b);
}
SLUICE_INLINE Wide wide_mul_add(Wide a, Wide b, Wide c) {
  return _mm512_fmadd_ps(a, b, c);
}
SLUICE_INLINE Wide wide_at_most(Wide bound, Wide v) {
  return _mm512_min_ps(bound, v);
}
SLUICE_INLINE Wide wide_at_least(Wide bound, Wide v) {
  return _mm512_max_ps(bound, v);
}
SLUICE_INLINE Wide wide_round(Wide v) {
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
SLUICE_INLINE Wide wide_scale(Wide v, Wide n) {
  return _mm512_scalef_ps(v, n);
}
SLUICE_INLINE float wide_sum(Wide v) {
  return sum_8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

struct WideDouble {
  __m512d half[2];
};
SLUICE_INLINE WideDouble wide_double_zero() {
  return {{_mm512_setzero_pd(), _mm512_setzero_pd()}};
}
SLUICE_INLINE void wide_add_squares(WideDouble& sums, Wide v) {
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
  const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  sums.half[0] = _mm512_fmadd_pd(low, low, sums.half[0]);
  sums.half[1] = _mm512_fmadd_pd(high, high, sums.half[1]);
}
SLUICE_INLINE double wide_double_sum(const WideDouble& v) {
  const __m512d sum = _mm512_add_pd(v.half[0], v.half[1]);
  return sum_4(_mm256_add_pd(_mm512_castpd512_pd256(sum), _mm512_extractf64x4_pd(sum, 1)));
}

}  // namespace
}  // namespace sluice::cpu
