// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "quant/scale_search.h"

namespace sluice::quant {
namespace {

struct Q5_K {
  using Block = BlockQ5_K;
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
        const int high = block.qh[l] >> (2 * c);
        u.q[64 * c + l] = static_cast<int8_t>((byte & 15) | ((high & 1) << 4));
        u.q[64 * c + 32 + l] = static_cast<int8_t>((byte >> 4) | ((high & 2) << 3));
      }
    }
  }

  static void encode(const float* x, Block& block) {
    Unpacked256 u;
    encode_q5_levels(x, u);
    block = Block{};
    block.d = float_to_half(u.d);
    block.dmin = float_to_half(u.dmin);
    pack_six_bit(u, block.scales);
    for (int c = 0; c < 4; ++c) {
      for (int l = 0; l < 32; ++l) {
        const int8_t* q = u.q + 64 * c + l;
        block.qs[32 * c + l] = static_cast<uint8_t>((q[0] & 15) | ((q[32] & 15) << 4));
        block.qh[l] |= static_cast<uint8_t>(((q[0] >> 4) | ((q[32] >> 4) << 1)) << (2 * c));
      }
    }
  }
};

}  // namespace

constexpr Traits kQ5_KTraits = make_traits<Q5_K>(Type::kQ5_K, "Q5_K");

}  // namespace sluice::quant
