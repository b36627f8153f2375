// SPDX-License-Identifier: Apache-2.0
// Quantisation of activations and the formats of a key-value cache, with AVX2. The results are
// those of the scalar functions, bit for bit.
#pragma once

#include "compute/cpu/simd/x86.h"

namespace sluice::cpu {
namespace {

SLUICE_INLINE __m256i absolute_bits(__m256 v) {
  return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
}

SLUICE_INLINE int32_t largest(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return _mm_cvtsi128_si32(m);
}

// Four vectors of int32 in -128..127 to bytes in order.
SLUICE_INLINE __m256i narrow_to_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

SLUICE_INLINE float float_of(int32_t bits) {
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}

// 32 values; see quant::quantize_activations. Returns the scale.
SLUICE_INLINE float quantize_32(const float* x, int8_t* q) {
  __m256 v[4];
  for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(x + 8 * i);
  const __m256i bits = _mm256_max_epi32(_mm256_max_epi32(absolute_bits(v[0]), absolute_bits(v[1])),
                                        _mm256_max_epi32(absolute_bits(v[2]), absolute_bits(v[3])));
  const int32_t max_bits = largest(bits);
  const float max = float_of(max_bits);
  if (max_bits >= 0x7f800000 || max < 1e-36f) {
    store_256(q, _mm256_setzero_si256());
    return max_bits >= 0x7f800000 ? __builtin_nanf("") : 0.0f;
  }
  const __m256 inverse = _mm256_set1_ps(127.0f / max);
  __m256i levels[4];
  for (int i = 0; i < 4; ++i) levels[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  store_256(q, narrow_to_bytes(levels[0], levels[1], levels[2], levels[3]));
  return max / 127.0f;
}

inline void quantize(const float* x, int64_t n, quant::ActBlock* out) {
  for (int64_t b = 0; b < (n + 255) / 256; ++b) {
    quant::ActBlock& block = out[b];
    const int64_t left = n / 32 - 8 * b;
    for (int j = 0; j < 8; ++j) {
      int8_t* q = block.q + 32 * j;
      if (j < left) {
        block.scale[j] = quantize_32(x + 256 * b + 32 * j, q);
      } else {
        block.scale[j] = 0.0f;
        store_256(q, _mm256_setzero_si256());
      }
      // Sums of 16: pairs, then fours, eights, 16 in each half.
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), load_256(q));
      __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
      sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
      sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
      block.sum[2 * j] = static_cast<int16_t>(_mm256_cvtsi256_si32(sums));
      block.sum[2 * j + 1] = static_cast<int16_t>(_mm256_extract_epi32(sums, 4));
    }
  }
}

// --- decode ---

SLUICE_INLINE __m256 half_at(const uint8_t* p) {
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(p))));
}

// d * q (+ m), each operation rounded.
template <bool kHasMin>
SLUICE_INLINE void put_32(__m256i q, __m256 d, __m256 m, float* out) {
  const __m128i halves[2] = {_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1)};
  for (int i = 0; i < 4; ++i) {
    const __m128i bytes = i % 2 ? _mm_srli_si128(halves[i / 2], 8) : halves[i / 2];
    __m256 v = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
    if constexpr (kHasMin) v = _mm256_add_ps(v, m);
    _mm256_storeu_ps(out + 8 * i, v);
  }
}

SLUICE_INLINE __m256i nibbles_at(const uint8_t* p) {
  const __m128i v = load_128(p), mask = _mm_set1_epi8(15);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_and_si128(v, mask)),
                                 _mm_and_si128(_mm_srli_epi16(v, 4), mask), 1);
}

// 16 where bit i of the u32 is set.
SLUICE_INLINE __m256i fifth_bits_at(const uint8_t* p) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(static_cast<int>(load_u32(p))),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit),
                          _mm256_set1_epi8(16));
}

inline void decode_q8_0(const uint8_t* p, int64_t n, float* out) {
  for (; n > 0; n -= 32, p += 34, out += 32)
    put_32<false>(load_256(p + 2), half_at(p), __m256(), out);
}

inline void decode_q4_0(const uint8_t* p, int64_t n, float* out) {
  for (; n > 0; n -= 32, p += 18, out += 32) {
    const __m256i q = _mm256_sub_epi8(nibbles_at(p + 2), _mm256_set1_epi8(8));
    put_32<false>(q, half_at(p), __m256(), out);
  }
}

inline void decode_q4_1(const uint8_t* p, int64_t n, float* out) {
  for (; n > 0; n -= 32, p += 20, out += 32)
    put_32<true>(nibbles_at(p + 4), half_at(p), half_at(p + 2), out);
}

inline void decode_q5_0(const uint8_t* p, int64_t n, float* out) {
  for (; n > 0; n -= 32, p += 22, out += 32) {
    const __m256i q = _mm256_or_si256(nibbles_at(p + 6), fifth_bits_at(p + 2));
    put_32<false>(_mm256_sub_epi8(q, _mm256_set1_epi8(16)), half_at(p), __m256(), out);
  }
}

inline void decode_q5_1(const uint8_t* p, int64_t n, float* out) {
  for (; n > 0; n -= 32, p += 24, out += 32) {
    const __m256i q = _mm256_or_si256(nibbles_at(p + 8), fifth_bits_at(p + 4));
    put_32<true>(q, half_at(p), half_at(p + 2), out);
  }
}

inline void decode_iq4_nl(const uint8_t* p, int64_t n, float* out) {
  const __m256i table = _mm256_broadcastsi128_si256(load_128(quant::kIq4Levels));
  for (; n > 0; n -= 32, p += 18, out += 32)
    put_32<false>(_mm256_shuffle_epi8(table, nibbles_at(p + 2)), half_at(p), __m256(), out);
}

inline void decode_f16(const uint8_t* p, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(load_128(p + 2 * i)));
  for (; i < n; ++i) out[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(p + 2 * i))));
}

inline void decode_bf16(const uint8_t* p, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i wide = _mm256_cvtepu16_epi32(load_128(p + 2 * i));
    store_256(out + i, _mm256_slli_epi32(wide, 16));
  }
  for (; i < n; ++i) out[i] = float_of(load_u16(p + 2 * i) << 16);
}

// --- encode ---

inline void encode_f16(const float* values, int64_t n, uint8_t* p) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < n; ++i) {
    const __m128i half = _mm_cvtps_ph(_mm_set_ss(values[i]), _MM_FROUND_TO_NEAREST_INT);
    const auto bits = static_cast<uint16_t>(_mm_cvtsi128_si32(half));
    std::memcpy(p + 2 * i, &bits, 2);
  }
}

// Eight bf16 in the low halves of the lanes: nearest, ties to even; NaN made quiet.
SLUICE_INLINE __m256i to_bf16(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, nan);
}

inline void encode_bf16(const float* values, int64_t n, uint8_t* p) {
  for (int64_t i = 0; i < n; i += 8) {
    const int64_t count = n - i < 8 ? n - i : 8;
    float padded[8] = {};
    std::memcpy(padded, values + i, static_cast<size_t>(count) * sizeof(float));
    const __m256i bits = to_bf16(_mm256_loadu_ps(padded));
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    std::memcpy(p + 2 * i, &packed, static_cast<size_t>(count) * 2);
  }
}

// Halves round away from zero, against the scale before it was rounded to fp16.
inline void encode_q8_0(const float* values, int64_t n, uint8_t* p) {
  const __m256 sign = _mm256_set1_ps(-0.0f), half = _mm256_set1_ps(0.5f);
  for (; n > 0; n -= 32, p += 34, values += 32) {
    __m256 v[4];
    for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(values + 8 * i);
    const auto magnitude = [&](int i) { return _mm256_andnot_ps(sign, v[i]); };
    const __m256 max = _mm256_max_ps(_mm256_max_ps(magnitude(0), magnitude(1)),
                                     _mm256_max_ps(magnitude(2), magnitude(3)));
    const float d = float_of(largest(_mm256_castps_si256(max))) / 127.0f;
    const __m256 inverse = _mm256_set1_ps(d > 0.0f ? 1.0f / d : 0.0f);
    __m256i levels[4];
    for (int i = 0; i < 4; ++i) {
      const __m256 scaled = _mm256_mul_ps(v[i], inverse);
      const __m256 away = _mm256_add_ps(scaled, _mm256_or_ps(half, _mm256_and_ps(scaled, sign)));
      // The bounds matter for tiny values only, whose inverse scale is infinite.
      levels[i] = _mm256_cvttps_epi32(
          _mm256_min_ps(_mm256_max_ps(away, _mm256_set1_ps(-127.4f)), _mm256_set1_ps(127.4f)));
    }
    const __m128i d_half = _mm_cvtps_ph(_mm_set_ss(d), _MM_FROUND_TO_NEAREST_INT);
    const auto d_bits = static_cast<uint16_t>(_mm_cvtsi128_si32(d_half));
    std::memcpy(p, &d_bits, 2);
    store_256(p + 2, narrow_to_bytes(levels[0], levels[1], levels[2], levels[3]));
  }
}

inline void fill_conversions(Kernels& table) {
  using quant::Type;
  const auto id = [](Type type) { return static_cast<uint32_t>(type); };
  table.quantize = quantize;
  table.packed_block_bytes = sizeof(PackedAct);
  table.pack = pack_blocks;
  table.decode[id(Type::kF16)] = decode_f16;
  table.decode[id(Type::kBF16)] = decode_bf16;
  table.decode[id(Type::kQ8_0)] = decode_q8_0;
  table.decode[id(Type::kQ4_0)] = decode_q4_0;
  table.decode[id(Type::kQ4_1)] = decode_q4_1;
  table.decode[id(Type::kQ5_0)] = decode_q5_0;
  table.decode[id(Type::kQ5_1)] = decode_q5_1;
  table.decode[id(Type::kIQ4_NL)] = decode_iq4_nl;
  table.encode[id(Type::kF16)] = encode_f16;
  table.encode[id(Type::kBF16)] = encode_bf16;
  table.encode[id(Type::kQ8_0)] = encode_q8_0;
}

}  // namespace
}  // namespace sluice::cpu
