// SPDX-License-Identifier: Apache-2.0
// Reading rows of the key-value cache, in any type that it may have. Rows begin at multiples of
// their size from an aligned base, so blocks are aligned to two bytes, and float rows may be to
// no more than that where a cache of odd-sized blocks lies before them.
#pragma once

#include "compute/cuda/device.cuh"
#include "quant/blocks.h"
#include "quant/quant.h"

namespace sluice::cuda {

using quant::Type;

// Bytes of a row of `dim` elements of a cache type.
__host__ __device__ inline int64_t cache_row_bytes(uint32_t type, int64_t dim) {
  switch (static_cast<Type>(type)) {
    case Type::kF32:
      return dim * 4;
    case Type::kF16:
    case Type::kBF16:
      return dim * 2;
    case Type::kQ8_0:
      return dim / 32 * static_cast<int64_t>(sizeof(quant::BlockQ8_0));
    case Type::kQ5_1:
      return dim / 32 * static_cast<int64_t>(sizeof(quant::BlockQ5_1));
    case Type::kQ5_0:
      return dim / 32 * static_cast<int64_t>(sizeof(quant::BlockQ5_0));
    case Type::kQ4_1:
      return dim / 32 * static_cast<int64_t>(sizeof(quant::BlockQ4_1));
    default:  // Q4_0, IQ4_NL
      return dim / 32 * static_cast<int64_t>(sizeof(quant::BlockQ4_0));
  }
}

__host__ __device__ inline bool is_block_cache(uint32_t type) {
  return type != static_cast<uint32_t>(Type::kF32) && type != static_cast<uint32_t>(Type::kF16) &&
         type != static_cast<uint32_t>(Type::kBF16);
}

// Four levels of IQ4_NL as bytes of a word: device code has no access to the host's table.
constexpr uint32_t iq4_word(int first) {
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i)
    word |= static_cast<uint32_t>(static_cast<uint8_t>(quant::kIq4Levels[first + i])) << (8 * i);
  return word;
}
constexpr uint32_t kIq4Words[4] = {iq4_word(0), iq4_word(4), iq4_word(8), iq4_word(12)};

__device__ __forceinline__ int iq4_level(int nibble) {
  constexpr uint32_t a = kIq4Words[0], b = kIq4Words[1], c = kIq4Words[2], d = kIq4Words[3];
  const uint32_t at = static_cast<uint32_t>(nibble & 7);
  const uint32_t byte = nibble < 8 ? __byte_perm(a, b, at) : __byte_perm(c, d, at);
  return static_cast<int8_t>(byte & 0xff);
}

// N bytes from an even address as 32-bit words.
template <int N>
__device__ __forceinline__ void load_even(const uint8_t* p, uint32_t (&words)[N / 4]) {
  const auto* halves = reinterpret_cast<const uint16_t*>(p);
#pragma unroll
  for (int i = 0; i < N / 4; ++i)
    words[i] = halves[2 * i] | static_cast<uint32_t>(halves[2 * i + 1]) << 16;
}

// 16 bytes at the same offset of several rows.
template <int kRows>
__device__ __forceinline__ void load_16_of_rows(const uint8_t* const (&rows)[kRows], int offset,
                                                uint4 (&bits)[kRows]) {
  bool aligned = true;
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    aligned &= (reinterpret_cast<uintptr_t>(rows[r]) + static_cast<uintptr_t>(offset)) % 16 == 0;
  if (aligned) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) bits[r] = *reinterpret_cast<const uint4*>(rows[r] + offset);
    return;
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    uint32_t words[4];
    load_even<16>(rows[r] + offset, words);
    bits[r] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

__device__ __forceinline__ void halves_to_floats(const uint4& bits, float (&x)[8]) {
  const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = half_bits(words[i] & 0xffff);
    x[2 * i + 1] = half_bits(words[i] >> 16);
  }
}

// Nibbles of eight elements that follow one another in a block of 32: of the bytes from
// qs[element % 16] on, low halves for elements below 16.
__device__ __forceinline__ uint2 load_nibbles(const uint8_t* qs, int element) {
  uint32_t words[2];
  load_even<8>(qs + element % 16, words);
  const int shift = element < 16 ? 0 : 4;
  return make_uint2(words[0] >> shift & 0x0f0f0f0fu, words[1] >> shift & 0x0f0f0f0fu);
}

__device__ __forceinline__ int byte_of(const uint2& bytes, int i) {
  return static_cast<int>((i < 4 ? bytes.x >> (8 * i) : bytes.y >> (8 * i - 32)) & 0xff);
}

// Of the formats with four or five bits.
template <int kRows>
__device__ __forceinline__ void load_nibble_elements(const uint8_t* const (&rows)[kRows], Type type,
                                                     int block, int at, float (&x)[kRows][8]) {
  const bool five = type == Type::kQ5_0 || type == Type::kQ5_1;
  const bool has_min = type == Type::kQ4_1 || type == Type::kQ5_1;
  const bool levels = type == Type::kIQ4_NL;
  const int head = has_min ? 4 : 2, bytes = head + (five ? 4 : 0) + 16;
  uint2 low[kRows];
  uint16_t scale[kRows], least[kRows];
  int fifth[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const uint8_t* b = rows[r] + block * bytes;
    const auto* halves = reinterpret_cast<const uint16_t*>(b);
    scale[r] = halves[0];
    least[r] = has_min ? halves[1] : uint16_t{0};
    fifth[r] = five ? b[head + at / 8] : 0;
    low[r] = load_nibbles(b + bytes - 16, at);
  }
  const int zero = has_min ? 0 : five ? 16 : 8;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float d = half_bits(scale[r]), m = half_bits(least[r]);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int q = byte_of(low[r], i) | (fifth[r] >> i & 1) << 4;
      x[r][i] = d * static_cast<float>(levels ? iq4_level(q) : q - zero) + m;
    }
  }
}

// Elements [element, element + 8) of several rows of one type, element a multiple of 8. All loads
// come before what waits for them: the rows are on their way together.
template <int kRows>
__device__ __forceinline__ void load_elements(const uint8_t* const (&rows)[kRows], uint32_t type,
                                              int element, float (&x)[kRows][8]) {
  const int block = element / 32, at = element % 32;
  switch (static_cast<Type>(type)) {
    case Type::kF32: {
      uint4 low[kRows], high[kRows];
      load_16_of_rows(rows, 4 * element, low);
      load_16_of_rows(rows, 4 * element + 16, high);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const uint32_t words[8] = {low[r].x,  low[r].y,  low[r].z,  low[r].w,
                                   high[r].x, high[r].y, high[r].z, high[r].w};
#pragma unroll
        for (int i = 0; i < 8; ++i) x[r][i] = __uint_as_float(words[i]);
      }
      return;
    }
    case Type::kF16:
    case Type::kBF16: {
      uint4 bits[kRows];
      load_16_of_rows(rows, 2 * element, bits);
      const bool bfloat = type == static_cast<uint32_t>(Type::kBF16);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (!bfloat) {
          halves_to_floats(bits[r], x[r]);
          continue;
        }
        const uint32_t words[4] = {bits[r].x, bits[r].y, bits[r].z, bits[r].w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          x[r][2 * i] = bfloat_bits(words[i] & 0xffff);
          x[r][2 * i + 1] = bfloat_bits(words[i] >> 16);
        }
      }
      return;
    }
    case Type::kQ8_0: {
      uint32_t words[kRows][2];
      uint16_t scale[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const uint8_t* b = rows[r] + block * static_cast<int>(sizeof(quant::BlockQ8_0));
        load_even<8>(b + 2 + at, words[r]);
        scale[r] = *reinterpret_cast<const uint16_t*>(b);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float d = half_bits(scale[r]);
        const uint2 bytes = make_uint2(words[r][0], words[r][1]);
#pragma unroll
        for (int i = 0; i < 8; ++i)
          x[r][i] = d * static_cast<float>(static_cast<int8_t>(byte_of(bytes, i)));
      }
      return;
    }
    default:
      load_nibble_elements(rows, static_cast<Type>(type), block, at, x);
  }
}

}  // namespace sluice::cuda
