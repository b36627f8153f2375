// SPDX-License-Identifier: Apache-2.0
// Quantisation of activations and the plain formats of a key-value cache. The results are those of
// the scalar functions, bit for bit.
#pragma once

#include "compute/cpu/simd/neon.h"

namespace sluice::cpu {
namespace {

SLUICE_INLINE void pack(const quant::ActBlock& from, PackedAct& to) {
  for (int half = 0; half < 2; ++half) {
    const auto rows = [&](int j) __attribute__((always_inline)) {  // groups j and j + 4
      const int8_t* q = from.q + 32 * j + 16 * half;
      return Ints{load_ints(q), load_ints(q + 128)};
    };
    Ints out[4];
    transpose(rows(0), rows(1), rows(2), rows(3), out);
    for (int k = 0; k < 4; ++k) {
      store_128(to.q[4 * half + k], bytes_of(out[k].low));
      store_128(to.q[4 * half + k] + 16, bytes_of(out[k].high));
    }
  }
  for (int i = 0; i < 8; i += 4) {
    store_floats(to.scale + i, load_floats(from.scale + i));
    const int32x4_t sums = load_ints(from.sum + 2 * i);  // dword j: the two sums of group j
    const int32x4_t first = vnegq_s32(vshrq_n_s32(vshlq_n_s32(sums, 16), 16));
    const int32x4_t second = vnegq_s32(vshrq_n_s32(sums, 16));
    const int32x4_t all = vaddq_s32(first, second);
    store_128(to.minus[0] + i, bytes_of(first));
    store_128(to.minus[1] + i, bytes_of(second));
    store_128(to.minus_all + i, bytes_of(all));
    store_floats(to.minus_sum + i, vcvtq_f32_s32(all));
  }
}

inline void pack_blocks(const quant::ActBlock* from, int64_t blocks, uint8_t* to) {
  auto* out = reinterpret_cast<PackedAct*>(to);
  for (int64_t b = 0; b < blocks; ++b) pack(from[b], out[b]);
}

// 32 values; see quant::quantize_activations. Returns the scale.
SLUICE_INLINE float quantize_32(const float* x, int8_t* q) {
  float32x4_t v[8];
  uint32x4_t bits = vdupq_n_u32(0);
  for (int i = 0; i < 8; ++i) {
    v[i] = load_floats(x + 4 * i);
    bits = vmaxq_u32(bits, vreinterpretq_u32_f32(vabsq_f32(v[i])));
  }
  // The bits of |x| order like the values, with NaN above infinity.
  const uint32_t max_bits = vmaxvq_u32(bits);
  float max;
  std::memcpy(&max, &max_bits, sizeof(max));
  if (max_bits >= 0x7f800000 || max < 1e-36f) {
    std::memset(q, 0, 32);
    return max_bits >= 0x7f800000 ? __builtin_nanf("") : 0.0f;
  }
  const float32x4_t inverse = vdupq_n_f32(127.0f / max);
  const auto levels = [&](int i) __attribute__((always_inline)) {
    return vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(v[i], inverse)));
  };
  for (int i = 0; i < 8; i += 4) {
    const int16x8_t low = vcombine_s16(levels(i), levels(i + 1));
    const int16x8_t high = vcombine_s16(levels(i + 2), levels(i + 3));
    vst1q_s8(q + 4 * i, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
  }
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
        std::memset(q, 0, 32);
      }
      block.sum[2 * j] = vaddlvq_s8(vld1q_s8(q));
      block.sum[2 * j + 1] = vaddlvq_s8(vld1q_s8(q + 16));
    }
  }
}

// The last elements, fewer than eight, go through an array of eight.
inline void decode_f16(const uint8_t* p, int64_t n, float* out) {
  const auto eight = [](const uint8_t* from, float* to) __attribute__((always_inline)) {
    const Floats v = widen_f16(load_128(from));
    store_floats(to, v.low);
    store_floats(to + 4, v.high);
  };
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) eight(p + 2 * i, out + i);
  if (i < n) {
    const auto left = static_cast<size_t>(n - i);
    uint8_t padded[16] = {};
    float values[8];
    std::memcpy(padded, p + 2 * i, 2 * left);
    eight(padded, values);
    std::memcpy(out + i, values, left * sizeof(float));
  }
}

inline void encode_f16(const float* values, int64_t n, uint8_t* p) {
  const auto eight = [](const float* from, uint8_t* to) __attribute__((always_inline)) {
    const float16x8_t v =
        vcombine_f16(vcvt_f16_f32(load_floats(from)), vcvt_f16_f32(load_floats(from + 4)));
    store_128(to, vreinterpretq_u8_f16(v));
  };
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) eight(values + i, p + 2 * i);
  if (i < n) {
    const auto left = static_cast<size_t>(n - i);
    float padded[8] = {};
    uint8_t bytes[16];
    std::memcpy(padded, values + i, left * sizeof(float));
    eight(padded, bytes);
    std::memcpy(p + 2 * i, bytes, 2 * left);
  }
}

inline void decode_q8_0(const uint8_t* p, int64_t n, float* out) {
  for (; n > 0; n -= 32, p += 34, out += 32) {
    const float32x4_t d = broadcast_f16({{p}}, 0).low;
    for (int i = 0; i < 32; i += 8) {
      const int16x8_t q = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p + 2 + i)));
      store_floats(out + i, vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(q)))));
      store_floats(out + i + 4, vmulq_f32(d, vcvtq_f32_s32(vmovl_high_s16(q))));
    }
  }
}

// Other formats are converted by the scalar functions.
inline void fill_conversions(Kernels& table) {
  using quant::Type;
  const auto id = [](Type type) { return static_cast<uint32_t>(type); };
  table.quantize = quantize;
  table.packed_block_bytes = sizeof(PackedAct);
  table.pack = pack_blocks;
  table.decode[id(Type::kF16)] = decode_f16;
  table.decode[id(Type::kQ8_0)] = decode_q8_0;
  table.encode[id(Type::kF16)] = encode_f16;
}

}  // namespace
}  // namespace sluice::cpu
