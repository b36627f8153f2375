// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "quant/scale_search.h"

namespace sluice::quant {
namespace {

struct Q3_K {
  using Block = BlockQ3_K;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d);
    int8_t scale[16];
    unpack_q3_k_scales(block.scales, scale);
    for (int g = 0; g < 16; ++g) u.scale[g] = scale[g];
    for (int j = 0; j < 8; ++j) {  // 32 elements each
      const uint8_t* qs = block.qs + 32 * (j / 4);
      for (int l = 0; l < 32; ++l) {
        const int low = (qs[l] >> (2 * (j % 4))) & 3;
        const int high = (block.hmask[l] >> j) & 1;
        u.q[32 * j + l] = static_cast<int8_t>((low | (high << 2)) - 4);
      }
    }
  }

  static void encode(const float* x, Block& block) {
    Unpacked256 u;
    encode_q3_levels(x, u);
    block = Block{};
    block.d = float_to_half(u.d);
    for (int g = 0; g < 16; ++g) {
      const int raw = u.scale[g] + 32;
      block.scales[g % 8] |= static_cast<uint8_t>((raw & 15) << (4 * (g / 8)));
      block.scales[8 + g % 4] |= static_cast<uint8_t>((raw >> 4) << (2 * (g / 4)));
    }
    for (int j = 0; j < 8; ++j) {
      uint8_t* qs = block.qs + 32 * (j / 4);
      for (int l = 0; l < 32; ++l) {
        const int raw = u.q[32 * j + l] + 4;
        qs[l] |= static_cast<uint8_t>((raw & 3) << (2 * (j % 4)));
        block.hmask[l] |= static_cast<uint8_t>((raw >> 2) << j);
      }
    }
  }
};

}  // namespace

constexpr Traits kQ3_KTraits = make_traits<Q3_K>(Type::kQ3_K, "Q3_K");

}  // namespace sluice::quant
