// SPDX-License-Identifier: Apache-2.0
// Unpacking of every block format to the one form that all kernels take: a piece of 32 elements as
// two halves of 16, each with one scale. A format is a struct with
//   kId, kBytes, kElements   GGUF type; of a block: 256 elements, or 32
//   kOffset                  what unpacking added to the levels; a multiple of it comes off again
//   kHasMin                  whether `min` is used
//   kPairs                   whether the halves of 32 neighbouring elements have scales of their
//   own first(j), second(j)      where the halves of piece j of a block lie in it, multiples of 16
//   Raw, load(block, j)      the piece's bytes, in registers: what is worth asking for early
//   unpack(raw, j, grids, piece)
// Pieces 4 h .. 4 h + 3 of a block of 256 hold elements 128 h .. 128 h + 127. Layouts:
// quant/blocks.h, whose sizes and offsets are used here as numbers.
#pragma once

#include "compute/cuda/device.cuh"
#include "compute/cuda/instance.h"

namespace sluice::cuda {

// x[i] = scale[h] * (q[i] - kOffset) - min[h]; w[4 h .. 4 h + 3] are the bytes q of half h.
struct Piece {
  uint32_t w[8];
  float scale[2];
  float min[2];
};

__device__ __forceinline__ void take_nibbles(uint4 v, Piece& p) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    p.w[i] = words[i] & 0x0f0f0f0f;
    p.w[i + 4] = words[i] >> 4 & 0x0f0f0f0f;
  }
}

// One byte of a table of 16 for each nibble of `levels` (bytes below 16).
__device__ __forceinline__ uint32_t look_up(uint32_t levels, uint4 table) {
  // Selectors are nibbles: gather the bytes' low three bits into four of them.
  const uint32_t select = __byte_perm(levels | levels >> 4, 0, 0x4420) & 0x7777;
  const uint32_t low = __byte_perm(table.x, table.y, select);
  const uint32_t high = __byte_perm(table.z, table.w, select);
  const uint32_t mask = (levels >> 3 & 0x01010101) * 0xff;
  return (high & mask) | (low & ~mask);
}

// The low four bits of `bits` to the lowest bit of each byte.
__device__ __forceinline__ uint32_t spread_bits(uint32_t bits) {
  return ((bits & 15) * 0x00204081u) & 0x01010101u;
}

// Negates the bytes of `magnitudes` (none zero) whose bit in `signs` is set.
__device__ __forceinline__ uint32_t with_signs(uint32_t magnitudes, uint32_t signs) {
  const uint32_t ones = spread_bits(signs);
  return (magnitudes ^ ones * 0xff) + ones;
}

// Bit 7 of a sign code of seven bits makes the number of minus signs even.
__device__ __forceinline__ uint32_t even_signs(uint32_t code) {
  return code | (__popc(code) & 1) << 7;
}

__device__ __forceinline__ uint32_t byte_of(uint32_t word, int i) {
  return word >> 8 * i & 255;
}

// Two neighbouring pieces of a block of 256 as two whole groups of 32, for formats that have more
// to share than to unpack twice: unit m of a block is pieces 2 m and 2 m + 1, its groups begin at
// first(2 m) and second(2 m). Such a format has kUnitOrder (Acts::units), UnitRaw, load_unit(block,
// m) and unpack_unit(raw, m, unit) besides.
struct Unit {
  uint32_t w[16];  // group h: w[8 h .. 8 h + 7]
  float scale[4];  // group h: scale[h]; with kPairs its halves' scale[2 h] and scale[2 h + 1]
  float min[2];
};

template <class F>
concept HasUnits = requires {
  typename F::UnitRaw;
};

// --- 32 elements ---

struct SmallFormat {
  static constexpr int kElements = 32;
  static constexpr bool kPairs = false;
  __host__ __device__ static constexpr int first(int) { return 0; }
  __host__ __device__ static constexpr int second(int) { return 16; }
};

struct Q4_0 : SmallFormat {
  static constexpr int kId = 2, kBytes = 18, kOffset = 8;
  static constexpr bool kHasMin = false;
  struct Raw {
    Wide16 qs;
    uint32_t d;
  };
  __device__ static Raw load(const uint8_t* b, int) { return {load_16(b + 2), load_2(b)}; }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    p.scale[0] = p.scale[1] = half_bits(r.d);
  }
};

struct Q4_1 : SmallFormat {
  static constexpr int kId = 3, kBytes = 20, kOffset = 0;
  static constexpr bool kHasMin = true;
  struct Raw {
    Wide16 qs;
    uint32_t dm;
  };
  __device__ static Raw load(const uint8_t* b, int) { return {load_16(b + 4), load_4(b)}; }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    p.scale[0] = p.scale[1] = half_bits(r.dm & 0xffff);
    p.min[0] = p.min[1] = -half_bits(r.dm >> 16);
  }
};

// Bit i of `high` is the fifth bit of element i.
__device__ __forceinline__ void add_fifth_bits(uint32_t high, Piece& p) {
#pragma unroll
  for (int i = 0; i < 8; ++i) p.w[i] |= spread_bits(high >> 4 * i) << 4;
}

struct Q5_0 : SmallFormat {
  static constexpr int kId = 6, kBytes = 22, kOffset = 16;
  static constexpr bool kHasMin = false;
  struct Raw {
    Wide16 qs;
    uint32_t d, high;
  };
  __device__ static Raw load(const uint8_t* b, int) {
    return {load_16(b + 6), load_2(b), load_4(b + 2)};
  }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    add_fifth_bits(r.high, p);
    p.scale[0] = p.scale[1] = half_bits(r.d);
  }
};

struct Q5_1 : SmallFormat {
  static constexpr int kId = 7, kBytes = 24, kOffset = 0;
  static constexpr bool kHasMin = true;
  struct Raw {
    Wide16 qs;
    uint32_t dm, high;
  };
  __device__ static Raw load(const uint8_t* b, int) {
    const uint2 head = load_8(b);
    return {load_16(b + 8), head.x, head.y};
  }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    add_fifth_bits(r.high, p);
    p.scale[0] = p.scale[1] = half_bits(r.dm & 0xffff);
    p.min[0] = p.min[1] = -half_bits(r.dm >> 16);
  }
};

struct Q8_0 : SmallFormat {
  static constexpr int kId = 8, kBytes = 34, kOffset = 0;
  static constexpr bool kHasMin = false;
  struct Raw {
    Wide32 qs;
    uint32_t d;
  };
  __device__ static Raw load(const uint8_t* b, int) { return {load_32(b + 2), load_2(b)}; }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take(r.qs, p.w);
    p.scale[0] = p.scale[1] = half_bits(r.d);
  }
};

__device__ __forceinline__ void map_levels(uint4 table, Piece& p) {
#pragma unroll
  for (int i = 0; i < 8; ++i) p.w[i] = look_up(p.w[i], table);
}

// The sixteen levels of IQ4_NL and IQ4_XS as bytes.
__device__ __forceinline__ uint4 iq4_levels() {
  return make_uint4(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
}

struct IQ4_NL : SmallFormat {
  static constexpr int kId = 20, kBytes = 18, kOffset = 0;
  static constexpr bool kHasMin = false;
  using Raw = Q4_0::Raw;
  __device__ static Raw load(const uint8_t* b, int j) { return Q4_0::load(b, j); }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    map_levels(iq4_levels(), p);
    p.scale[0] = p.scale[1] = half_bits(r.d);
  }
};

struct MXFP4 : SmallFormat {
  static constexpr int kId = 39, kBytes = 17, kOffset = 0;
  static constexpr bool kHasMin = false;
  struct Raw {
    Wide16 qs;
    uint32_t e;
  };
  __device__ static Raw load(const uint8_t* b, int) { return {load_16(b + 1), __ldg(b)}; }
  __device__ static void unpack(const Raw& r, int, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    // 0 1 2 3 4 6 8 12 and their negatives: E2M1 values doubled.
    map_levels(make_uint4(0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu), p);
    // 2^(e - 128), subnormal for e = 0 and 1.
    p.scale[0] = p.scale[1] = __uint_as_float(r.e < 2 ? 0x00200000u << r.e : (r.e - 1) << 23);
  }
};

// --- 256 elements ---

struct LargeFormat {
  static constexpr int kElements = 256;
};

// Halves of one group of 32.
struct GroupFormat : LargeFormat {
  __host__ __device__ static constexpr int first(int j) { return 32 * j; }
  __host__ __device__ static constexpr int second(int j) { return 32 * j + 16; }
};

// Q4_K, Q5_K: 16 bytes of nibbles are halves of two neighbouring groups.
struct NibbleFormat : LargeFormat {
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true, kPairs = false;
  static constexpr int kUnitOrder = 0;
  __host__ __device__ static constexpr int first(int j) { return 64 * (j / 2) + 16 * (j % 2); }
  __host__ __device__ static constexpr int second(int j) { return first(j) + 32; }

  // head: d, dmin and 12 bytes of six-bit scales and mins; c: which 64 elements.
  template <class Part>
  __device__ static void scales(uint4 head, int c, Part& p) {
    const int shift = 16 * (c & 1);
    const uint32_t a = head.y >> shift, b = head.z >> shift, both = head.w >> shift;
    uint32_t s, z;
    if (c < 2) {
      s = a & 0x3f3f;
      z = b & 0x3f3f;
    } else {
      s = (both & 0x0f0f) | (a >> 2 & 0x3030);
      z = (both >> 4 & 0x0f0f) | (b >> 2 & 0x3030);
    }
    const float d = half_bits(head.x & 0xffff), dmin = half_bits(head.x >> 16);
    p.scale[0] = d * static_cast<float>(byte_of(s, 0));
    p.scale[1] = d * static_cast<float>(byte_of(s, 1));
    p.min[0] = dmin * static_cast<float>(byte_of(z, 0));
    p.min[1] = dmin * static_cast<float>(byte_of(z, 1));
  }
};

// 32 bytes of nibbles.
__device__ __forceinline__ void take_nibbles(const uint32_t (&words)[8], Unit& u) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    u.w[i] = words[i] & 0x0f0f0f0f;
    u.w[i + 8] = words[i] >> 4 & 0x0f0f0f0f;
  }
}

struct Q4_K : NibbleFormat {
  static constexpr int kId = 12, kBytes = 144;
  struct Raw {
    Wide16 head, qs;
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_16(b), load_16(b + 16 + 16 * j)};
  }
  __device__ static void unpack(const Raw& r, int j, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    scales(take(r.head), j / 2, p);
  }

  struct UnitRaw {
    Wide16 head;
    Wide32 qs;
  };
  __device__ static UnitRaw load_unit(const uint8_t* b, int m) {
    return {load_16(b), load_32(b + 16 + 32 * m)};
  }
  __device__ static void unpack_unit(const UnitRaw& r, int m, Unit& u) {
    uint32_t words[8];
    take(r.qs, words);
    take_nibbles(words, u);
    scales(take(r.head), m, u);
  }
};

struct Q5_K : NibbleFormat {
  static constexpr int kId = 13, kBytes = 176;
  struct Raw {
    Wide16 head, high, qs;
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_16(b), load_16(b + 16 + 16 * (j % 2)), load_16(b + 48 + 16 * j)};
  }
  __device__ static void unpack(const Raw& r, int j, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    const uint4 bytes = take(r.high);
    const uint32_t high[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
    const int c = j / 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t bits = high[i] >> 2 * c;
      p.w[i] |= (bits & 0x01010101) << 4;
      p.w[i + 4] |= (bits & 0x02020202) << 3;
    }
    scales(take(r.head), j / 2, p);
  }

  struct UnitRaw {
    Wide16 head;
    Wide32 high, qs;
  };
  __device__ static UnitRaw load_unit(const uint8_t* b, int m) {
    return {load_16(b), load_32(b + 16), load_32(b + 48 + 32 * m)};
  }
  __device__ static void unpack_unit(const UnitRaw& r, int m, Unit& u) {
    uint32_t words[8];
    take(r.qs, words);
    take_nibbles(words, u);
    take(r.high, words);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t bits = words[i] >> 2 * m;
      u.w[i] |= (bits & 0x01010101) << 4;
      u.w[i + 8] |= (bits & 0x02020202) << 3;
    }
    scales(take(r.head), m, u);
  }
};

struct Q6_K : LargeFormat {
  static constexpr int kId = 14, kBytes = 210, kOffset = 32, kUnitOrder = 1;
  static constexpr bool kHasMin = false, kPairs = true;
  __host__ __device__ static constexpr int first(int j) { return 128 * (j / 4) + 16 * (j % 4); }
  __host__ __device__ static constexpr int second(int j) { return first(j) + 64; }
  struct Raw {
    Wide16 low, high;
    uint32_t scales, d;  // scales: of the first half, of the second
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    const int h = j / 4, part = j % 4;
    const uint8_t* s = b + 192 + 8 * h + part;
    return {load_16(b + 64 * h + 16 * part), load_16(b + 128 + 32 * h + 16 * (part % 2)),
            __ldg(s) | static_cast<uint32_t>(__ldg(s + 4)) << 8, load_2(b + 208)};
  }
  __device__ static void unpack(const Raw& r, int j, const Grids*, Piece& p) {
    take_nibbles(take(r.low), p);
    const uint4 bytes = take(r.high);
    const uint32_t high[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
    const int shift = 2 * (j % 4 / 2);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t bits = high[i] >> shift;
      p.w[i] |= (bits & 0x03030303) << 4;
      p.w[i + 4] |= bits & 0x30303030;
    }
    const float d = half_bits(r.d);
    p.scale[0] = d * static_cast<float>(static_cast<int8_t>(r.scales & 255));
    p.scale[1] = d * static_cast<float>(static_cast<int8_t>(r.scales >> 8));
  }

  struct UnitRaw {
    Wide32 low, high;
    uint32_t first_scales, second_scales, d;
  };
  __device__ static UnitRaw load_unit(const uint8_t* b, int m) {
    const int h = m / 2, part = m % 2;
    const uint8_t* s = b + 192 + 8 * h + 2 * part;
    return {load_32(b + 64 * h + 32 * part), load_32(b + 128 + 32 * h), load_2(s), load_2(s + 4),
            load_2(b + 208)};
  }
  __device__ static void unpack_unit(const UnitRaw& r, int m, Unit& u) {
    uint32_t words[8];
    take(r.low, words);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      u.w[i] = words[i] & 0x0f0f0f0f;
      u.w[i + 8] = words[i] >> 4 & 0x0f0f0f0f;
    }
    take(r.high, words);
    const int shift = 2 * (m % 2);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t bits = words[i] >> shift;
      u.w[i] |= (bits & 0x03030303) << 4;
      u.w[i + 8] |= bits & 0x30303030;
    }
    const float d = half_bits(r.d);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      u.scale[h] = d * static_cast<float>(static_cast<int8_t>(byte_of(r.first_scales, h)));
      u.scale[2 + h] = d * static_cast<float>(static_cast<int8_t>(byte_of(r.second_scales, h)));
    }
  }
};

// Q2_K, Q3_K: 16 bytes of two-bit levels are halves of four groups, of which a piece takes two.
struct PairFormat : LargeFormat {
  static constexpr bool kPairs = true;
  __host__ __device__ static constexpr int first(int j) {
    return 128 * (j / 4) + 64 * (j % 4 / 2) + 16 * (j % 2);
  }
  __host__ __device__ static constexpr int second(int j) { return first(j) + 32; }

  __device__ static const uint8_t* levels(const uint8_t* qs, int j) {
    return qs + 32 * (j / 4) + 16 * (j % 2);
  }
  __device__ static void take_pairs(uint4 v, int j, Piece& p) {
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    const int shift = 4 * (j % 4 / 2);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      p.w[i] = words[i] >> shift & 0x03030303;
      p.w[i + 4] = words[i] >> (shift + 2) & 0x03030303;
    }
  }
};

struct Q2_K : PairFormat {
  static constexpr int kId = 10, kBytes = 84, kOffset = 0;
  static constexpr bool kHasMin = true;
  struct Raw {
    Wide16 qs;
    uint32_t scales, d;  // scales: the byte of the first half, of the second
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    const uint8_t* s = b + first(j) / 16;
    return {load_16(levels(b + 16, j)), __ldg(s) | static_cast<uint32_t>(__ldg(s + 2)) << 8,
            load_4(b + 80)};
  }
  __device__ static void unpack(const Raw& r, int j, const Grids*, Piece& p) {
    take_pairs(take(r.qs), j, p);
    const float d = half_bits(r.d & 0xffff), dmin = half_bits(r.d >> 16);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t s = byte_of(r.scales, h);
      p.scale[h] = d * static_cast<float>(s & 15);
      p.min[h] = dmin * static_cast<float>(s >> 4);
    }
  }
};

struct Q3_K : PairFormat {
  static constexpr int kId = 11, kBytes = 110, kOffset = 4;
  static constexpr bool kHasMin = false;
  struct Raw {
    Wide16 qs, high, tail;  // tail: two bytes of levels, 12 of scales, d
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_16(levels(b + 32, j)), load_16(b + 16 * (j % 2)), load_16(b + 94)};
  }
  __device__ static void unpack(const Raw& r, int j, const Grids*, Piece& p) {
    take_pairs(take(r.qs), j, p);
    const uint4 bytes = take(r.high);
    const uint32_t high[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
    const int group = first(j) / 32;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t bits = high[i] >> group;
      p.w[i] |= (bits & 0x01010101) << 2;
      p.w[i + 4] |= (bits & 0x02020202) << 1;
    }
    const uint4 tail = take(r.tail);
    const float d = half_bits(tail.w >> 16);
    p.scale[0] = d * static_cast<float>(scale(tail, first(j) / 16));
    p.scale[1] = d * static_cast<float>(scale(tail, second(j) / 16));
  }
  __device__ static int scale(uint4 tail, int g) {
    const uint64_t low8 = static_cast<uint64_t>(tail.x >> 16) |
                          (static_cast<uint64_t>(tail.y) << 16) |
                          (static_cast<uint64_t>(tail.z) << 48);
    const uint32_t high4 = tail.z >> 16 | tail.w << 16;
    const int low = static_cast<int>(low8 >> (8 * (g & 7) + 4 * (g >> 3))) & 15;
    const int high = static_cast<int>(high4 >> (8 * (g & 3) + 2 * (g >> 2))) & 3;
    return (low | high << 4) - 32;
  }
};

struct IQ4_XS : GroupFormat {
  static constexpr int kId = 23, kBytes = 136, kOffset = 0;
  static constexpr bool kHasMin = false, kPairs = false;
  struct Raw {
    Wide16 qs;
    uint2 head;  // d, high bits of the scales, low bits
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_16(b + 8 + 16 * j), load_8(b)};
  }
  __device__ static void unpack(const Raw& r, int j, const Grids*, Piece& p) {
    take_nibbles(take(r.qs), p);
    map_levels(iq4_levels(), p);
    const int s = static_cast<int>((r.head.y >> 4 * j & 15) | (r.head.x >> (16 + 2 * j) & 3) << 4);
    p.scale[0] = p.scale[1] = half_bits(r.head.x & 0xffff) * static_cast<float>(s - 32);
  }
};

// Every block format (those with grids are in formats_iq.cuh), for dispatch: F<Q4_0>, ... given as a macro of one argument.
#define SLUICE_BLOCK_FORMATS(F)                                                                \
  F(Q4_0)                                                                                      \
  F(Q4_1) F(Q5_0) F(Q5_1) F(Q8_0) F(Q2_K) F(Q3_K) F(Q4_K) F(Q5_K) F(Q6_K) F(IQ2_XXS) F(IQ2_XS) \
      F(IQ2_S) F(IQ3_XXS) F(IQ3_S) F(IQ4_NL) F(IQ4_XS) F(MXFP4)

}  // namespace sluice::cuda
