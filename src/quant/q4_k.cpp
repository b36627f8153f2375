// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "quant/scale_search.h"

namespace sluice::quant {
namespace {

struct Q4_K {
  using Block = BlockQ4_K;
  static constexpr bool kHasMin = true;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d);
    u.dmin = half_to_float(block.dmin);
    uint8_t scale[8], min[8];
    unpack_six_bit(block.scales, scale, min);
    for (int g = 0; g < 16; ++g) {
      u.scale[g] = scale[g / 2];
      u.min[g] = min[g / 2];
    }
    for (int c = 0; c < 4; ++c) {
      for (int l = 0; l < 32; ++l) {
        const int byte = block.qs[32 * c + l];
        u.q[64 * c + l] = static_cast<int8_t>(byte & 15);
        u.q[64 * c + 32 + l] = static_cast<int8_t>(byte >> 4);
      }
    }
  }

  static void encode(const float* x, Block& block) {
    Unpacked256 u;
    encode_q4_levels(x, u);
    block.d = float_to_half(u.d);
    block.dmin = float_to_half(u.dmin);
    pack_six_bit(u, block.scales);
    for (int c = 0; c < 4; ++c) {
      for (int l = 0; l < 32; ++l) {
        const int8_t* q = u.q + 64 * c + l;
        block.qs[32 * c + l] = static_cast<uint8_t>(q[0] | (q[32] << 4));
      }
    }
  }
};

}  // namespace

constexpr Traits kQ4_KTraits = make_traits<Q4_K>(Type::kQ4_K, "Q4_K");

}  // namespace sluice::quant
