// SPDX-License-Identifier: Apache-2.0
// The formats with grids of codebooks.h, in the form of formats.h. Signed weights are moved up by
// 64 (magnitudes are at most 62).
#pragma once

#include "compute/cpu/simd/formats.h"

namespace sluice::cpu {
namespace {

struct SignTables {
  alignas(16) int8_t byte[4][16];   // [b]: byte b of every dword, four times
  alignas(16) uint8_t bits[2][16];  // sign bits of the first and second four elements of eight
  alignas(16) uint8_t parity[16];   // 128 where the index has an odd number of ones
  constexpr SignTables() : byte(), bits(), parity() {
    for (int i = 0; i < 16; ++i) {
      for (int b = 0; b < 4; ++b) byte[b][i] = static_cast<int8_t>(i / 4 * 4 + b);
      bits[0][i] = static_cast<uint8_t>(1 << (i % 4));
      bits[1][i] = static_cast<uint8_t>(16 << (i % 4));
      parity[i] = static_cast<uint8_t>(((i ^ i >> 1 ^ i >> 2 ^ i >> 3) & 1) << 7);
    }
  }
};
constexpr SignTables kSignTables;

// code: 0 .. 127 per dword. Bit 7 makes the number of minus signs even.
SLUICE_INLINE Ints sign_byte_of(Ints code) {
  const Ints folded = bits_and(bits_xor(code, right_32<4>(code)), each_dword(15));
  return bits_or(code, shuffle_bytes(each_128(kSignTables.parity), folded));
}

// Byte kByte of every dword holds the signs of eight elements, this is their half kHalf.
template <int kByte, int kHalf>
SLUICE_INLINE Ints with_signs(Ints magnitudes, Ints signs) {
  return signed_from_64(magnitudes, shuffle_bytes(signs, each_128(kSignTables.byte[kByte])),
                        each_128(kSignTables.bits[kHalf]));
}

// Elements 8 l .. 8 l + 7 of every group from a grid of eight.
template <int kSet, int kSignByte>
SLUICE_INLINE void put_eight(const uint64_t* grid, Ints index, Ints signs, Tile& t) {
  Ints low, high;
  look_up(grid, index, low, high);
  t.w[2 * kSet] = with_signs<kSignByte, 0>(low, signs);
  t.w[2 * kSet + 1] = with_signs<kSignByte, 1>(high, signs);
}

// 2 n + 1
SLUICE_INLINE Floats odd_scale(Ints n, Floats d) {
  return mul(to_float(add_32(add_32(n, n), each_dword(1))), d);
}

// 16 bytes per row at `at` whose last eight hold a nibble per 16 elements.
SLUICE_INLINE void nibble_scales(Ints bytes, Floats d, Tile& t) {
  t.scale[0] = odd_scale(bits_and(bytes, each_dword(15)), d);
  t.scale[1] = odd_scale(right_32<4>(bytes), d);
}

// Dwords 0, 2, 4 .. and 1, 3, 5 .. of 64 bytes.
SLUICE_INLINE void load_alternating(Source s, int64_t at, Ints& even, Ints& odd) {
  Ints a, b;
  load_split(s, at, at + 32, a, b);
  even = shuffle_32<0, 2, 0, 2>(a, b);
  odd = shuffle_32<1, 3, 1, 3>(a, b);
}

struct IQ2_XXS {
  static constexpr int kBytes = 66, kElements = 256, kOffset = 64, kMax = 126;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    Ints index, word;
    load_alternating(s, 2, index, word);
    t.scale[0] = odd_scale(right_32<28>(word), mul(broadcast_f16(s, 0), each_float(0.125f)));
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int l = decltype(m)::value;
      const Ints code = bits_and(right_32<7 * l>(word), each_dword(127));
      put_eight<l, 0>(quant::kGridIQ2_XXS.point, bits_and(right_32<8 * l>(index), each_dword(255)),
                      sign_byte_of(code), t);
    });
  }
};

struct IQ2_XS {
  static constexpr int kBytes = 74, kElements = 256, kOffset = 64, kMax = 126;
  static constexpr bool kSigned = false, kPairs = true, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    nibble_scales(widen_high_u8(narrow_load(s, 58)), mul(broadcast_f16(s, 0), each_float(0.125f)),
                  t);
    Ints words[2];  // 9 bits of index, 7 of sign code, twice
    load_alternating(s, 2, words[0], words[1]);
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int l = decltype(m)::value;
      const Ints word = right_32<16 * (l % 2)>(words[l / 2]);
      const Ints code = bits_and(right_32<9>(word), each_dword(127));
      put_eight<l, 0>(quant::kGridIQ2_XS.point, bits_and(word, each_dword(511)), sign_byte_of(code),
                      t);
    });
  }
};

struct IQ2_S {
  static constexpr int kBytes = 82, kElements = 256, kOffset = 64, kMax = 126;
  static constexpr bool kSigned = false, kPairs = true, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Narrow tail = narrow_load(s, 66);  // high index bits, scales
    nibble_scales(widen_high_u8(tail), mul(broadcast_f16(s, 0), each_float(0.125f)), t);
    const Ints low = load_32_bytes(s, 2), signs = load_32_bytes(s, 34), high = widen_low_u8(tail);
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int l = decltype(m)::value;
      const Ints index = bits_or(bits_and(right_32<8 * l>(low), each_dword(255)),
                                 bits_and(left_32<8>(right_32<2 * l>(high)), each_dword(0x300)));
      put_eight<l, l>(quant::kGridIQ2_S.point, index, signs, t);
    });
  }
};

struct IQ3_XXS {
  static constexpr int kBytes = 98, kElements = 256, kOffset = 64, kMax = 126;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Ints word = load_32_bytes(s, 66);
    t.scale[0] = odd_scale(right_32<28>(word), mul(broadcast_f16(s, 0), each_float(0.25f)));
    Ints index[2];  // four bytes each: sets 0 .. 3 and 4 .. 7
    load_alternating(s, 2, index[0], index[1]);
    const uint32_t* grid = quant::kGridIQ3_XXS.point;
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int l = decltype(m)::value;
      const Ints signs = sign_byte_of(bits_and(right_32<7 * l>(word), each_dword(127)));
      const Ints pair = right_32<16 * (l % 2)>(index[l / 2]), byte = each_dword(255);
      t.w[2 * l] = with_signs<0, 0>(look_up(grid, bits_and(pair, byte)), signs);
      t.w[2 * l + 1] = with_signs<0, 1>(look_up(grid, bits_and(right_32<8>(pair), byte)), signs);
    });
  }
};

struct IQ3_S {
  static constexpr int kBytes = 110, kElements = 256, kOffset = 64, kMax = 126;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Ints scale = right_each_32(broadcast_u32(s, 106), each_row(kFourEach));
    t.scale[0] = odd_scale(bits_and(scale, each_dword(15)), broadcast_f16(s, 0));
    Ints index[2];
    load_alternating(s, 2, index[0], index[1]);
    const Ints high = widen_low_u8(narrow_load(s, 66)), signs = load_32_bytes(s, 74);
    const uint32_t* grid = quant::kGridIQ3_S.point;
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int l = decltype(m)::value;
      const Ints byte = each_dword(255), ninth = each_dword(256);
      const Ints pair = right_32<16 * (l % 2)>(index[l / 2]);
      const Ints first = or_masked(bits_and(pair, byte), left_32<8 - 2 * l>(high), ninth);
      const Ints second =
          or_masked(bits_and(right_32<8>(pair), byte), left_32<7 - 2 * l>(high), ninth);
      t.w[2 * l] = with_signs<l, 0>(look_up(grid, first), signs);
      t.w[2 * l + 1] = with_signs<l, 1>(look_up(grid, second), signs);
    });
  }
};

}  // namespace
}  // namespace sluice::cpu
