// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "quant/scale_search.h"

namespace sluice::quant {
namespace {

struct Q6_K {
  using Block = BlockQ6_K;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d);
    for (int g = 0; g < 16; ++g) u.scale[g] = block.scales[g];
    for (int h = 0; h < 2; ++h) {
      const uint8_t* ql = block.ql + 64 * h;
      const uint8_t* qh = block.qh + 32 * h;
      int8_t* q = u.q + 128 * h;
      for (int l = 0; l < 32; ++l) {
        q[l] = static_cast<int8_t>(((ql[l] & 15) | ((qh[l] & 3) << 4)) - 32);
        q[l + 32] = static_cast<int8_t>(((ql[l + 32] & 15) | (((qh[l] >> 2) & 3) << 4)) - 32);
        q[l + 64] = static_cast<int8_t>(((ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4)) - 32);
        q[l + 96] = static_cast<int8_t>(((ql[l + 32] >> 4) | ((qh[l] >> 6) << 4)) - 32);
      }
    }
  }

  static void encode(const float* x, Block& block) {
    Unpacked256 u;
    encode_q6_levels(x, u);
    block.d = float_to_half(u.d);
    for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<int8_t>(u.scale[g]);
    for (int h = 0; h < 2; ++h) {
      for (int l = 0; l < 32; ++l) {
        int raw[4];
        for (int k = 0; k < 4; ++k) raw[k] = u.q[128 * h + 32 * k + l] + 32;
        block.ql[64 * h + l] = static_cast<uint8_t>((raw[0] & 15) | ((raw[2] & 15) << 4));
        block.ql[64 * h + 32 + l] = static_cast<uint8_t>((raw[1] & 15) | ((raw[3] & 15) << 4));
        block.qh[32 * h + l] = static_cast<uint8_t>((raw[0] >> 4) | ((raw[1] >> 4) << 2) |
                                                    ((raw[2] >> 4) << 4) | ((raw[3] >> 4) << 6));
      }
    }
  }
};

}  // namespace

constexpr Traits kQ6_KTraits = make_traits<Q6_K>(Type::kQ6_K, "Q6_K");

}  // namespace sluice::quant
