// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "quant/block_format.h"
#include "quant/codebooks.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

// signs: bit i set makes element i negative.
void put_point(uint32_t point, uint32_t signs, int8_t* q) {
  for (int i = 0; i < 4; ++i) {
    const int magnitude = static_cast<int>((point >> (8 * i)) & 255);
    q[i] = static_cast<int8_t>((signs >> i) & 1 ? -magnitude : magnitude);
  }
}

// x = (d / 4) * (2 s + 1) * sign * magnitude
struct IQ3_XXS {
  using Block = BlockIQ3_XXS;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d) * 0.25f;
    for (int j = 0; j < 8; ++j) {
      uint32_t word;
      std::memcpy(&word, block.signs_scale[j], 4);
      u.scale[2 * j] = u.scale[2 * j + 1] = static_cast<int32_t>(2 * (word >> 28) + 1);
      for (int l = 0; l < 4; ++l) {
        const uint32_t signs = sign_byte((word >> (7 * l)) & 127);
        const uint8_t* index = block.qs + 8 * j + 2 * l;
        put_point(kGridIQ3_XXS.point[index[0]], signs, u.q + 32 * j + 8 * l);
        put_point(kGridIQ3_XXS.point[index[1]], signs >> 4, u.q + 32 * j + 8 * l + 4);
      }
    }
  }
};

// x = d * (2 s + 1) * sign * magnitude
struct IQ3_S {
  using Block = BlockIQ3_S;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d);
    for (int g = 0; g < 16; ++g) {
      u.scale[g] = 2 * ((block.scales[g / 4] >> (4 * ((g / 2) % 2))) & 15) + 1;
    }
    for (int p = 0; p < 64; ++p) {
      const int high = (block.qh[p / 8] >> (p % 8)) & 1;
      put_point(kGridIQ3_S.point[block.qs[p] | (high << 8)], block.signs[p / 2] >> (4 * (p % 2)),
                u.q + 4 * p);
    }
  }
};

}  // namespace

constexpr Traits kIQ3_XXSTraits = make_traits<IQ3_XXS>(Type::kIQ3_XXS, "IQ3_XXS");
constexpr Traits kIQ3_STraits = make_traits<IQ3_S>(Type::kIQ3_S, "IQ3_S");

}  // namespace sluice::quant
