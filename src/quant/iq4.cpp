// SPDX-License-Identifier: Apache-2.0
#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

// 16 bytes hold 32 elements: low nibbles first.
void put_levels(const uint8_t* qs, int8_t* q) {
  for (int l = 0; l < 16; ++l) {
    q[l] = kIq4Levels[qs[l] & 15];
    q[l + 16] = kIq4Levels[qs[l] >> 4];
  }
}

struct IQ4_NL {
  using Block = BlockIQ4_NL;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    put_levels(block.qs, u.q);
  }
};

struct IQ4_XS {
  using Block = BlockIQ4_XS;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked256& u) {
    u.d = half_to_float(block.d);
    for (int j = 0; j < 8; ++j) {
      const int low = (block.scales_l[j / 2] >> (4 * (j % 2))) & 15;
      const int high = (block.scales_h >> (2 * j)) & 3;
      u.scale[2 * j] = u.scale[2 * j + 1] = (low | (high << 4)) - 32;
      put_levels(block.qs + 16 * j, u.q + 32 * j);
    }
  }
};

}  // namespace

constexpr Traits kIQ4_NLTraits = make_traits<IQ4_NL>(Type::kIQ4_NL, "IQ4_NL");
constexpr Traits kIQ4_XSTraits = make_traits<IQ4_XS>(Type::kIQ4_XS, "IQ4_XS");

}  // namespace sluice::quant
