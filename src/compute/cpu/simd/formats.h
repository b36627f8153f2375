// SPDX-License-Identifier: Apache-2.0
// Unpacking of every block format to the one form that the products take (Tile): 256 elements of a
// row as eight vectors in the order of PackedAct, and their scales. A format is a struct with
//   kBytes, kElements              of a block: 256 elements, or 32 (then eight blocks are unpacked)
//   kOffset                        what unpacking added to the weights: 0 or a power of two
//   kMax, kSigned                  range of the unpacked weights (dot() of the level)
//   kPairs                         two scales (and mins) per 32 elements
//   kHasMin
//   unpack(Source, Tile&)
// Layouts: quant/blocks.h, whose sizes and offsets are used here as numbers.
#pragma once

#include "quant/codebooks.h"

namespace sluice::cpu {
namespace {

// x[i] = scale * (w[i] - kOffset) - min
struct Tile {
  Ints w[8];        // vector k, dword lane j: elements 32 j + 4 k .. + 3
  Floats scale[2];  // per group j; [1] is that of elements 16 .. 31 with kPairs
  Floats min[2];
};

// Per group: shifts or masks of a nibble pair, of two-bit quadruples and of single bits.
alignas(32) constexpr int32_t kNibbleShift[8] = {0, 4, 0, 4, 0, 4, 0, 4};
alignas(32) constexpr int32_t kNibbleShift2[8] = {0, 0, 4, 4, 0, 0, 4, 4};
alignas(32) constexpr int32_t kNibbleMask[8] = {0x0f0f0f0f, -0x0f0f0f10, 0x0f0f0f0f, -0x0f0f0f10,
                                                0x0f0f0f0f, -0x0f0f0f10, 0x0f0f0f0f, -0x0f0f0f10};
alignas(32) constexpr float kNibbleUnit[8] = {1, 1.0f / 16, 1, 1.0f / 16,
                                              1, 1.0f / 16, 1, 1.0f / 16};
alignas(32) constexpr int32_t kPairShift[8] = {0, 2, 4, 6, 0, 2, 4, 6};
alignas(32) constexpr int32_t kPairMask[8] = {0x03030303, 0x0c0c0c0c, 0x30303030, -0x3f3f3f40,
                                              0x03030303, 0x0c0c0c0c, 0x30303030, -0x3f3f3f40};
alignas(32) constexpr float kPairUnit[8] = {1, 1.0f / 4, 1.0f / 16, 1.0f / 64,
                                            1, 1.0f / 4, 1.0f / 16, 1.0f / 64};
alignas(32) constexpr int32_t kFourLow[8] = {4, 4, 4, 4, 0, 0, 0, 0};
alignas(32) constexpr int32_t kBitShift[8] = {0, 1, 2, 3, 0, 1, 2, 3};
alignas(32) constexpr int32_t kBitShift2[8] = {2, 3, 4, 5, 2, 3, 4, 5};
alignas(32) constexpr int32_t kAlternate02[8] = {0, 2, 0, 2, 0, 2, 0, 2};
alignas(32) constexpr int32_t kFourEach[8] = {0, 4, 8, 12, 16, 20, 24, 28};
alignas(32) constexpr int32_t kTwoEachFrom16[8] = {16, 18, 20, 22, 24, 26, 28, 30};

// The scales of Q4_K and Q5_K: h = d, dmin and 12 bytes, to s[8] and z[8].
SLUICE_INLINE Narrow six_bit_scales(Narrow h) {
  alignas(16) static constexpr int8_t kLow[16] = {4, 5, 6,  7,  12, 13, 14, 15,
                                                  8, 9, 10, 11, 12, 13, 14, 15};
  alignas(16) static constexpr int8_t kHigh[16] = {-1, -1, -1, -1, 4, 5, 6,  7,
                                                   -1, -1, -1, -1, 8, 9, 10, 11};
  alignas(16) static constexpr int32_t kShift[4] = {0, 0, 0, 4};
  alignas(16) static constexpr int32_t kLowMask[4] = {0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f,
                                                      0x0f0f0f0f};
  alignas(16) static constexpr int32_t kTwo[4] = {2, 2, 2, 2};
  alignas(16) static constexpr int32_t kHighMask[4] = {0x30303030, 0x30303030, 0x30303030,
                                                       0x30303030};
  const Narrow low =
      narrow_and(narrow_right_each_32(narrow_shuffle(h, narrow_each(kLow)), narrow_each(kShift)),
                 narrow_each(kLowMask));
  const Narrow high =
      narrow_and(narrow_right_each_32(narrow_shuffle(h, narrow_each(kHigh)), narrow_each(kTwo)),
                 narrow_each(kHighMask));
  return narrow_or(low, high);
}

// Signed bytes g = 0..15 to the scales of the first (g = 2 j) and second halves of the groups.
SLUICE_INLINE void pair_scales(Narrow bytes, Floats d, Tile& t) {
  const Ints both = widen_u16(bytes);
  t.scale[0] = mul(to_float(right_signed_32<24>(left_32<24>(both))), d);
  t.scale[1] = mul(to_float(right_signed_32<24>(left_32<16>(both))), d);
}

// --- K-quants ---

struct Q4_K {
  static constexpr int kBytes = 144, kElements = 256, kOffset = 0, kMax = 15;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = true;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Narrow head = narrow_load(s, 0);
    const Floats halves = widen_f16(head);
    const Narrow scales = six_bit_scales(head);
    Floats d = broadcast_lane<0>(halves);
    // High nibbles stay in place where products of any byte are exact: 16 times the weight.
    if constexpr (kAnyByte) d = mul(d, each_row(kNibbleUnit));
    t.scale[0] = mul(to_float(widen_low_u8(scales)), d);
    t.min[0] = mul(to_float(widen_high_u8(scales)), broadcast_lane<1>(halves));

    Ints a[2],
        b[2];  // low nibbles groups 2 i (and 2 i + 4 in the high 128 bits), high ones the next
    load_split(s, 16, 80, a[0], b[0]);
    load_split(s, 48, 112, a[1], b[1]);
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int k = decltype(m)::value;
      t.w[k] = nibbles(shuffle_32<k, k, k, k>(a[0], a[1]));
      t.w[k + 4] = nibbles(shuffle_32<k, k, k, k>(b[0], b[1]));
    });
  }

  SLUICE_INLINE static Ints nibbles(Ints v) {
    if constexpr (kAnyByte) return bits_and(v, each_row(kNibbleMask));
    return bits_and(right_each_32(v, each_row(kNibbleShift)), each_byte(15));
  }
};

struct Q5_K {
  static constexpr int kBytes = 176, kElements = 256, kOffset = 0, kMax = 31;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = true;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Narrow head = narrow_load(s, 0);
    const Floats halves = widen_f16(head);
    const Narrow scales = six_bit_scales(head);
    t.scale[0] = mul(to_float(widen_low_u8(scales)), broadcast_lane<0>(halves));
    t.min[0] = mul(to_float(widen_high_u8(scales)), broadcast_lane<1>(halves));

    Ints a[2], b[2];
    load_split(s, 48, 112, a[0], b[0]);
    load_split(s, 80, 144, a[1], b[1]);
    // Bit j of a byte is the fifth bit in group j: bits 4 .. 7 after this in either half.
    const Ints up = each_row(kFourLow);
    const Ints fifth_a = left_each_32(load_16_bytes(s, 16, 16), up);
    const Ints fifth_b = left_each_32(load_16_bytes(s, 32, 32), up);
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int k = decltype(m)::value;
      t.w[k] = levels(shuffle_32<k, k, k, k>(a[0], a[1]), shuffle_32<k, k, k, k>(fifth_a, fifth_a));
      t.w[k + 4] =
          levels(shuffle_32<k, k, k, k>(b[0], b[1]), shuffle_32<k, k, k, k>(fifth_b, fifth_b));
    });
  }

  SLUICE_INLINE static Ints levels(Ints nibbles, Ints fifth) {
    const Ints low = bits_and(right_each_32(nibbles, each_row(kNibbleShift)), each_byte(15));
    return or_masked(low, right_each_32(fifth, each_row(kBitShift)), each_byte(16));
  }
};

struct Q6_K {
  static constexpr int kBytes = 210, kElements = 256, kOffset = 32, kMax = 63;
  static constexpr bool kSigned = false, kPairs = true, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    pair_scales(narrow_load(s, 192), broadcast_f16(s, 208), t);

    // Group 4 h + k: k = 0, 1 low nibbles of the first and second 32 bytes of half h, 2, 3 high.
    Ints a[2], b[2], high_a, high_b;
    load_split(s, 0, 64, a[0], b[0]);
    load_split(s, 32, 96, a[1], b[1]);
    load_split(s, 128, 160, high_a, high_b);
    four(a[0], a[1], high_a, t.w);
    four(b[0], b[1], high_b, t.w + 4);
  }

  SLUICE_INLINE static void four(Ints first, Ints second, Ints high, Ints* w) {
    const Ints low = unpack_low_32(first, second), upper = unpack_high_32(first, second);
    const Ints up = left_32<4>(high);  // within bytes: bits 4 .. 7 are used only
    w[0] = levels(shuffle_32<0, 1, 0, 1>(low, low), shuffle_32<0, 0, 0, 0>(up, high));
    w[1] = levels(shuffle_32<2, 3, 2, 3>(low, low), shuffle_32<1, 1, 1, 1>(up, high));
    w[2] = levels(shuffle_32<0, 1, 0, 1>(upper, upper), shuffle_32<2, 2, 2, 2>(up, high));
    w[3] = levels(shuffle_32<2, 3, 2, 3>(upper, upper), shuffle_32<3, 3, 3, 3>(up, high));
  }

  SLUICE_INLINE static Ints levels(Ints nibbles, Ints pairs) {
    const Ints low = bits_and(right_each_32(nibbles, each_row(kNibbleShift2)), each_byte(15));
    return or_masked(low, right_each_32(pairs, each_row(kAlternate02)), each_byte(0x30));
  }
};

struct Q2_K {
  static constexpr int kBytes = 84, kElements = 256, kOffset = 0, kMax = 3;
  static constexpr bool kSigned = false, kPairs = true, kHasMin = true;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Ints both = widen_u16(narrow_load(s, 0));
    const Floats halves = widen_f16(narrow_load(s, 68));  // ends with d and dmin
    Floats d = broadcast_lane<6>(halves);
    if constexpr (kAnyByte) d = mul(d, each_row(kPairUnit));
    const Floats dmin = broadcast_lane<7>(halves);
    const Ints nibble = each_dword(15);
    t.scale[0] = mul(to_float(bits_and(both, nibble)), d);
    t.min[0] = mul(to_float(bits_and(right_32<4>(both), nibble)), dmin);
    t.scale[1] = mul(to_float(bits_and(right_32<8>(both), nibble)), d);
    t.min[1] = mul(to_float(right_32<12>(both)), dmin);

    Ints a, b;
    load_split(s, 16, 48, a, b);
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int k = decltype(m)::value;
      t.w[k] = levels(shuffle_32<k, k, k, k>(a, a));
      t.w[k + 4] = levels(shuffle_32<k, k, k, k>(b, b));
    });
  }

  SLUICE_INLINE static Ints levels(Ints v) {
    if constexpr (kAnyByte) return bits_and(v, each_row(kPairMask));
    return bits_and(right_each_32(v, each_row(kPairShift)), each_byte(3));
  }
};

struct Q3_K {
  static constexpr int kBytes = 110, kElements = 256, kOffset = 4, kMax = 7;
  static constexpr bool kSigned = false, kPairs = true, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Narrow tail = narrow_load(s, 94);  // two bytes of levels, the scales, d
    pair_scales(scales(tail), broadcast_lane<7>(widen_f16(tail)), t);

    Ints a, b;
    load_split(s, 32, 64, a, b);
    const Ints up = each_row(kFourLow);  // as the fifth bits of Q5_K
    const Ints third_a = left_each_32(load_16_bytes(s, 0, 0), up);
    const Ints third_b = left_each_32(load_16_bytes(s, 16, 16), up);
    each4([&](auto m) __attribute__((always_inline)) {
      constexpr int k = decltype(m)::value;
      t.w[k] = levels(shuffle_32<k, k, k, k>(a, a), shuffle_32<k, k, k, k>(third_a, third_a));
      t.w[k + 4] = levels(shuffle_32<k, k, k, k>(b, b), shuffle_32<k, k, k, k>(third_b, third_b));
    });
  }

  SLUICE_INLINE static Ints levels(Ints pairs, Ints third) {
    const Ints low = bits_and(right_each_32(pairs, each_row(kPairShift)), each_byte(3));
    return or_masked(low, right_each_32(third, each_row(kBitShift2)), each_byte(4));
  }

  SLUICE_INLINE static Narrow scales(Narrow tail) {
    alignas(16) static constexpr int8_t kLow[16] = {2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9};
    alignas(16) static constexpr int8_t kHigh[16] = {10, 11, 12, 13, 10, 11, 12, 13,
                                                     10, 11, 12, 13, 10, 11, 12, 13};
    alignas(16) static constexpr int32_t kLowRight[4] = {0, 0, 4, 4};
    alignas(16) static constexpr int32_t kHighLeft[4] = {4, 2, 0, 0};
    alignas(16) static constexpr int32_t kHighRight[4] = {0, 0, 0, 2};
    alignas(16) static constexpr int32_t kNibbles[4] = {0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
                                                        0x0f0f0f0f};
    alignas(16) static constexpr int32_t kHighMask[4] = {0x30303030, 0x30303030, 0x30303030,
                                                         0x30303030};
    alignas(16) static constexpr int32_t kMiddle[4] = {0x20202020, 0x20202020, 0x20202020,
                                                       0x20202020};
    const Narrow low = narrow_and(
        narrow_right_each_32(narrow_shuffle(tail, narrow_each(kLow)), narrow_each(kLowRight)),
        narrow_each(kNibbles));
    const Narrow spread =
        narrow_left_each_32(narrow_shuffle(tail, narrow_each(kHigh)), narrow_each(kHighLeft));
    const Narrow high =
        narrow_and(narrow_right_each_32(spread, narrow_each(kHighRight)), narrow_each(kHighMask));
    return narrow_sub_8(narrow_or(low, high), narrow_each(kMiddle));
  }
};

// --- 16 bytes of nibbles per 32 elements: element i low, element i + 16 high ---

// v[j]: 16 bytes of group j and of group j + 4.
SLUICE_INLINE void split_nibbles(const Ints* v, Tile& t) {
  Ints rows[4];
  transpose(v[0], v[1], v[2], v[3], rows);
  const Ints mask = each_byte(15);
  SLUICE_UNROLL
  for (int k = 0; k < 4; ++k) {
    t.w[k] = bits_and(rows[k], mask);
    t.w[k + 4] = bits_and(right_32<4>(rows[k]), mask);
  }
}

SLUICE_INLINE void map_levels(Ints table, Tile& t) {
  SLUICE_UNROLL
  for (int k = 0; k < 8; ++k) t.w[k] = shuffle_bytes(table, t.w[k]);
}

template <int kBlockBytes>
SLUICE_INLINE void load_nibbles(Source s, int64_t at, Tile& t) {
  Ints v[4];
  SLUICE_UNROLL
  for (int j = 0; j < 4; ++j)
    v[j] = load_16_bytes(s, at + j * kBlockBytes, at + (j + 4) * kBlockBytes);
  split_nibbles(v, t);
}

SLUICE_INLINE Ints iq4_table() {
  static constexpr struct Table {
    alignas(16) uint8_t level[16];
    constexpr Table() : level() {
      for (int i = 0; i < 16; ++i)
        level[i] = static_cast<uint8_t>(quant::kIq4Levels[i] + kSignedBias);
    }
  } table;
  return each_128(table.level);
}

struct Q4_0 {
  static constexpr int kBytes = 18, kElements = 32, kOffset = 8, kMax = 15;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    t.scale[0] = gather_f16(s, 0, kBytes);
    load_nibbles<kBytes>(s, 2, t);
  }
};

struct Q4_1 {
  static constexpr int kBytes = 20, kElements = 32, kOffset = 0, kMax = 15;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = true;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    t.scale[0] = gather_f16(s, 0, kBytes);
    t.min[0] = mul(gather_f16(s, 2, kBytes), each_float(-1.0f));
    load_nibbles<kBytes>(s, 4, t);
  }
};

// qh: a u32 per group whose bit i is the fifth bit of element i.
SLUICE_INLINE void add_fifth_bits(Ints qh, Tile& t) {
  static constexpr struct Tables {
    alignas(16) int8_t byte[4][16];  // [b]: byte b of every dword, four times
    alignas(16) uint8_t bits[2][16];
    constexpr Tables() : byte(), bits() {
      for (int i = 0; i < 16; ++i) {
        for (int b = 0; b < 4; ++b) byte[b][i] = static_cast<int8_t>(i / 4 * 4 + b);
        bits[0][i] = static_cast<uint8_t>(1 << (i % 4));
        bits[1][i] = static_cast<uint8_t>(16 << (i % 4));
      }
    }
  } tables;
  SLUICE_UNROLL
  for (int k = 0; k < 8; ++k) {
    const Ints copies = shuffle_bytes(qh, each_128(tables.byte[k / 2]));
    t.w[k] = or_where_bit<16>(t.w[k], copies, each_128(tables.bits[k % 2]));
  }
}

struct Q5_0 {
  static constexpr int kBytes = 22, kElements = 32, kOffset = 16, kMax = 31;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    t.scale[0] = gather_f16(s, 0, kBytes);
    load_nibbles<kBytes>(s, 6, t);
    add_fifth_bits(gather_dwords(s, 2, kBytes), t);
  }
};

struct Q5_1 {
  static constexpr int kBytes = 24, kElements = 32, kOffset = 0, kMax = 31;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = true;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    t.scale[0] = gather_f16(s, 0, kBytes);
    t.min[0] = mul(gather_f16(s, 2, kBytes), each_float(-1.0f));
    load_nibbles<kBytes>(s, 8, t);
    add_fifth_bits(gather_dwords(s, 4, kBytes), t);
  }
};

struct Q8_0 {
  static constexpr int kBytes = 34, kElements = 32, kOffset = kSignedBias, kMax = 128;
  static constexpr bool kSigned = true, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    t.scale[0] = gather_f16(s, 0, kBytes);
    Ints a[4], b[4];
    SLUICE_UNROLL
    for (int j = 0; j < 4; ++j) load_split(s, 2 + j * kBytes, 2 + (j + 4) * kBytes, a[j], b[j]);
    transpose(a[0], a[1], a[2], a[3], t.w);
    transpose(b[0], b[1], b[2], b[3], t.w + 4);
    if constexpr (kSignedBias != 0) {
      SLUICE_UNROLL
      for (int k = 0; k < 8; ++k) t.w[k] = bits_xor(t.w[k], each_byte(kSignedBias));
    }
  }
};

struct IQ4_NL {
  static constexpr int kBytes = 18, kElements = 32, kOffset = kSignedBias, kMax = 128;
  static constexpr bool kSigned = true, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    t.scale[0] = gather_f16(s, 0, kBytes);
    load_nibbles<kBytes>(s, 2, t);
    map_levels(iq4_table(), t);
  }
};

struct IQ4_XS {
  static constexpr int kBytes = 136, kElements = 256, kOffset = kSignedBias, kMax = 128;
  static constexpr bool kSigned = true, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    const Ints head = broadcast_u32(s, 0);  // d, then the high bits of the scales
    const Ints low =
        bits_and(right_each_32(broadcast_u32(s, 4), each_row(kFourEach)), each_dword(15));
    const Ints high = bits_and(right_each_32(head, each_row(kTwoEachFrom16)), each_dword(3));
    const Ints scale = add_32(bits_or(low, left_32<4>(high)), each_dword(-32));
    t.scale[0] = mul(to_float(scale), broadcast_f16(s, 0));

    Ints v[4];
    load_split(s, 8, 72, v[0], v[1]);
    load_split(s, 40, 104, v[2], v[3]);
    split_nibbles(v, t);
    map_levels(iq4_table(), t);
  }
};

struct MXFP4 {
  static constexpr int kBytes = 17, kElements = 32, kOffset = 16, kMax = 28;
  static constexpr bool kSigned = false, kPairs = false, kHasMin = false;

  SLUICE_INLINE static void unpack(Source s, Tile& t) {
    static constexpr struct Table {
      alignas(16) uint8_t level[16];
      constexpr Table() : level() {
        for (int i = 0; i < 16; ++i)
          level[i] = static_cast<uint8_t>(quant::kFp4Levels[i] + kOffset);
      }
    } table;
    // 2^(e - 128): an exponent field of e - 1, or a subnormal for e = 0 and 1.
    const Ints e = gather_bytes(s, 0, kBytes), one = each_dword(1);
    const Ints normal = left_32<23>(add_32(max_32(e, one), each_dword(-1)));
    const Ints subnormal = left_each_32(each_dword(0x00200000), min_32(e, one));
    t.scale[0] = as_float(max_32(normal, subnormal));
    load_nibbles<kBytes>(s, 1, t);
    map_levels(each_128(table.level), t);
  }
};

}  // namespace
}  // namespace sluice::cpu
