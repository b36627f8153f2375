// SPDX-License-Identifier: Apache-2.0
// ARMv8.2-A with the dot product extension: two registers of 128 bits per vector. The names are
// those of vectors_256.h, and so is their meaning: one row per vector, lane j of 8 is group j.
#pragma once

#include <arm_neon.h>

#include "compute/cpu/simd/common.h"

namespace sluice::cpu {
namespace {

constexpr int kVectorRows = 1;
// See avx512.h.
constexpr int kBlockVectors = 2;
constexpr int kBlockActs = 4;
// The product takes signed bytes on both sides. No format has unsigned weights above 126.
constexpr bool kAnyByte = false;
constexpr int kSignedBias = 0;

struct Ints {
  int32x4_t low, high;
};
struct Floats {
  float32x4_t low, high;
};
using Narrow = uint8x16_t;

struct Source {
  const uint8_t* row[1];
  SLUICE_INLINE Source operator+(size_t bytes) const { return {{row[0] + bytes}}; }
};

// --- registers: loads of bytes assume no alignment ---
SLUICE_INLINE uint8x16_t load_128(const void* p) {
  return vld1q_u8(static_cast<const uint8_t*>(p));
}
SLUICE_INLINE void store_128(void* p, uint8x16_t v) {
  vst1q_u8(static_cast<uint8_t*>(p), v);
}
SLUICE_INLINE int32x4_t load_ints(const void* p) {
  return vreinterpretq_s32_u8(load_128(p));
}
SLUICE_INLINE float32x4_t load_floats(const void* p) {
  return vreinterpretq_f32_u8(load_128(p));
}
SLUICE_INLINE void store_floats(void* p, float32x4_t v) {
  store_128(p, vreinterpretq_u8_f32(v));
}
SLUICE_INLINE uint8x16_t bytes_of(int32x4_t v) {
  return vreinterpretq_u8_s32(v);
}
SLUICE_INLINE int32x4_t ints_of(uint8x16_t v) {
  return vreinterpretq_s32_u8(v);
}
SLUICE_INLINE uint32x4_t unsigned_of(int32x4_t v) {
  return vreinterpretq_u32_s32(v);
}
SLUICE_INLINE int32x4_t signed_of(uint32x4_t v) {
  return vreinterpretq_s32_u32(v);
}
SLUICE_INLINE Floats halves_to_floats(uint16x8_t v) {
  const float16x8_t halves = vreinterpretq_f16_u16(v);
  return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}
SLUICE_INLINE Ints widen(uint16x8_t v) {
  return {signed_of(vmovl_u16(vget_low_u16(v))), signed_of(vmovl_high_u16(v))};
}
// Lanes j and j + 4, then as pairs: what sum_8 does first.
SLUICE_INLINE float32x2_t sum_to_2(Floats v) {
  const float32x4_t s = vaddq_f32(v.low, v.high);
  return vadd_f32(vget_low_f32(s), vget_high_f32(s));
}
// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))
SLUICE_INLINE float sum_8(Floats v) {
  return vpadds_f32(sum_to_2(v));
}

// --- loads ---
SLUICE_INLINE Ints load_32_bytes(Source s, int64_t at) {
  return {load_ints(s.row[0] + at), load_ints(s.row[0] + at + 16)};
}
SLUICE_INLINE Ints load_16_bytes(Source s, int64_t low, int64_t high) {
  return {load_ints(s.row[0] + low), load_ints(s.row[0] + high)};
}
SLUICE_INLINE void load_split(Source s, int64_t low, int64_t high, Ints& a, Ints& b) {
  a = load_16_bytes(s, low, high);
  b = load_16_bytes(s, low + 16, high + 16);
}
SLUICE_INLINE Ints broadcast_u32(Source s, int64_t at) {
  const int32x4_t v = signed_of(vdupq_n_u32(load_u32(s.row[0] + at)));
  return {v, v};
}
SLUICE_INLINE Floats broadcast_f16(Source s, int64_t at) {
  const uint16x4_t bits = vdup_n_u16(load_u16(s.row[0] + at));
  const float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(bits));
  return {v, v};
}
SLUICE_INLINE Floats gather_f16(Source s, int64_t at, int64_t stride) {
  uint16_t values[8];
  for (int64_t j = 0; j < 8; ++j) values[j] = load_u16(s.row[0] + at + j * stride);
  return halves_to_floats(vld1q_u16(values));
}
SLUICE_INLINE Ints gather_dwords(Source s, int64_t at, int64_t stride) {
  uint32_t values[8];
  for (int64_t j = 0; j < 8; ++j) values[j] = load_u32(s.row[0] + at + j * stride);
  return {load_ints(values), load_ints(values + 4)};
}
SLUICE_INLINE Ints gather_bytes(Source s, int64_t at, int64_t stride) {
  int32_t values[8];
  for (int64_t j = 0; j < 8; ++j) values[j] = s.row[0][at + j * stride];
  return {load_ints(values), load_ints(values + 4)};
}

// --- the same 8 values for every row ---
SLUICE_INLINE Ints each_row(const int32_t* v) {
  return {load_ints(v), load_ints(v + 4)};
}
SLUICE_INLINE Ints each_row(const int8_t* v) {
  return {load_ints(v), load_ints(v + 16)};
}
SLUICE_INLINE Floats each_row(const float* v) {
  return {load_floats(v), load_floats(v + 4)};
}
SLUICE_INLINE Ints each_128(const void* bytes) {
  const int32x4_t v = load_ints(bytes);
  return {v, v};
}
SLUICE_INLINE Ints each_byte(int value) {
  const int32x4_t v = ints_of(vdupq_n_u8(static_cast<uint8_t>(value)));
  return {v, v};
}
SLUICE_INLINE Ints each_dword(int value) {
  const int32x4_t v = vdupq_n_s32(value);
  return {v, v};
}
SLUICE_INLINE Floats each_float(float value) {
  const float32x4_t v = vdupq_n_f32(value);
  return {v, v};
}

// --- integers ---
SLUICE_INLINE Ints bits_and(Ints a, Ints b) {
  return {vandq_s32(a.low, b.low), vandq_s32(a.high, b.high)};
}
SLUICE_INLINE Ints bits_or(Ints a, Ints b) {
  return {vorrq_s32(a.low, b.low), vorrq_s32(a.high, b.high)};
}
SLUICE_INLINE Ints bits_xor(Ints a, Ints b) {
  return {veorq_s32(a.low, b.low), veorq_s32(a.high, b.high)};
}
SLUICE_INLINE Ints or_masked(Ints a, Ints b, Ints mask) {
  return bits_or(a, bits_and(b, mask));
}
SLUICE_INLINE Ints add_32(Ints a, Ints b) {
  return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)};
}
SLUICE_INLINE Ints max_32(Ints a, Ints b) {
  return {vmaxq_s32(a.low, b.low), vmaxq_s32(a.high, b.high)};
}
SLUICE_INLINE Ints min_32(Ints a, Ints b) {
  return {vminq_s32(a.low, b.low), vminq_s32(a.high, b.high)};
}
template <int kBits>
SLUICE_INLINE Ints left_32(Ints a) {
  return {vshlq_n_s32(a.low, kBits), vshlq_n_s32(a.high, kBits)};
}
// Right shifts by an immediate begin at 1.
template <int kBits>
SLUICE_INLINE Ints right_32(Ints a) {
  if constexpr (kBits == 0)
    return a;
  else
    return {signed_of(vshrq_n_u32(unsigned_of(a.low), kBits)),
            signed_of(vshrq_n_u32(unsigned_of(a.high), kBits))};
}
template <int kBits>
SLUICE_INLINE Ints right_signed_32(Ints a) {
  return {vshrq_n_s32(a.low, kBits), vshrq_n_s32(a.high, kBits)};
}
SLUICE_INLINE int32x4_t shift_each(int32x4_t a, int32x4_t left) {
  return signed_of(vshlq_u32(unsigned_of(a), left));
}
SLUICE_INLINE Ints left_each_32(Ints a, Ints bits) {
  return {shift_each(a.low, bits.low), shift_each(a.high, bits.high)};
}
SLUICE_INLINE Ints right_each_32(Ints a, Ints bits) {
  return {shift_each(a.low, vnegq_s32(bits.low)), shift_each(a.high, vnegq_s32(bits.high))};
}
SLUICE_INLINE Ints shuffle_bytes(Ints table, Ints index) {
  return {ints_of(vqtbl1q_u8(bytes_of(table.low), bytes_of(index.low))),
          ints_of(vqtbl1q_u8(bytes_of(table.high), bytes_of(index.high)))};
}
template <int kA, int kB, int kC, int kD>
SLUICE_INLINE Ints shuffle_32(Ints a, Ints b) {
  return {__builtin_shufflevector(a.low, b.low, kA, kB, kC + 4, kD + 4),
          __builtin_shufflevector(a.high, b.high, kA, kB, kC + 4, kD + 4)};
}
SLUICE_INLINE Ints unpack_low_32(Ints a, Ints b) {
  return {vzip1q_s32(a.low, b.low), vzip1q_s32(a.high, b.high)};
}
SLUICE_INLINE Ints unpack_high_32(Ints a, Ints b) {
  return {vzip2q_s32(a.low, b.low), vzip2q_s32(a.high, b.high)};
}
// out[m] = dword m of each of r0 .. r3.
SLUICE_INLINE void transpose_4x4(int32x4_t r0, int32x4_t r1, int32x4_t r2, int32x4_t r3,
                                 int32x4_t* out) {
  const int64x2_t a = vreinterpretq_s64_s32(vzip1q_s32(r0, r1));
  const int64x2_t b = vreinterpretq_s64_s32(vzip2q_s32(r0, r1));
  const int64x2_t c = vreinterpretq_s64_s32(vzip1q_s32(r2, r3));
  const int64x2_t d = vreinterpretq_s64_s32(vzip2q_s32(r2, r3));
  out[0] = vreinterpretq_s32_s64(vzip1q_s64(a, c));
  out[1] = vreinterpretq_s32_s64(vzip2q_s64(a, c));
  out[2] = vreinterpretq_s32_s64(vzip1q_s64(b, d));
  out[3] = vreinterpretq_s32_s64(vzip2q_s64(b, d));
}
SLUICE_INLINE void transpose(Ints r0, Ints r1, Ints r2, Ints r3, Ints* out) {
  int32x4_t low[4], high[4];
  transpose_4x4(r0.low, r1.low, r2.low, r3.low, low);
  transpose_4x4(r0.high, r1.high, r2.high, r3.high, high);
  SLUICE_UNROLL
  for (int m = 0; m < 4; ++m) out[m] = {low[m], high[m]};
}
SLUICE_INLINE Ints signed_from_64(Ints g, Ints signs, Ints bits) {
  const auto half =
      [](int32x4_t magnitude, int32x4_t sign, int32x4_t bit) __attribute__((always_inline)) {
    const uint8x16_t minus = vtstq_u8(bytes_of(sign), bytes_of(bit)), middle = vdupq_n_u8(64);
    const uint8x16_t m = bytes_of(magnitude);
    return ints_of(vbslq_u8(minus, vsubq_u8(middle, m), vaddq_u8(middle, m)));
  };
  return {half(g.low, signs.low, bits.low), half(g.high, signs.high, bits.high)};
}
template <int kValue>
SLUICE_INLINE Ints or_where_bit(Ints w, Ints v, Ints bits) {
  const auto half =
      [](int32x4_t weight, int32x4_t value, int32x4_t bit) __attribute__((always_inline)) {
    const uint8x16_t set = vtstq_u8(bytes_of(value), bytes_of(bit));
    return ints_of(vorrq_u8(bytes_of(weight), vandq_u8(set, vdupq_n_u8(kValue))));
  };
  return {half(w.low, v.low, bits.low), half(w.high, v.high, bits.high)};
}
SLUICE_INLINE Ints look_up(const uint32_t* table, Ints index) {
  int32_t at[8];
  uint32_t entry[8];
  store_128(at, bytes_of(index.low));
  store_128(at + 4, bytes_of(index.high));
  for (int j = 0; j < 8; ++j) entry[j] = table[at[j]];
  return {load_ints(entry), load_ints(entry + 4)};
}
SLUICE_INLINE void look_up(const uint64_t* table, Ints index, Ints& low, Ints& high) {
  int32_t at[8];
  store_128(at, bytes_of(index.low));
  store_128(at + 4, bytes_of(index.high));
  const auto pair = [&](int j) __attribute__((always_inline)) {
    return vreinterpretq_s32_u64(
        vcombine_u64(vld1_u64(table + at[j]), vld1_u64(table + at[j + 1])));
  };
  const int32x4_t a = pair(0), b = pair(2), c = pair(4), d = pair(6);
  low = {vuzp1q_s32(a, b), vuzp1q_s32(c, d)};
  high = {vuzp2q_s32(a, b), vuzp2q_s32(c, d)};
}
SLUICE_INLINE Ints dot_add(Ints sum, Ints w, Ints x) {
  const auto half = [](int32x4_t s, int32x4_t a, int32x4_t b) __attribute__((always_inline)) {
    return vdotq_s32(s, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
  };
  return {half(sum.low, w.low, x.low), half(sum.high, w.high, x.high)};
}

// --- floats ---
SLUICE_INLINE Floats to_float(Ints a) {
  return {vcvtq_f32_s32(a.low), vcvtq_f32_s32(a.high)};
}
SLUICE_INLINE Floats as_float(Ints a) {
  return {vreinterpretq_f32_s32(a.low), vreinterpretq_f32_s32(a.high)};
}
SLUICE_INLINE Floats mul(Floats a, Floats b) {
  return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)};
}
SLUICE_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
SLUICE_INLINE Floats zero_floats() {
  return each_float(0.0f);
}
SLUICE_INLINE Ints zero_ints() {
  return each_dword(0);
}

// --- 16 bytes per row ---
SLUICE_INLINE Narrow narrow_load(Source s, int64_t at) {
  return load_128(s.row[0] + at);
}
SLUICE_INLINE Narrow narrow_each(const void* bytes) {
  return load_128(bytes);
}
SLUICE_INLINE Narrow narrow_shuffle(Narrow v, Narrow index) {
  return vqtbl1q_u8(v, index);
}
SLUICE_INLINE Narrow narrow_and(Narrow a, Narrow b) {
  return vandq_u8(a, b);
}
SLUICE_INLINE Narrow narrow_or(Narrow a, Narrow b) {
  return vorrq_u8(a, b);
}
SLUICE_INLINE Narrow narrow_sub_8(Narrow a, Narrow b) {
  return vsubq_u8(a, b);
}
SLUICE_INLINE Narrow narrow_left_each_32(Narrow a, Narrow bits) {
  return bytes_of(shift_each(ints_of(a), ints_of(bits)));
}
SLUICE_INLINE Narrow narrow_right_each_32(Narrow a, Narrow bits) {
  return bytes_of(shift_each(ints_of(a), vnegq_s32(ints_of(bits))));
}
SLUICE_INLINE Ints widen_low_u8(Narrow a) {
  return widen(vmovl_u8(vget_low_u8(a)));
}
SLUICE_INLINE Ints widen_high_u8(Narrow a) {
  return widen(vmovl_high_u8(a));
}
SLUICE_INLINE Ints widen_u16(Narrow a) {
  return widen(vreinterpretq_u16_u8(a));
}
SLUICE_INLINE Floats widen_f16(Narrow a) {
  return halves_to_floats(vreinterpretq_u16_u8(a));
}
template <int kLane>
SLUICE_INLINE Floats broadcast_lane(Floats a) {
  const float32x4_t v = vdupq_laneq_f32(kLane < 4 ? a.low : a.high, kLane % 4);
  return {v, v};
}

SLUICE_INLINE void store_sums(Floats a, float* out) {
  out[0] = sum_8(a);
}
// out[a][v] = the sum of the lanes of lanes[v][a], in the order of sum_8.
SLUICE_INLINE void sum_block(const Floats (&lanes)[kBlockVectors][kBlockActs],
                             float (&out)[kBlockActs][kBlockVectors]) {
  SLUICE_UNROLL
  for (int a = 0; a < kBlockActs; ++a)
    vst1_f32(out[a], vpadd_f32(sum_to_2(lanes[0][a]), sum_to_2(lanes[1][a])));
}

// --- 16 floats, for what works on plain float arrays ---
struct Wide {
  float32x4_t part[4];
};
constexpr int kWideRegisters = 4;

template <class F>
SLUICE_INLINE Wide each_part(const F& f) {
  return {{f(0), f(1), f(2), f(3)}};
}
SLUICE_INLINE Wide wide_each(float value) {
  const float32x4_t v = vdupq_n_f32(value);
  return {{v, v, v, v}};
}
SLUICE_INLINE Wide wide_zero() {
  return wide_each(0.0f);
}
SLUICE_INLINE Wide wide_load(const float* p) {
  return {{load_floats(p), load_floats(p + 4), load_floats(p + 8), load_floats(p + 12)}};
}
SLUICE_INLINE void wide_store(float* p, Wide v) {
  SLUICE_UNROLL
  for (int i = 0; i < 4; ++i) store_floats(p + 4 * i, v.part[i]);
}
SLUICE_INLINE Wide wide_load_f16(const uint8_t* p) {
  const Floats a = widen_f16(load_128(p)), b = widen_f16(load_128(p + 16));
  return {{a.low, a.high, b.low, b.high}};
}
SLUICE_INLINE Floats widen_bf16(Narrow v) {
  return as_float(left_32<16>(widen_u16(v)));
}
SLUICE_INLINE Wide wide_load_bf16(const uint8_t* p) {
  const Floats a = widen_bf16(load_128(p)), b = widen_bf16(load_128(p + 16));
  return {{a.low, a.high, b.low, b.high}};
}
SLUICE_INLINE Wide wide_add(Wide a, Wide b) {
  return each_part([&](int i)
                       __attribute__((always_inline)) { return vaddq_f32(a.part[i], b.part[i]); });
}
SLUICE_INLINE Wide wide_sub(Wide a, Wide b) {
  return each_part([&](int i)
                       __attribute__((always_inline)) { return vsubq_f32(a.part[i], b.part[i]); });
}
SLUICE_INLINE Wide wide_mul(Wide a, Wide b) {
  return each_part([&](int i)
                       __attribute__((always_inline)) { return vmulq_f32(a.part[i], b.part[i]); });
}
SLUICE_INLINE Wide wide_div(Wide a, Wide b) {
  return each_part([&](int i)
                       __attribute__((always_inline)) { return vdivq_f32(a.part[i], b.part[i]); });
}
SLUICE_INLINE Wide wide_mul_add(Wide a, Wide b, Wide c) {
  return each_part([&](int i) __attribute__((always_inline)) {
    return vfmaq_f32(c.part[i], a.part[i], b.part[i]);
  });
}
// The instructions for minimum and maximum treat NaN and zeros of both signs otherwise than x86.
SLUICE_INLINE Wide wide_at_most(Wide bound, Wide v) {
  return each_part([&](int i) __attribute__((always_inline)) {
    return vbslq_f32(vcltq_f32(bound.part[i], v.part[i]), bound.part[i], v.part[i]);
  });
}
SLUICE_INLINE Wide wide_at_least(Wide bound, Wide v) {
  return each_part([&](int i) __attribute__((always_inline)) {
    return vbslq_f32(vcgtq_f32(bound.part[i], v.part[i]), bound.part[i], v.part[i]);
  });
}
SLUICE_INLINE Wide wide_round(Wide v) {
  return each_part([&](int i) __attribute__((always_inline)) { return vrndnq_f32(v.part[i]); });
}
SLUICE_INLINE Wide wide_scale(Wide v, Wide n) {
  return each_part([&](int i) __attribute__((always_inline)) {
    const int32x4_t whole = vcvtnq_s32_f32(n.part[i]), half = vshrq_n_s32(whole, 1);
    const auto power = [](int32x4_t e) __attribute__((always_inline)) {
      return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e, vdupq_n_s32(127)), 23));
    };
    return vmulq_f32(vmulq_f32(v.part[i], power(half)), power(vsubq_s32(whole, half)));
  });
}
SLUICE_INLINE float wide_sum(Wide v) {
  return sum_8({vaddq_f32(v.part[0], v.part[2]), vaddq_f32(v.part[1], v.part[3])});
}

// 16 sums in double: lane l of elements l, l + 16, ...
struct WideDouble {
  float64x2_t pair[8];
};
SLUICE_INLINE WideDouble wide_double_zero() {
  const float64x2_t zero = vdupq_n_f64(0.0);
  return {{zero, zero, zero, zero, zero, zero, zero, zero}};
}
SLUICE_INLINE void wide_add_squares(WideDouble& sums, Wide v) {
  SLUICE_UNROLL
  for (int i = 0; i < 4; ++i) {
    const float64x2_t low = vcvt_f64_f32(vget_low_f32(v.part[i]));
    const float64x2_t high = vcvt_high_f64_f32(v.part[i]);
    sums.pair[2 * i] = vfmaq_f64(sums.pair[2 * i], low, low);
    sums.pair[2 * i + 1] = vfmaq_f64(sums.pair[2 * i + 1], high, high);
  }
}
// Lanes l and l + 8, then 4 apart, 2 apart and the last two.
SLUICE_INLINE double wide_double_sum(const WideDouble& v) {
  const auto quarter = [&](int i) __attribute__((always_inline)) {
    return vaddq_f64(vaddq_f64(v.pair[i], v.pair[i + 4]), vaddq_f64(v.pair[i + 2], v.pair[i + 6]));
  };
  return vpaddd_f64(vaddq_f64(quarter(0), quarter(1)));
}

// 8 x 8 floats, for attention.h.
SLUICE_INLINE void transpose_8x8(const float* from, int64_t stride, float* to) {
  for (int r = 0; r < 8; r += 4)
    for (int c = 0; c < 8; c += 4) {
      const float* p = from + r * stride + c;
      int32x4_t out[4];
      transpose_4x4(load_ints(p), load_ints(p + stride), load_ints(p + 2 * stride),
                    load_ints(p + 3 * stride), out);
      for (int i = 0; i < 4; ++i) store_128(to + (c + i) * kTilePositions + r, bytes_of(out[i]));
    }
}

}  // namespace
}  // namespace sluice::cpu

#include "compute/cpu/simd/dot_chains.h"
