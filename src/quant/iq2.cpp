// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "quant/block_format.h"
#include "quant/codebooks.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

// x = (d / 8) * (2 s + 1) * sign * magnitude, with integers up to the last product.

// signs: bit i set makes element i negative.
void put_point(uint64_t point, uint32_t signs, int8_t* q) {
  for (int i = 0; i < 8; ++i) {
    const int magnitude = static_cast<int>((point >> (8 * i)) & 255);
    q[i] = static_cast<int8_t>((signs >> i) & 1 ? -magnitude : magnitude);
  }
}

// One nibble per 16 elements.
void unpack_nibble_scales(const uint8_t* scales, int32_t* scale) {
  for (int g = 0; g < 16; ++g) scale[g] = 2 * ((scales[g / 2] >> (4 * (g % 2))) & 15) + 1;
}

struct IQ2_XXS {
  using Block = BlockIQ2_XXS;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d) * 0.125f;
    for (int j = 0; j < 8; ++j) {
      uint32_t word;
      std::memcpy(&word, block.groups[j].signs_scale, 4);
      u.scale[2 * j] = u.scale[2 * j + 1] = static_cast<int32_t>(2 * (word >> 28) + 1);
      for (int l = 0; l < 4; ++l) {
        put_point(kGridIQ2_XXS.point[block.groups[j].index[l]], sign_byte((word >> (7 * l)) & 127),
                  u.q + 32 * j + 8 * l);
      }
    }
  }
};

struct IQ2_XS {
  using Block = BlockIQ2_XS;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d) * 0.125f;
    unpack_nibble_scales(block.scales, u.scale);
    for (int p = 0; p < 32; ++p) {
      uint16_t word;
      std::memcpy(&word, block.qs + 2 * p, 2);
      put_point(kGridIQ2_XS.point[word & 511], sign_byte(word >> 9), u.q + 8 * p);
    }
  }
};

struct IQ2_S {
  using Block = BlockIQ2_S;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d) * 0.125f;
    unpack_nibble_scales(block.scales, u.scale);
    for (int p = 0; p < 32; ++p) {
      const int high = (block.qh[p / 4] >> (2 * (p % 4))) & 3;
      put_point(kGridIQ2_S.point[block.qs[p] | (high << 8)], block.signs[p], u.q + 8 * p);
    }
  }
};

}  // namespace

constexpr Traits kIQ2_XXSTraits = make_traits<IQ2_XXS>(Type::kIQ2_XXS, "IQ2_XXS");
constexpr Traits kIQ2_XSTraits = make_traits<IQ2_XS>(Type::kIQ2_XS, "IQ2_XS");
constexpr Traits kIQ2_STraits = make_traits<IQ2_S>(Type::kIQ2_S, "IQ2_S");

}  // namespace sluice::quant
