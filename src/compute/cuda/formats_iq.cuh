// SPDX-License-Identifier: Apache-2.0
// Unpacking of the formats whose magnitudes come from grids: IQ2 and IQ3. As in formats.cuh.
#pragma once

#include "compute/cuda/formats.cuh"

namespace sluice::cuda {

// Half h of group j in the formats with a nibble of scale per 16 elements.
__device__ __forceinline__ void nibble_scales(float d, uint32_t byte, Piece& p) {
  p.scale[0] = d * static_cast<float>(2 * (byte & 15) + 1);
  p.scale[1] = d * static_cast<float>(2 * (byte >> 4 & 15) + 1);
}

__device__ __forceinline__ void put_point(uint64_t point, uint32_t signs, uint32_t* w) {
  w[0] = with_signs(static_cast<uint32_t>(point), signs);
  w[1] = with_signs(static_cast<uint32_t>(point >> 32), signs >> 4);
}

struct IQ2_XXS : GroupFormat {
  static constexpr int kId = 16, kBytes = 66, kOffset = 0;
  static constexpr bool kHasMin = false, kPairs = false;
  struct Raw {
    uint2 group;
    uint32_t d;
  };
  __device__ static Raw load(const uint8_t* b, int j) { return {load_8(b + 2 + 8 * j), load_2(b)}; }
  __device__ static void unpack(const Raw& r, int, const Grids* grids, Piece& p) {
#pragma unroll
    for (int l = 0; l < 4; ++l)
      put_point(__ldg(grids->iq2_xxs + byte_of(r.group.x, l)), even_signs(r.group.y >> 7 * l & 127),
                p.w + 2 * l);
    p.scale[0] = p.scale[1] =
        half_bits(r.d) * 0.125f * static_cast<float>(2 * (r.group.y >> 28) + 1);
  }
};

struct IQ2_XS : GroupFormat {
  static constexpr int kId = 17, kBytes = 74, kOffset = 0;
  static constexpr bool kHasMin = false, kPairs = true;
  struct Raw {
    uint2 qs;
    uint32_t d, scales;
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_8(b + 2 + 8 * j), load_2(b), __ldg(b + 66 + j)};
  }
  __device__ static void unpack(const Raw& r, int, const Grids* grids, Piece& p) {
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      const uint32_t word = (l < 2 ? r.qs.x : r.qs.y) >> 16 * (l % 2) & 0xffff;
      put_point(__ldg(grids->iq2_xs + (word & 511)), even_signs(word >> 9), p.w + 2 * l);
    }
    nibble_scales(half_bits(r.d) * 0.125f, r.scales, p);
  }
};

struct IQ2_S : GroupFormat {
  static constexpr int kId = 22, kBytes = 82, kOffset = 0;
  static constexpr bool kHasMin = false, kPairs = true;
  struct Raw {
    uint32_t d, qs, signs, high, scales;
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_2(b), load_4(b + 2 + 4 * j), load_4(b + 34 + 4 * j), __ldg(b + 66 + j),
            __ldg(b + 74 + j)};
  }
  __device__ static void unpack(const Raw& r, int, const Grids* grids, Piece& p) {
#pragma unroll
    for (int l = 0; l < 4; ++l)
      put_point(__ldg(grids->iq2_s + (byte_of(r.qs, l) | (r.high >> 2 * l & 3) << 8)),
                byte_of(r.signs, l), p.w + 2 * l);
    nibble_scales(half_bits(r.d) * 0.125f, r.scales, p);
  }
};

struct IQ3_XXS : GroupFormat {
  static constexpr int kId = 18, kBytes = 98, kOffset = 0;
  static constexpr bool kHasMin = false, kPairs = false;
  struct Raw {
    uint2 qs;
    uint32_t d, signs;
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_8(b + 2 + 8 * j), load_2(b), load_4(b + 66 + 4 * j)};
  }
  __device__ static void unpack(const Raw& r, int, const Grids* grids, Piece& p) {
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      const uint32_t pair = (l < 2 ? r.qs.x : r.qs.y) >> 16 * (l % 2);
      const uint32_t signs = even_signs(r.signs >> 7 * l & 127);
      p.w[2 * l] = with_signs(__ldg(grids->iq3_xxs + (pair & 255)), signs);
      p.w[2 * l + 1] = with_signs(__ldg(grids->iq3_xxs + (pair >> 8 & 255)), signs >> 4);
    }
    p.scale[0] = p.scale[1] = half_bits(r.d) * 0.25f * static_cast<float>(2 * (r.signs >> 28) + 1);
  }
};

struct IQ3_S : GroupFormat {
  static constexpr int kId = 21, kBytes = 110, kOffset = 0;
  static constexpr bool kHasMin = false, kPairs = false;
  struct Raw {
    uint2 qs;
    uint32_t d, signs, high, scale;
  };
  __device__ static Raw load(const uint8_t* b, int j) {
    return {load_8(b + 2 + 8 * j), load_2(b), load_4(b + 74 + 4 * j), __ldg(b + 66 + j),
            static_cast<uint32_t>(__ldg(b + 106 + j / 2)) >> 4 * (j % 2) & 15};
  }
  __device__ static void unpack(const Raw& r, int, const Grids* grids, Piece& p) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t low = byte_of(i < 4 ? r.qs.x : r.qs.y, i % 4);
      p.w[i] = with_signs(__ldg(grids->iq3_s + (low | (r.high >> i & 1) << 8)), r.signs >> 4 * i);
    }
    p.scale[0] = p.scale[1] = half_bits(r.d) * static_cast<float>(2 * r.scale + 1);
  }
};

}  // namespace sluice::cuda
