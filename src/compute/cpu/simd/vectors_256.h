// SPDX-License-Identifier: Apache-2.0
// Vectors of 256 bits: one row of weights per vector, lane j of 8 is group j of 32 elements.
// vectors_512.h has the same names for two rows per vector: rows lie in the halves, and every
// operation stays within a half.
#pragma once

#include "compute/cpu/simd/x86.h"

namespace sluice::cpu {
namespace {

constexpr int kVectorRows = 1;

using Ints = __m256i;    // 8 x int32 or 32 bytes, per row
using Floats = __m256;   // 8 per row
using Narrow = __m128i;  // 16 bytes per row

// Where the rows of a vector are.
struct Source {
  const uint8_t* row[1];
  SLUICE_INLINE Source operator+(size_t bytes) const { return {{row[0] + bytes}}; }
};

// --- loads: the same offset in every row ---
SLUICE_INLINE Ints load_32_bytes(Source s, int64_t at) {
  return load_256(s.row[0] + at);
}
// 16 bytes at `low` into the low 128 bits, at `high` into the high ones.
SLUICE_INLINE Ints load_16_bytes(Source s, int64_t low, int64_t high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(s.row[0] + low)),
                                 load_128(s.row[0] + high), 1);
}
// a = 16 bytes at `low` and at `high`, b = the 16 bytes after each.
SLUICE_INLINE void load_split(Source s, int64_t low, int64_t high, Ints& a, Ints& b) {
  a = load_16_bytes(s, low, high);
  b = load_16_bytes(s, low + 16, high + 16);
}
SLUICE_INLINE Ints broadcast_u32(Source s, int64_t at) {
  return _mm256_set1_epi32(static_cast<int>(load_u32(s.row[0] + at)));
}
SLUICE_INLINE Floats broadcast_f16(Source s, int64_t at) {
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(s.row[0] + at))));
}
// Eight values, `stride` bytes apart.
SLUICE_INLINE Floats gather_f16(Source s, int64_t at, int64_t stride) {
  return _mm256_cvtph_ps(gather_u16(s.row[0] + at, stride));
}
SLUICE_INLINE Ints gather_dwords(Source s, int64_t at, int64_t stride) {
  return gather_u32(s.row[0] + at, stride);
}
SLUICE_INLINE Ints gather_bytes(Source s, int64_t at, int64_t stride) {
  return gather_u8(s.row[0] + at, stride);
}

// --- the same 8 values for every row ---
SLUICE_INLINE Ints each_row(const int32_t* v) {
  return load_256(v);
}
SLUICE_INLINE Ints each_row(const int8_t* v) {
  return load_256(v);
}
SLUICE_INLINE Floats each_row(const float* v) {
  return _mm256_loadu_ps(v);
}
// The same 16 bytes in every 128 bits.
SLUICE_INLINE Ints each_128(const void* bytes) {
  return _mm256_broadcastsi128_si256(load_128(bytes));
}
SLUICE_INLINE Ints each_byte(int v) {
  return _mm256_set1_epi8(static_cast<char>(v));
}
SLUICE_INLINE Ints each_dword(int v) {
  return _mm256_set1_epi32(v);
}
SLUICE_INLINE Floats each_float(float v) {
  return _mm256_set1_ps(v);
}

// --- integers ---
SLUICE_INLINE Ints bits_and(Ints a, Ints b) {
  return _mm256_and_si256(a, b);
}
SLUICE_INLINE Ints bits_or(Ints a, Ints b) {
  return _mm256_or_si256(a, b);
}
SLUICE_INLINE Ints bits_xor(Ints a, Ints b) {
  return _mm256_xor_si256(a, b);
}
// a | (b & mask)
SLUICE_INLINE Ints or_masked(Ints a, Ints b, Ints mask) {
  return _mm256_or_si256(a, _mm256_and_si256(b, mask));
}
SLUICE_INLINE Ints add_32(Ints a, Ints b) {
  return _mm256_add_epi32(a, b);
}
SLUICE_INLINE Ints max_32(Ints a, Ints b) {
  return _mm256_max_epi32(a, b);
}
SLUICE_INLINE Ints min_32(Ints a, Ints b) {
  return _mm256_min_epi32(a, b);
}
template <int kBits>
SLUICE_INLINE Ints left_32(Ints a) {
  return _mm256_slli_epi32(a, kBits);
}
template <int kBits>
SLUICE_INLINE Ints right_32(Ints a) {
  return _mm256_srli_epi32(a, kBits);
}
template <int kBits>
SLUICE_INLINE Ints right_signed_32(Ints a) {
  return _mm256_srai_epi32(a, kBits);
}
SLUICE_INLINE Ints left_each_32(Ints a, Ints bits) {
  return _mm256_sllv_epi32(a, bits);
}
SLUICE_INLINE Ints right_each_32(Ints a, Ints bits) {
  return _mm256_srlv_epi32(a, bits);
}
// bytes: table[index] of the 16 bytes in every 128 bits; 0 for an index from 128; no index is in
// 16 .. 127, where levels differ
SLUICE_INLINE Ints shuffle_bytes(Ints table, Ints index) {
  return _mm256_shuffle_epi8(table, index);
}
// dwords kA, kB of a, then kC, kD of b, in every 128 bits
template <int kA, int kB, int kC, int kD>
SLUICE_INLINE Ints shuffle_32(Ints a, Ints b) {
  return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b),
                                               kA | kB << 2 | kC << 4 | kD << 6));
}
SLUICE_INLINE Ints unpack_low_32(Ints a, Ints b) {
  return _mm256_unpacklo_epi32(a, b);
}
SLUICE_INLINE Ints unpack_high_32(Ints a, Ints b) {
  return _mm256_unpackhi_epi32(a, b);
}
SLUICE_INLINE void transpose(Ints r0, Ints r1, Ints r2, Ints r3, Ints* out) {
  transpose_256(r0, r1, r2, r3, out);
}
// 64 + g, or 64 - g where a byte of `signs` has the bit of `bits` (one bit per byte) set
SLUICE_INLINE Ints signed_from_64(Ints g, Ints signs, Ints bits) {
  const Ints minus = _mm256_cmpeq_epi8(_mm256_and_si256(signs, bits), bits);
  return _mm256_add_epi8(_mm256_sub_epi8(_mm256_xor_si256(g, minus), minus), each_byte(64));
}
// w | kValue where a byte of `v` has the bit of `bits` set
template <int kValue>
SLUICE_INLINE Ints or_where_bit(Ints w, Ints v, Ints bits) {
  const Ints set = _mm256_cmpeq_epi8(_mm256_and_si256(v, bits), bits);
  return or_masked(w, set, each_byte(kValue));
}
// Entries of a table; for one of 64 bits their low and high dwords.
SLUICE_INLINE Ints look_up(const uint32_t* table, Ints index) {
  alignas(32) int32_t at[8];
  store_256(at, index);
  return look_up_32(table, at);
}
SLUICE_INLINE void look_up(const uint64_t* table, Ints index, Ints& low, Ints& high) {
  alignas(32) int32_t at[8];
  store_256(at, index);
  look_up_64(table, at, low, high);
}

// --- floats ---
SLUICE_INLINE Floats to_float(Ints a) {
  return _mm256_cvtepi32_ps(a);
}
SLUICE_INLINE Floats as_float(Ints a) {
  return _mm256_castsi256_ps(a);
}
SLUICE_INLINE Floats mul(Floats a, Floats b) {
  return _mm256_mul_ps(a, b);
}
SLUICE_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
SLUICE_INLINE Floats zero_floats() {
  return _mm256_setzero_ps();
}
SLUICE_INLINE Ints zero_ints() {
  return _mm256_setzero_si256();
}

// --- 16 bytes per row ---
SLUICE_INLINE Narrow narrow_load(Source s, int64_t at) {
  return load_128(s.row[0] + at);
}
SLUICE_INLINE Narrow narrow_each(const void* bytes) {
  return load_128(bytes);
}
SLUICE_INLINE Narrow narrow_shuffle(Narrow v, Narrow index) {
  return _mm_shuffle_epi8(v, index);
}
SLUICE_INLINE Narrow narrow_and(Narrow a, Narrow b) {
  return _mm_and_si128(a, b);
}
SLUICE_INLINE Narrow narrow_or(Narrow a, Narrow b) {
  return _mm_or_si128(a, b);
}
SLUICE_INLINE Narrow narrow_sub_8(Narrow a, Narrow b) {
  return _mm_sub_epi8(a, b);
}
SLUICE_INLINE Narrow narrow_left_each_32(Narrow a, Narrow bits) {
  return _mm_sllv_epi32(a, bits);
}
SLUICE_INLINE Narrow narrow_right_each_32(Narrow a, Narrow bits) {
  return _mm_srlv_epi32(a, bits);
}
SLUICE_INLINE Ints widen_low_u8(Narrow a) {
  return _mm256_cvtepu8_epi32(a);
}
SLUICE_INLINE Ints widen_high_u8(Narrow a) {
  return _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(a, a));
}
SLUICE_INLINE Ints widen_u16(Narrow a) {
  return _mm256_cvtepu16_epi32(a);
}
SLUICE_INLINE Floats widen_f16(Narrow a) {
  return _mm256_cvtph_ps(a);
}
template <int kLane>
SLUICE_INLINE Floats broadcast_lane(Floats a) {
  return _mm256_permutevar8x32_ps(a, each_dword(kLane));
}

// The sum of every row's 8 lanes.
SLUICE_INLINE void store_sums(Floats a, float* out) {
  out[0] = sum_8(a);
}

// out[a][v] = the sum of the lanes of lanes[v][a], in the order of sum_8.
SLUICE_INLINE Floats sum_halves(Floats a, Floats b) {
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
SLUICE_INLINE Floats sum_quarters(Floats a, Floats b) {
  return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
}
SLUICE_INLINE void sum_block(const Floats (&lanes)[2][2], float (&out)[2][2]) {
  // Halves are activations; in each, vectors 0 and 1 as pairs.
  const Floats pairs =
      sum_quarters(sum_halves(lanes[0][0], lanes[0][1]), sum_halves(lanes[1][0], lanes[1][1]));
  const Floats all = _mm256_add_ps(pairs, _mm256_movehdup_ps(pairs));
  const Floats packed = _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0));
  _mm_storeu_ps(&out[0][0], _mm256_castps256_ps128(packed));
}
SLUICE_INLINE void sum_block(const Floats (&lanes)[2][4], float (&out)[4][2]) {
  Floats pairs[2];
  SLUICE_UNROLL
  for (int i = 0; i < 2; ++i)
    pairs[i] = sum_quarters(sum_halves(lanes[0][2 * i], lanes[0][2 * i + 1]),
                            sum_halves(lanes[1][2 * i], lanes[1][2 * i + 1]));
  // Half h: vectors 0, 1 of activation h, then of activation 2 + h.
  const Floats all = _mm256_add_ps(_mm256_shuffle_ps(pairs[0], pairs[1], 0x88),
                                   _mm256_shuffle_ps(pairs[0], pairs[1], 0xdd));
  _mm256_storeu_ps(&out[0][0],
                   _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7)));
}

// --- 16 floats, for what works on plain float arrays: the same lanes at every level ---
struct Wide {
  __m256 low, high;
};
constexpr int kWideRegisters = 2;

SLUICE_INLINE Wide wide_zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
SLUICE_INLINE Wide wide_each(float v) {
  return {_mm256_set1_ps(v), _mm256_set1_ps(v)};
}
SLUICE_INLINE Wide wide_load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
SLUICE_INLINE void wide_store(float* p, Wide v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
SLUICE_INLINE Wide wide_load_f16(const uint8_t* p) {
  return {_mm256_cvtph_ps(load_128(p)), _mm256_cvtph_ps(load_128(p + 16))};
}
SLUICE_INLINE Wide wide_load_bf16(const uint8_t* p) {
  const auto widen = [](__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  };
  return {widen(load_128(p)), widen(load_128(p + 16))};
}
SLUICE_INLINE Wide wide_add(Wide a, Wide b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
SLUICE_INLINE Wide wide_sub(Wide a, Wide b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
SLUICE_INLINE Wide wide_mul(Wide a, Wide b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
SLUICE_INLINE Wide wide_div(Wide a, Wide b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
SLUICE_INLINE Wide wide_mul_add(Wide a, Wide b, Wide c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
// The bound where v is beyond it; NaN stays.
SLUICE_INLINE Wide wide_at_most(Wide bound, Wide v) {
  return {_mm256_min_ps(bound.low, v.low), _mm256_min_ps(bound.high, v.high)};
}
SLUICE_INLINE Wide wide_at_least(Wide bound, Wide v) {
  return {_mm256_max_ps(bound.low, v.low), _mm256_max_ps(bound.high, v.high)};
}
// To the nearest integer, ties to even.
SLUICE_INLINE Wide wide_round(Wide v) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(v.low, kMode), _mm256_round_ps(v.high, kMode)};
}
// v * 2^n for integers n in -252..254, rounded once.
SLUICE_INLINE Wide wide_scale(Wide v, Wide n) {
  const auto scale = [](__m256 x, __m256 exponent) {
    const __m256i whole = _mm256_cvtps_epi32(exponent), half = _mm256_srai_epi32(whole, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    const auto power = [&](__m256i e) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23));
    };
    return _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_epi32(whole, half)));
  };
  return {scale(v.low, n.low), scale(v.high, n.high)};
}
// Lanes l and l + 8, then as sum_8.
SLUICE_INLINE float wide_sum(Wide v) {
  return sum_8(_mm256_add_ps(v.low, v.high));
}

// 16 sums in double: lane l of elements l, l + 16, ...
struct WideDouble {
  __m256d quarter[4];
};
SLUICE_INLINE WideDouble wide_double_zero() {
  const __m256d zero = _mm256_setzero_pd();
  return {{zero, zero, zero, zero}};
}
SLUICE_INLINE void wide_add_squares(WideDouble& sums, Wide v) {
  const auto add = [](__m256d& sum, __m128 x) {
    const __m256d wide = _mm256_cvtps_pd(x);
    sum = _mm256_fmadd_pd(wide, wide, sum);
  };
  add(sums.quarter[0], _mm256_castps256_ps128(v.low));
  add(sums.quarter[1], _mm256_extractf128_ps(v.low, 1));
  add(sums.quarter[2], _mm256_castps256_ps128(v.high));
  add(sums.quarter[3], _mm256_extractf128_ps(v.high, 1));
}
SLUICE_INLINE double wide_double_sum(const WideDouble& v) {
  return sum_4(_mm256_add_pd(_mm256_add_pd(v.quarter[0], v.quarter[2]),
                             _mm256_add_pd(v.quarter[1], v.quarter[3])));
}

}  // namespace
}  // namespace sluice::cpu
