// SPDX-License-Identifier: Apache-2.0
// Memory layout of one block of every format, as it lies in a GGUF file: little-endian, packed, any
// alignment. `i` is the index of an element in its block, d and dmin are fp16 bits, x the value.
// Multi-byte arrays are bytes here: load them with memcpy.
//
// Kernels compiled for one ISA include this file too, so it holds no function with external linkage
// (the linker could keep the copy of the wrong ISA for everyone).
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::quant {

static_assert(std::endian::native == std::endian::little, "blocks are little-endian in memory");

#pragma pack(push, 1)

// --- 32 elements. Element i < 16 is the low nibble of qs[i], element i + 16 its high nibble.
// -------

struct BlockQ4_0 {  // x = d * (q - 8)
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {  // x = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {  // x = d * (q - 16); bit i of the u32 qh is the fifth bit of element i
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {  // x = d * q + m; qh as in Q5_0
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ8_0 {  // x = d * qs[i]
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

struct BlockIQ4_NL {  // x = d * kIq4Levels[q]
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

struct BlockMXFP4 {  // x = 2^(e - 128) * kFp4Levels[q]
  uint8_t e;
  uint8_t qs[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

// --- 256 elements, K-quants
// -------------------------------------------------------------------------

struct BlockQ2_K {     // x = d * s * q - dmin * z, g = i / 16
  uint8_t scales[16];  // s low nibble, z high nibble of byte g
  uint8_t qs[64];      // byte l of a half (128 elements): elements l, l + 32, l + 64, l + 96
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

struct BlockQ3_K {     // x = d * s * (q - 4), g = i / 16
  uint8_t hmask[32];   // third bit: bit i / 32 of byte i % 32
  uint8_t qs[64];      // low two bits, as in Q2_K
  uint8_t scales[12];  // 16 six-bit values s + 32, see unpack_q3_k_scales
  uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

struct BlockQ4_K {  // x = d * s * q - dmin * z, j = i / 32
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // 8 six-bit s and 8 six-bit z, see unpack_six_bit
  uint8_t qs[128];     // 64 elements in 32 bytes: the first 32 low nibbles, the next 32 high
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {  // as Q4_K with a fifth bit: bit i / 32 of qh[i % 32]
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

struct BlockQ6_K {  // x = d * scales[i / 16] * (q - 32)
  uint8_t ql[128];  // half h: byte 64 h + l (l < 64): elements l (low nibble) and l + 64 (high)
  uint8_t qh[64];   // half h: byte 32 h + l (l < 32): two bits of l, l + 32, l + 64, l + 96
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

// --- 256 elements, I-quants. Magnitudes come from the grids of codebooks.h
// ---------------------------

struct BlockIQ4_XS {  // x = d * (s - 32) * kIq4Levels[q], j = i / 32
  uint16_t d;
  uint16_t scales_h;    // bits 2j, 2j + 1: high two bits of s
  uint8_t scales_l[4];  // nibble j % 2 of byte j / 2: low four bits of s
  uint8_t qs[128];      // 16 bytes per 32 elements, nibbles as in the 32-element formats
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// x = d * (0.5 + s) / 4 * sign * grid8[index][i % 8]
struct BlockIQ2_XXS {
  uint16_t d;
  struct {
    uint8_t index[4];
    uint8_t signs_scale[4];  // u32: bits 7l .. 7l + 6 sign code of set l, bits 28 .. 31 s
  } groups[8];               // one per 32 elements
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

struct BlockIQ2_XS {
  uint16_t d;
  uint8_t qs[64];     // 32 u16, one per 8 elements: low 9 bits index, high 7 bits sign code
  uint8_t scales[8];  // nibble (i / 16) % 2 of byte i / 32
};
static_assert(sizeof(BlockIQ2_XS) == 74);

struct BlockIQ2_S {
  uint16_t d;
  uint8_t qs[32];     // low 8 bits of the index, one per 8 elements
  uint8_t signs[32];  // bit i % 8 of byte i / 8
  uint8_t qh[8];      // byte i / 32, bits 2l, 2l + 1 (l = i % 32 / 8): index bits 8, 9
  uint8_t scales[8];  // as in IQ2_XS
};
static_assert(sizeof(BlockIQ2_S) == 82);

struct BlockIQ3_XXS {  // x = d * (0.5 + s) / 2 * sign * grid4[index][i % 4]
  uint16_t d;
  uint8_t qs[64];             // index, one per 4 elements
  uint8_t signs_scale[8][4];  // u32 per 32 elements, coded as in IQ2_XXS
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

struct BlockIQ3_S {  // x = d * (1 + 2 s) * sign * grid4[index][i % 4]
  uint16_t d;
  uint8_t qs[64];     // low 8 bits of the index, one per 4 elements
  uint8_t qh[8];      // bit g % 8 of byte g / 8: index bit 8 of set g = i / 4
  uint8_t signs[32];  // bit i % 8 of byte i / 8
  uint8_t scales[4];  // nibble (i / 32) % 2 of byte i / 64
};
static_assert(sizeof(BlockIQ3_S) == 110);

#pragma pack(pop)

// The sixteen levels of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
// E2M1 values doubled, so that they are integers.
inline constexpr int8_t kFp4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// The 12 scale bytes of Q4_K and Q5_K: s[8] and z[8], 0..63.
[[maybe_unused]] static inline void unpack_six_bit(const uint8_t* b, uint8_t* s, uint8_t* z) {
  for (int j = 0; j < 4; ++j) {
    s[j] = b[j] & 63;
    z[j] = b[j + 4] & 63;
    s[j + 4] = static_cast<uint8_t>((b[j + 8] & 15) | ((b[j] >> 6) << 4));
    z[j + 4] = static_cast<uint8_t>((b[j + 8] >> 4) | ((b[j + 4] >> 6) << 4));
  }
}

// The 12 scale bytes of Q3_K: s[16], -32..31.
[[maybe_unused]] static inline void unpack_q3_k_scales(const uint8_t* b, int8_t* s) {
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? b[g] & 15 : b[g - 8] >> 4;
    const int high = (b[8 + g % 4] >> (2 * (g / 4))) & 3;
    s[g] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

// The sign byte of a 7-bit sign code: bit 7 makes the number of minus signs even.
[[maybe_unused]] static constexpr uint8_t sign_byte(uint32_t code) {
  return static_cast<uint8_t>(code | ((static_cast<uint32_t>(std::popcount(code)) & 1u) << 7));
}

}  // namespace sluice::quant
