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

// lanes[v][a] += 256 elements of the rows of tile v times those of activation a.
template <class Format, int kVectors, int kActs>
SLUICE_INLINE void add_products(const Tile* const* tiles, const PackedAct* const* x,
                                Floats (&lanes)[kVectors][kActs]) {
  const Ints* w[kVectors];
  SLUICE_UNROLL
  for (int v = 0; v < kVectors; ++v) w[v] = tiles[v]->w;
  Ints product[kVectors][kActs];
  if constexpr (Format::kPairs) {
    Floats sum[kVectors][kActs];
    SLUICE_UNROLL
    for (int a = 0; a < kActs; ++a) {
      const Ints start = start_of<Format>(x[a]->minus[0]);
      SLUICE_UNROLL
      for (int v = 0; v < kVectors; ++v) product[v][a] = start;
    }
    dot_block<Format::kMax, Format::kSigned, 4>(w, x, 0, product);
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) sum[v][a] = mul(to_float(product[v][a]), tiles[v]->scale[0]);
    }
    SLUICE_UNROLL
    for (int a = 0; a < kActs; ++a) {
      const Ints start = start_of<Format>(x[a]->minus[1]);
      SLUICE_UNROLL
      for (int v = 0; v < kVectors; ++v) product[v][a] = start;
    }
    dot_block<Format::kMax, Format::kSigned, 4>(w, x, 4, product);
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) {
        sum[v][a] = mul_add(to_float(product[v][a]), tiles[v]->scale[1], sum[v][a]);
        if constexpr (Format::kHasMin) {
          sum[v][a] = mul_add(to_float(each_row(x[a]->minus[0])), tiles[v]->min[0], sum[v][a]);
          sum[v][a] = mul_add(to_float(each_row(x[a]->minus[1])), tiles[v]->min[1], sum[v][a]);
        }
        lanes[v][a] = mul_add(sum[v][a], each_row(x[a]->scale), lanes[v][a]);
      }
    }
  } else {
    SLUICE_UNROLL
    for (int a = 0; a < kActs; ++a) {
      const Ints start = start_of<Format>(x[a]->minus_all);
      SLUICE_UNROLL
      for (int v = 0; v < kVectors; ++v) product[v][a] = start;
    }
    dot_block<Format::kMax, Format::kSigned, 8>(w, x, 0, product);
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) {
        Floats sum = mul(to_float(product[v][a]), tiles[v]->scale[0]);
        if constexpr (Format::kHasMin)
          sum = mul_add(each_row(x[a]->minus_sum), tiles[v]->min[0], sum);
        lanes[v][a] = mul_add(sum, each_row(x[a]->scale), lanes[v][a]);
      }
    }
  }
}

constexpr int64_t kFewActs = 4;  // up to here weights go from memory to products without a stop
// How far ahead weights are fetched, into the second-level cache: the first level has too few
// misses in flight for the bandwidth of the memory. Measured in docs/performance.md.
constexpr int64_t kPrefetchBytes = 8192;
constexpr int64_t kPanelRows = 8;          // rows unpacked together ...
constexpr int64_t kPanelBytes = 32 << 10;  // ... where they fit in the first-level cache
constexpr int64_t kPanelTiles = 128;       // the most: two vectors of rows of 16384 elements

template <class Format>
struct RowProduct {
  static constexpr int64_t kBlocksPerUnit = 256 / Format::kElements;
  static constexpr int64_t kUnitBytes = kBlocksPerUnit * Format::kBytes;  // of 256 elements

  // The rows of a vector, the last one standing for those that are missing.
  SLUICE_INLINE static Source source(const uint8_t* weights, size_t row_bytes, int64_t row,
                                     int64_t rows) {
    Source s;
    for (int i = 0; i < kVectorRows; ++i)
      s.row[i] = weights + static_cast<size_t>(row + i < rows ? row + i : rows - 1) * row_bytes;
    return s;
  }

  // The last `tail` blocks of 32 of a row, and blocks of zeros up to 256 elements.
  SLUICE_INLINE static void unpack_tail(Source s, int64_t tail, Tile& tile) {
    uint8_t padded[kVectorRows][kUnitBytes];
    for (int r = 0; r < kVectorRows; ++r) {
      const auto bytes = static_cast<size_t>(tail * Format::kBytes);
      std::memcpy(padded[r], s.row[r], bytes);
      std::memset(padded[r] + bytes, 0, sizeof(padded[r]) - bytes);
      s.row[r] = padded[r];
    }
    Format::unpack(s, tile);
  }

  template <int kActs>
  SLUICE_INLINE static void put(const Floats* lanes, int64_t row, int64_t rows, float* out,
                                int64_t out_stride) {
    SLUICE_UNROLL
    for (int a = 0; a < kActs; ++a) {
      float values[kVectorRows];
      store_sums(lanes[a], values);
      for (int i = 0; i < kVectorRows && row + i < rows; ++i)
        out[a * out_stride + row + i] = values[i];
    }
  }

  // Every row once from memory, for kActs activations.
  template <int kActs>
  static void few(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                  const uint8_t* const* x, float* out, int64_t out_stride, const uint8_t* next) {
    const int64_t units = n / 256, tail = n % 256 / 32;
    const uint8_t* const end = weights + static_cast<size_t>(rows) * row_bytes;
    const auto fetch = [&](const uint8_t* ahead) {
      if (ahead >= end) ahead = next + (ahead - end);
      SLUICE_UNROLL
      for (int64_t line = 0; line < kUnitBytes; line += 64) __builtin_prefetch(ahead + line, 0, 2);
    };
    for (int64_t row = 0; row < rows; row += kVectorRows) {
      Source s = source(weights, row_bytes, row, rows);
      const PackedAct* at[kActs];
      Floats lanes[1][kActs];
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) {
        at[a] = reinterpret_cast<const PackedAct*>(x[a]);
        lanes[0][a] = zero_floats();
      }
      Tile tile;
      const Tile* const tiles[1] = {&tile};
      for (int64_t u = 0; u < units; ++u) {
        for (int r = 0; r < kVectorRows; ++r) fetch(s.row[r] + kPrefetchBytes);
        Format::unpack(s, tile);
        add_products<Format, 1, kActs>(tiles, at, lanes);
        SLUICE_UNROLL
        for (int a = 0; a < kActs; ++a) ++at[a];
        s = s + kUnitBytes;
      }
      if constexpr (kBlocksPerUnit > 1) {
        if (tail > 0) {
          unpack_tail(s, tail, tile);
          add_products<Format, 1, kActs>(tiles, at, lanes);
        }
      }
      put<kActs>(lanes[0], row, rows, out, out_stride);
    }
  }

  // One block of outputs from unpacked rows: kBlockVectors vectors of rows x kActs activations, the
  // first `acts` of which are wanted.
  template <int kActs>
  static void block(const Tile* panel, int64_t units, const uint8_t* const* x, int64_t acts,
                    int64_t row, int64_t rows, float* out, int64_t out_stride) {
    const PackedAct* at[kActs];
    Floats lanes[kBlockVectors][kActs];
    SLUICE_UNROLL
    for (int a = 0; a < kActs; ++a) {
      at[a] = reinterpret_cast<const PackedAct*>(x[a < acts ? a : 0]);
      SLUICE_UNROLL
      for (int v = 0; v < kBlockVectors; ++v) lanes[v][a] = zero_floats();
    }
    const Tile* tiles[kBlockVectors];
    SLUICE_UNROLL
    for (int v = 0; v < kBlockVectors; ++v) tiles[v] = panel + v * units;
    for (int64_t u = 0; u < units; ++u) {
      add_products<Format, kBlockVectors, kActs>(tiles, at, lanes);
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) ++at[a];
      SLUICE_UNROLL
      for (int v = 0; v < kBlockVectors; ++v) ++tiles[v];
    }
    if constexpr (kActs == kBlockActs) {
      alignas(64) float sums[kActs][kBlockVectors * kVectorRows];
      sum_block(lanes, sums);
      constexpr int64_t kRows = kBlockVectors * kVectorRows;
      const bool whole = row + kRows <= rows;
      for (int64_t a = 0; a < kActs && a < acts; ++a) {
        float* to = out + a * out_stride + row;
        if (whole)
          std::memcpy(to, sums[a], sizeof(sums[a]));
        else
          for (int64_t i = 0; i < kRows && row + i < rows; ++i) to[i] = sums[a][i];
      }
    } else {
      SLUICE_UNROLL
      for (int v = 0; v < kBlockVectors; ++v)
        put<kActs>(lanes[v], row + v * kVectorRows, rows, out, out_stride);
    }
  }

  // Rows are unpacked into tiles, once for all activations.
  static void many(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                   const uint8_t* const* x, int64_t acts, float* out, int64_t out_stride,
                   const uint8_t* next) {
    const int64_t whole = n / 256, tail = n % 256 / 32, units = whole + (tail > 0);
    constexpr int64_t kBlockRows = kBlockVectors * kVectorRows;
    static_assert(kPanelRows % kBlockRows == 0);
    constexpr int64_t kTileBytes = sizeof(Tile);
    const int64_t panel_rows =
        units * (kPanelRows / kVectorRows) * kTileBytes <= kPanelBytes ? kPanelRows : kBlockRows;
    Tile panel[kPanelTiles];
    for (int64_t first = 0; first < rows; first += panel_rows) {
      const int64_t end = first + panel_rows < rows ? first + panel_rows : rows;
      const int64_t blocks = (end - first + kBlockRows - 1) / kBlockRows;
      for (int64_t v = 0; v < blocks * kBlockVectors; ++v) {
        Source s = source(weights, row_bytes, first + v * kVectorRows, end);
        Tile* tile = panel + v * units;
        for (int64_t u = 0; u < whole; ++u, s = s + kUnitBytes) Format::unpack(s, tile[u]);
        if constexpr (kBlocksPerUnit > 1) {
          if (tail > 0) unpack_tail(s, tail, tile[whole]);
        }
      }
      // The next panel is fetched while this one is multiplied, a share with every group of
      // activations.
      const uint8_t* ahead = end < rows ? weights + static_cast<size_t>(end) * row_bytes : next;
      const int64_t panel_bytes = (end - first) * static_cast<int64_t>(row_bytes);
      const int64_t share = panel_bytes * kBlockActs / acts + 64;
      const uint8_t* const ahead_end = ahead + panel_bytes;
      int64_t a = 0;
      const auto all_blocks = [&](auto count, int64_t wanted) {
        constexpr int kActs = decltype(count)::value;
        for (int64_t byte = 0; byte < share && ahead < ahead_end; byte += 64, ahead += 64)
          __builtin_prefetch(ahead, 0, 2);
        for (int64_t b = 0; b < blocks; ++b)
          block<kActs>(panel + b * kBlockVectors * units, units, x + a, wanted, b * kBlockRows,
                       end - first, out + a * out_stride + first, out_stride);
        a += wanted;
      };
      while (a + kBlockActs <= acts) all_blocks(Constant<kBlockActs>{}, kBlockActs);
      if (acts - a > 1) all_blocks(Constant<kBlockActs>{}, acts - a);
      if (a < acts) all_blocks(Constant<1>{}, 1);
    }
  }

  static void run(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
                  const uint8_t* const* x, int64_t acts, float* out, int64_t out_stride,
                  const uint8_t* next) {
    if (!next) next = weights + static_cast<size_t>(rows) * row_bytes;
    if (acts > kFewActs && (n + 255) / 256 * kBlockVectors <= kPanelTiles) {
      many(weights, row_bytes, rows, n, x, acts, out, out_stride, next);
      return;
    }
    int64_t a = 0;
    for (; a + 4 <= acts; a += 4)
      few<4>(weights, row_bytes, rows, n, x + a, out + a * out_stride, out_stride, next);
    for (; a + 2 <= acts; a += 2)
      few<2>(weights, row_bytes, rows, n, x + a, out + a * out_stride, out_stride, next);
    if (a < acts)
      few<1>(weights, row_bytes, rows, n, x + a, out + a * out_stride, out_stride, next);
  }
};

}  // namespace
}  // namespace sluice::cpu
