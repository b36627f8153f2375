// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "quant/scale_search.h"

namespace sluice::quant {
namespace {

struct Q2_K {
  using Block = BlockQ2_K;
  static constexpr bool kHasMin = true;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d);
    u.dmin = half_to_float(block.dmin);
    for (int g = 0; g < 16; ++g) {
      u.scale[g] = block.scales[g] & 15;
      u.min[g] = block.scales[g] >> 4;
    }
    for (int h = 0; h < 2; ++h) {
      for (int k = 0; k < 4; ++k) {
        for (int l = 0; l < 32; ++l) {
          u.q[128 * h + 32 * k + l] = static_cast<int8_t>((block.qs[32 * h + l] >> (2 * k)) & 3);
        }
      }
    }
  }

  static void encode(const float* x, Block& block) {
    Unpacked256 u;
    encode_q2_levels(x, u);
    block.d = float_to_half(u.d);
    block.dmin = float_to_half(u.dmin);
    for (int g = 0; g < 16; ++g) {
      block.scales[g] = static_cast<uint8_t>(u.scale[g] | (u.min[g] << 4));
    }
    for (int h = 0; h < 2; ++h) {
      for (int l = 0; l < 32; ++l) {
        const int8_t* q = u.q + 128 * h + l;
        block.qs[32 * h + l] =
            static_cast<uint8_t>(q[0] | (q[32] << 2) | (q[64] << 4) | (q[96] << 6));
      }
    }
  }
};

}  // namespace

constexpr Traits kQ2_KTraits = make_traits<Q2_K>(Type::kQ2_K, "Q2_K");

}  // namespace sluice::quant
