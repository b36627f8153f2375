// SPDX-License-Identifier: Apache-2.0
// Products of quantised rows with quantised activations, for all formats.
//
// The order of operations per output is the same whatever the number of rows and activations, and
// at every level: with j = 0..7 the groups of 32 elements of a block of 256, I_j the exact integer
// product of a group,
//   lane_j += scale_x_j * (scale_w_j * I_j + min_w_j * sum_x_j)    (fused multiply-adds)
// over the blocks in increasing order, and the eight lanes are added at the end, as sum_8 does.
#pragma once

#include "compute/cpu/simd/formats.h"

namespace sluice::cpu {
namespace {

// Where a format has an offset, the sums of x take it back: this is -kOffset * sum.
template <class Format>
SLUICE_INLINE Ints start_of(const int32_t* minus) {
  constexpr int kOffset = Format::kOffset;
  static_assert((kOffset & (kOffset - 1)) == 0);
  if constexpr (kOffset == 0)
    return zero_ints();
  else
    return left_32<__builtin_ctz(kOffset | 1 << 30)>(each_row(minus));
}

template <class Format>
SLUICE_INLINE Floats add_product(const Tile& t, const PackedAct& x, Floats lanes) {
  Floats sum;
  if constexpr (Format::kPairs) {
    const Ints first =
        dot<Format::kMax, Format::kSigned, 4>(t.w, x.q[0], start_of<Format>(x.minus[0]));
    const Ints second =
        dot<Format::kMax, Format::kSigned, 4>(t.w + 4, x.q[4], start_of<Format>(x.minus[1]));
    sum = mul(to_float(first), t.scale[0]);
    sum = mul_add(to_float(second), t.scale[1], sum);
    if constexpr (Format::kHasMin) {
      sum = mul_add(to_float(each_row(x.minus[0])), t.min[0], sum);
      sum = mul_add(to_float(each_row(x.minus[1])), t.min[1], sum);
    }
  } else {
    const Ints product =
        dot<Format::kMax, Format::kSigned, 8>(t.w, x.q[0], start_of<Format>(x.minus_all));
    sum = mul(to_float(product), t.scale[0]);
    if constexpr (Format::kHasMin) sum = mul_add(to_float(each_row(x.minus_all)), t.min[0], sum);
  }
  return mul_add(sum, each_row(x.scale), lanes);
}

constexpr int64_t kPieceBlocks = 16;  // 4096 elements of x are packed at a time
constexpr int64_t kRowBlock = 32;
constexpr int kActs = 4;  // weights are unpacked once for so many activations
constexpr int64_t kPrefetchBytes = 2048;

template <class Format>
struct RowProduct {
  static constexpr int64_t kBlocksPerUnit = 256 / Format::kElements;
  static constexpr int64_t kUnitBytes = kBlocksPerUnit * Format::kBytes;  // of 256 elements

  // One vector of rows with kCount activations over `units` blocks of 256 and `tail` of 32.
  template <int kCount>
  SLUICE_INLINE static void accumulate(Source s, int64_t units, int64_t tail, const PackedAct* x,
                                       Floats* lanes) {
    Floats sums[kCount];
    SLUICE_UNROLL
    for (int a = 0; a < kCount; ++a) sums[a] = lanes[a];
    Tile tile;
    for (int64_t u = 0; u < units; ++u) {
      for (int r = 0; r < kVectorRows; ++r) {
        SLUICE_UNROLL
        for (int64_t line = 0; line < kUnitBytes; line += 64)
          __builtin_prefetch(s.row[r] + kPrefetchBytes + line, 0, 3);
      }
      Format::unpack(s, tile);
      SLUICE_UNROLL
      for (int a = 0; a < kCount; ++a)
        sums[a] = add_product<Format>(tile, x[a * kPieceBlocks + u], sums[a]);
      s = s + kUnitBytes;
    }
    if constexpr (kBlocksPerUnit > 1) {
      if (tail > 0) {  // blocks of zeros up to 256 elements: the scales of x are zero there
        uint8_t padded[kVectorRows][kUnitBytes];
        for (int r = 0; r < kVectorRows; ++r) {
          const auto bytes = static_cast<size_t>(tail * Format::kBytes);
          std::memcpy(padded[r], s.row[r], bytes);
          std::memset(padded[r] + bytes, 0, sizeof(padded[r]) - bytes);
          s.row[r] = padded[r];
        }
        Format::unpack(s, tile);
        SLUICE_UNROLL
        for (int a = 0; a < kCount; ++a)
          sums[a] = add_product<Format>(tile, x[a * kPieceBlocks + units], sums[a]);
      }
    }
    SLUICE_UNROLL
    for (int a = 0; a < kCount; ++a) lanes[a] = sums[a];
  }

  // Up to kRowBlock rows with kCount activations.
  template <int kCount>
  static void block(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                    const quant::ActBlock* x, PackedAct* packed, bool reuse, float* out,
                    int64_t out_stride) {
    const int64_t all = (n + 255) / 256;
    Floats lanes[kRowBlock / kVectorRows][kCount];
    for (int64_t begin = 0; begin < all; begin += kPieceBlocks) {
      const int64_t count = all - begin < kPieceBlocks ? all - begin : kPieceBlocks;
      if (!reuse)
        for (int a = 0; a < kCount; ++a)
          for (int64_t b = 0; b < count; ++b)
            pack(x[a * all + begin + b], packed[a * kPieceBlocks + b]);
      const int64_t tail = begin + count == all ? n % 256 / 32 : 0;
      for (int64_t r = 0; r < rows; r += kVectorRows) {
        Source s;
        for (int i = 0; i < kVectorRows; ++i) {
          const int64_t row = r + i < rows ? r + i : r;  // the last of an odd number stands twice
          s.row[i] = weights + static_cast<size_t>(row) * row_bytes +
                     static_cast<size_t>(begin * kUnitBytes);
        }
        Floats* sums = lanes[r / kVectorRows];
        if (begin == 0)
          for (int a = 0; a < kCount; ++a) sums[a] = zero_floats();
        accumulate<kCount>(s, count - (tail > 0), tail, packed, sums);
      }
    }
    for (int64_t r = 0; r < rows; r += kVectorRows)
      for (int a = 0; a < kCount; ++a) {
        float values[kVectorRows];
        store_sums(lanes[r / kVectorRows][a], values);
        for (int i = 0; i < kVectorRows && r + i < rows; ++i)
          out[a * out_stride + r + i] = values[i];
      }
  }

  static void run(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                  const quant::ActBlock* x, int64_t acts, float* out, int64_t out_stride) {
    const int64_t blocks = (n + 255) / 256;
    PackedAct packed[kActs * kPieceBlocks];
    for (int64_t r = 0; r < rows; r += kRowBlock) {
      const int64_t here = rows - r < kRowBlock ? rows - r : kRowBlock;
      const uint8_t* data = weights + static_cast<size_t>(r) * row_bytes;
      const bool reuse = r > 0 && acts <= kActs && blocks <= kPieceBlocks;
      for (int64_t a = 0; a < acts;) {
        const quant::ActBlock* from = x + a * blocks;
        float* to = out + a * out_stride + r;
        const int64_t left = acts - a;
        if (left >= 4) {
          block<4>(data, row_bytes, here, n, from, packed, reuse, to, out_stride);
          a += 4;
        } else if (left == 3) {
          block<3>(data, row_bytes, here, n, from, packed, reuse, to, out_stride);
          a += 3;
        } else if (left == 2) {
          block<2>(data, row_bytes, here, n, from, packed, reuse, to, out_stride);
          a += 2;
        } else {
          block<1>(data, row_bytes, here, n, from, packed, reuse, to, out_stride);
          a += 1;
        }
      }
    }
  }
};

}  // namespace
}  // namespace sluice::cpu
