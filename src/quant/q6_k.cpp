// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"

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
};

}  // namespace

constexpr Traits kQ6_KTraits = make_traits<Q6_K>(Type::kQ6_K, "Q6_K");

}  // namespace sluice::quant
