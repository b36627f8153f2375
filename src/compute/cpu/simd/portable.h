// SPDX-License-Identifier: Apache-2.0
// No instructions of any processor: vectors are arrays. The names are those of vectors_256.h, and
// so is their meaning: one row per vector, lane j of 8 is group j. Written for sameness, not speed:
// every level gives the bits of this one.
#pragma once

#define SLUICE_PORTABLE
#include "compute/cpu/simd/common.h"
#include "quant/half.h"

namespace sluice::cpu {
namespace {

constexpr int kVectorRows = 1;
// See avx512.h.
constexpr int kBlockVectors = 1;
constexpr int kBlockActs = 2;
constexpr bool kAnyByte = true;
constexpr int kSignedBias = 0;

struct Ints {
  uint32_t lane[8];
};
struct Floats {
  float lane[8];
};
struct Narrow {
  uint8_t byte[16];
};

struct Source {
  const uint8_t* row[1];
  SLUICE_INLINE Source operator+(size_t bytes) const { return {{row[0] + bytes}}; }
};

// f(i) for every lane of an Ints or Floats, or byte of an Ints.
template <class Vector, class F>
SLUICE_INLINE Vector lanes(const F& f) {
  Vector result;
  for (int i = 0; i < 8; ++i) result.lane[i] = f(i);
  return result;
}
template <class F>
SLUICE_INLINE Ints bytes(const F& f) {
  uint8_t result[32];
  for (int i = 0; i < 32; ++i) result[i] = static_cast<uint8_t>(f(i));
  Ints v;
  std::memcpy(&v, result, sizeof(v));
  return v;
}
SLUICE_INLINE uint8_t byte_of(const Ints& v, int i) {
  uint8_t byte;
  std::memcpy(&byte, reinterpret_cast<const uint8_t*>(&v) + i, 1);
  return byte;
}
SLUICE_INLINE float float_of(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}
SLUICE_INLINE float half_at(const uint8_t* p) {
  return quant::half_to_float(load_u16(p));
}
// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))
SLUICE_INLINE float sum_8(const Floats& v) {
  const float* a = v.lane;
  return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

// --- loads ---
SLUICE_INLINE Ints load_16_bytes(Source s, int64_t low, int64_t high) {
  Ints v;
  std::memcpy(v.lane, s.row[0] + low, 16);
  std::memcpy(v.lane + 4, s.row[0] + high, 16);
  return v;
}
SLUICE_INLINE Ints load_32_bytes(Source s, int64_t at) {
  return load_16_bytes(s, at, at + 16);
}
SLUICE_INLINE void load_split(Source s, int64_t low, int64_t high, Ints& a, Ints& b) {
  a = load_16_bytes(s, low, high);
  b = load_16_bytes(s, low + 16, high + 16);
}
SLUICE_INLINE Ints broadcast_u32(Source s, int64_t at) {
  return lanes<Ints>([&](int) { return load_u32(s.row[0] + at); });
}
SLUICE_INLINE Floats broadcast_f16(Source s, int64_t at) {
  return lanes<Floats>([&](int) { return half_at(s.row[0] + at); });
}
SLUICE_INLINE Floats gather_f16(Source s, int64_t at, int64_t stride) {
  return lanes<Floats>([&](int j) { return half_at(s.row[0] + at + j * stride); });
}
SLUICE_INLINE Ints gather_dwords(Source s, int64_t at, int64_t stride) {
  return lanes<Ints>([&](int j) { return load_u32(s.row[0] + at + j * stride); });
}
SLUICE_INLINE Ints gather_bytes(Source s, int64_t at, int64_t stride) {
  return lanes<Ints>([&](int j) { return s.row[0][at + j * stride]; });
}

// --- the same 8 values for every row ---
SLUICE_INLINE Ints each_row(const void* v) {
  Ints result;
  std::memcpy(result.lane, v, sizeof(result.lane));
  return result;
}
SLUICE_INLINE Floats each_row(const float* v) {
  Floats result;
  std::memcpy(result.lane, v, sizeof(result.lane));
  return result;
}
SLUICE_INLINE Ints each_128(const void* from) {
  const auto* p = static_cast<const uint8_t*>(from);
  return load_16_bytes({{p}}, 0, 0);
}
SLUICE_INLINE Ints each_byte(int value) {
  return bytes([&](int) { return value; });
}
SLUICE_INLINE Ints each_dword(int value) {
  return lanes<Ints>([&](int) { return static_cast<uint32_t>(value); });
}
SLUICE_INLINE Floats each_float(float value) {
  return lanes<Floats>([&](int) { return value; });
}

// --- integers ---
SLUICE_INLINE Ints bits_and(Ints a, Ints b) {
  return lanes<Ints>([&](int i) { return a.lane[i] & b.lane[i]; });
}
SLUICE_INLINE Ints bits_or(Ints a, Ints b) {
  return lanes<Ints>([&](int i) { return a.lane[i] | b.lane[i]; });
}
SLUICE_INLINE Ints bits_xor(Ints a, Ints b) {
  return lanes<Ints>([&](int i) { return a.lane[i] ^ b.lane[i]; });
}
SLUICE_INLINE Ints or_masked(Ints a, Ints b, Ints mask) {
  return bits_or(a, bits_and(b, mask));
}
SLUICE_INLINE Ints add_32(Ints a, Ints b) {
  return lanes<Ints>([&](int i) { return a.lane[i] + b.lane[i]; });
}
SLUICE_INLINE int32_t signed_of(uint32_t v) {
  return static_cast<int32_t>(v);
}
SLUICE_INLINE Ints max_32(Ints a, Ints b) {
  return lanes<Ints>(
      [&](int i) { return signed_of(a.lane[i]) > signed_of(b.lane[i]) ? a.lane[i] : b.lane[i]; });
}
SLUICE_INLINE Ints min_32(Ints a, Ints b) {
  return lanes<Ints>(
      [&](int i) { return signed_of(a.lane[i]) < signed_of(b.lane[i]) ? a.lane[i] : b.lane[i]; });
}
template <int kBits>
SLUICE_INLINE Ints left_32(Ints a) {
  return lanes<Ints>([&](int i) { return a.lane[i] << kBits; });
}
template <int kBits>
SLUICE_INLINE Ints right_32(Ints a) {
  return lanes<Ints>([&](int i) { return a.lane[i] >> kBits; });
}
template <int kBits>
SLUICE_INLINE Ints right_signed_32(Ints a) {
  return lanes<Ints>([&](int i) { return static_cast<uint32_t>(signed_of(a.lane[i]) >> kBits); });
}
SLUICE_INLINE Ints left_each_32(Ints a, Ints bits) {
  return lanes<Ints>([&](int i) { return a.lane[i] << bits.lane[i]; });
}
SLUICE_INLINE Ints right_each_32(Ints a, Ints bits) {
  return lanes<Ints>([&](int i) { return a.lane[i] >> bits.lane[i]; });
}
SLUICE_INLINE Ints shuffle_bytes(Ints table, Ints index) {
  return bytes([&](int i) {
    const uint8_t at = byte_of(index, i);
    return at < 128 ? byte_of(table, i / 16 * 16 + at % 16) : 0;
  });
}
template <int kA, int kB, int kC, int kD>
SLUICE_INLINE Ints shuffle_32(Ints a, Ints b) {
  return {{a.lane[kA], a.lane[kB], b.lane[kC], b.lane[kD], a.lane[kA + 4], a.lane[kB + 4],
           b.lane[kC + 4], b.lane[kD + 4]}};
}
SLUICE_INLINE Ints unpack_low_32(Ints a, Ints b) {
  return {{a.lane[0], b.lane[0], a.lane[1], b.lane[1], a.lane[4], b.lane[4], a.lane[5], b.lane[5]}};
}
SLUICE_INLINE Ints unpack_high_32(Ints a, Ints b) {
  return {{a.lane[2], b.lane[2], a.lane[3], b.lane[3], a.lane[6], b.lane[6], a.lane[7], b.lane[7]}};
}
SLUICE_INLINE void transpose(Ints r0, Ints r1, Ints r2, Ints r3, Ints* out) {
  for (int m = 0; m < 4; ++m)
    out[m] = {{r0.lane[m], r1.lane[m], r2.lane[m], r3.lane[m], r0.lane[m + 4], r1.lane[m + 4],
               r2.lane[m + 4], r3.lane[m + 4]}};
}
SLUICE_INLINE Ints signed_from_64(Ints g, Ints signs, Ints bits) {
  return bytes([&](int i) {
    const bool minus = (byte_of(signs, i) & byte_of(bits, i)) != 0;
    return minus ? 64 - byte_of(g, i) : 64 + byte_of(g, i);
  });
}
template <int kValue>
SLUICE_INLINE Ints or_where_bit(Ints w, Ints v, Ints bits) {
  return bytes([&](int i) {
    return (byte_of(v, i) & byte_of(bits, i)) != 0 ? byte_of(w, i) | kValue : byte_of(w, i);
  });
}
SLUICE_INLINE Ints look_up(const uint32_t* table, Ints index) {
  return lanes<Ints>([&](int i) { return table[index.lane[i]]; });
}
SLUICE_INLINE void look_up(const uint64_t* table, Ints index, Ints& low, Ints& high) {
  low = lanes<Ints>([&](int i) { return static_cast<uint32_t>(table[index.lane[i]]); });
  high = lanes<Ints>([&](int i) { return static_cast<uint32_t>(table[index.lane[i]] >> 32); });
}

// Weights are signed bytes where a format says so, else unsigned.
template <int kMax, bool kSigned, int kCount, int kVectors, int kActs>
SLUICE_INLINE void dot_block(const Ints* const* w, const PackedAct* const* x, int first,
                             Ints (&sum)[kVectors][kActs]) {
  for (int v = 0; v < kVectors; ++v)
    for (int a = 0; a < kActs; ++a)
      for (int j = 0; j < 8; ++j) {
        int32_t dot = 0;
        for (int k = first; k < first + kCount; ++k)
          for (int i = 4 * j; i < 4 * j + 4; ++i) {
            const uint8_t weight = byte_of(w[v][k], i);
            dot += (kSigned ? static_cast<int8_t>(weight) : int32_t{weight}) * x[a]->q[k][i];
          }
        sum[v][a].lane[j] += static_cast<uint32_t>(dot);
      }
}

// --- floats ---
SLUICE_INLINE Floats to_float(Ints a) {
  return lanes<Floats>([&](int i) { return static_cast<float>(signed_of(a.lane[i])); });
}
SLUICE_INLINE Floats as_float(Ints a) {
  return lanes<Floats>([&](int i) { return float_of(a.lane[i]); });
}
SLUICE_INLINE Floats mul(Floats a, Floats b) {
  return lanes<Floats>([&](int i) { return a.lane[i] * b.lane[i]; });
}
SLUICE_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return lanes<Floats>([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
}
SLUICE_INLINE Floats zero_floats() {
  return each_float(0.0f);
}
SLUICE_INLINE Ints zero_ints() {
  return each_dword(0);
}

// --- 16 bytes per row ---
template <class F>
SLUICE_INLINE Narrow narrow(const F& f) {
  Narrow result;
  for (int i = 0; i < 16; ++i) result.byte[i] = static_cast<uint8_t>(f(i));
  return result;
}
template <class F>
SLUICE_INLINE Narrow narrow_32(const F& f) {
  Narrow result;
  for (int i = 0; i < 4; ++i) {
    const uint32_t v = f(4 * i);
    std::memcpy(result.byte + 4 * i, &v, 4);
  }
  return result;
}
SLUICE_INLINE Narrow narrow_each(const void* from) {
  Narrow result;
  std::memcpy(result.byte, from, 16);
  return result;
}
SLUICE_INLINE Narrow narrow_load(Source s, int64_t at) {
  return narrow_each(s.row[0] + at);
}
SLUICE_INLINE Narrow narrow_shuffle(Narrow v, Narrow index) {
  return narrow([&](int i) { return index.byte[i] < 128 ? v.byte[index.byte[i] % 16] : 0; });
}
SLUICE_INLINE Narrow narrow_and(Narrow a, Narrow b) {
  return narrow([&](int i) { return a.byte[i] & b.byte[i]; });
}
SLUICE_INLINE Narrow narrow_or(Narrow a, Narrow b) {
  return narrow([&](int i) { return a.byte[i] | b.byte[i]; });
}
SLUICE_INLINE Narrow narrow_sub_8(Narrow a, Narrow b) {
  return narrow([&](int i) { return a.byte[i] - b.byte[i]; });
}
SLUICE_INLINE Narrow narrow_left_each_32(Narrow a, Narrow bits) {
  return narrow_32([&](int i) { return load_u32(a.byte + i) << load_u32(bits.byte + i); });
}
SLUICE_INLINE Narrow narrow_right_each_32(Narrow a, Narrow bits) {
  return narrow_32([&](int i) { return load_u32(a.byte + i) >> load_u32(bits.byte + i); });
}
SLUICE_INLINE Ints widen_low_u8(Narrow a) {
  return lanes<Ints>([&](int i) { return a.byte[i]; });
}
SLUICE_INLINE Ints widen_high_u8(Narrow a) {
  return lanes<Ints>([&](int i) { return a.byte[i + 8]; });
}
SLUICE_INLINE Ints widen_u16(Narrow a) {
  return lanes<Ints>([&](int i) { return load_u16(a.byte + 2 * i); });
}
SLUICE_INLINE Floats widen_f16(Narrow a) {
  return lanes<Floats>([&](int i) { return half_at(a.byte + 2 * i); });
}
template <int kLane>
SLUICE_INLINE Floats broadcast_lane(Floats a) {
  return each_float(a.lane[kLane]);
}

SLUICE_INLINE void store_sums(Floats a, float* out) {
  out[0] = sum_8(a);
}
// out[a][v] = the sum of the lanes of lanes[v][a], in the order of sum_8.
SLUICE_INLINE void sum_block(const Floats (&lanes)[kBlockVectors][kBlockActs],
                             float (&out)[kBlockActs][kBlockVectors]) {
  for (int a = 0; a < kBlockActs; ++a)
    for (int v = 0; v < kBlockVectors; ++v) out[a][v] = sum_8(lanes[v][a]);
}

// --- 16 floats, for what works on plain float arrays ---
struct Wide {
  float lane[16];
};
constexpr int kWideRegisters = 4;

template <class F>
SLUICE_INLINE Wide wide(const F& f) {
  Wide result;
  for (int i = 0; i < 16; ++i) result.lane[i] = f(i);
  return result;
}
SLUICE_INLINE Wide wide_each(float value) {
  return wide([&](int) { return value; });
}
SLUICE_INLINE Wide wide_zero() {
  return wide_each(0.0f);
}
SLUICE_INLINE Wide wide_load(const float* p) {
  Wide v;
  std::memcpy(v.lane, p, sizeof(v.lane));
  return v;
}
SLUICE_INLINE void wide_store(float* p, Wide v) {
  std::memcpy(p, v.lane, sizeof(v.lane));
}
SLUICE_INLINE Wide wide_load_f16(const uint8_t* p) {
  return wide([&](int i) { return half_at(p + 2 * i); });
}
SLUICE_INLINE Wide wide_load_bf16(const uint8_t* p) {
  return wide([&](int i) { return float_of(static_cast<uint32_t>(load_u16(p + 2 * i)) << 16); });
}
SLUICE_INLINE Wide wide_add(Wide a, Wide b) {
  return wide([&](int i) { return a.lane[i] + b.lane[i]; });
}
SLUICE_INLINE Wide wide_sub(Wide a, Wide b) {
  return wide([&](int i) { return a.lane[i] - b.lane[i]; });
}
SLUICE_INLINE Wide wide_mul(Wide a, Wide b) {
  return wide([&](int i) { return a.lane[i] * b.lane[i]; });
}
SLUICE_INLINE Wide wide_div(Wide a, Wide b) {
  return wide([&](int i) { return a.lane[i] / b.lane[i]; });
}
SLUICE_INLINE Wide wide_mul_add(Wide a, Wide b, Wide c) {
  return wide([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
}
SLUICE_INLINE Wide wide_at_most(Wide bound, Wide v) {
  return wide([&](int i) { return bound.lane[i] < v.lane[i] ? bound.lane[i] : v.lane[i]; });
}
SLUICE_INLINE Wide wide_at_least(Wide bound, Wide v) {
  return wide([&](int i) { return bound.lane[i] > v.lane[i] ? bound.lane[i] : v.lane[i]; });
}
SLUICE_INLINE Wide wide_round(Wide v) {
  return wide([&](int i) { return __builtin_rintf(v.lane[i]); });
}
SLUICE_INLINE Wide wide_scale(Wide v, Wide n) {
  return wide([&](int i) {
    const auto power = [](int32_t e) { return float_of(static_cast<uint32_t>(e + 127) << 23); };
    // NaN goes through: the power is any number then.
    const int32_t whole = n.lane[i] == n.lane[i] ? static_cast<int32_t>(n.lane[i]) : 0;
    const int32_t half = whole >> 1;
    return v.lane[i] * power(half) * power(whole - half);
  });
}
// Lanes l and l + 8, then as sum_8.
SLUICE_INLINE float wide_sum(Wide v) {
  return sum_8(lanes<Floats>([&](int i) { return v.lane[i] + v.lane[i + 8]; }));
}

// 16 sums in double: lane l of elements l, l + 16, ...
struct WideDouble {
  double lane[16];
};
SLUICE_INLINE WideDouble wide_double_zero() {
  return {};
}
SLUICE_INLINE void wide_add_squares(WideDouble& sums, Wide v) {
  for (int i = 0; i < 16; ++i) {
    const double x = v.lane[i];
    sums.lane[i] = __builtin_fma(x, x, sums.lane[i]);
  }
}
// Lanes l and l + 8, then 4 apart, 2 apart and the last two.
SLUICE_INLINE double wide_double_sum(const WideDouble& v) {
  double sum[4];
  for (int i = 0; i < 4; ++i)
    sum[i] = (v.lane[i] + v.lane[i + 8]) + (v.lane[i + 4] + v.lane[i + 12]);
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

// 8 x 8 floats, for attention.h.
SLUICE_INLINE void transpose_8x8(const float* from, int64_t stride, float* to) {
  for (int r = 0; r < 8; ++r)
    for (int c = 0; c < 8; ++c) to[c * kTilePositions + r] = from[r * stride + c];
}

// The conversions are those of the quant module; this is its block in the order of the products.
inline void pack_blocks(const quant::ActBlock* from, int64_t blocks, uint8_t* to) {
  auto* out = reinterpret_cast<PackedAct*>(to);
  for (int64_t b = 0; b < blocks; ++b)
    for (int j = 0; j < 8; ++j) {
      for (int e = 0; e < 32; ++e) out[b].q[e / 4][4 * j + e % 4] = from[b].q[32 * j + e];
      out[b].scale[j] = from[b].scale[j];
      out[b].minus[0][j] = -from[b].sum[2 * j];
      out[b].minus[1][j] = -from[b].sum[2 * j + 1];
      out[b].minus_all[j] = out[b].minus[0][j] + out[b].minus[1][j];
      out[b].minus_sum[j] = static_cast<float>(out[b].minus_all[j]);
    }
}

}  // namespace
}  // namespace sluice::cpu
