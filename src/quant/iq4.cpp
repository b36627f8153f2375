// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "quant/scale_search.h"

namespace sluice::quant {
namespace {

// 16 bytes hold 32 elements: low nibbles first.
void put_levels(const uint8_t* qs, int8_t* q) {
  for (int l = 0; l < 16; ++l) {
    q[l] = kIq4Levels[qs[l] & 15];
    q[l + 16] = kIq4Levels[qs[l] >> 4];
  }
}

// Level to nibble.
constexpr auto kNibbles = [] {
  std::array<uint8_t, 256> table{};
  for (int k = 0; k < 16; ++k)
    table[static_cast<size_t>(kIq4Levels[k] + 128)] = static_cast<uint8_t>(k);
  return table;
}();

void pack_levels(const int8_t* q, uint8_t* qs) {
  for (int l = 0; l < 16; ++l) {
    const int low = kNibbles[static_cast<size_t>(q[l] + 128)];
    const int high = kNibbles[static_cast<size_t>(q[l + 16] + 128)];
    qs[l] = static_cast<uint8_t>(low | (high << 4));
  }
}

struct IQ4_NL {
  using Block = BlockIQ4_NL;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    put_levels(block.qs, u.q);
  }

  static void encode(const float* x, Block& block) {
    Unpacked32 u;
    encode_iq4_levels(x, u);
    block.d = float_to_half(u.d);
    pack_levels(u.q, block.qs);
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

  static void encode(const float* x, Block& block) {
    Unpacked256 u;
    encode_iq4_levels(x, u);
    block = Block{};
    block.d = float_to_half(u.d);
    int high = 0;
    for (int j = 0; j < 8; ++j) {
      const int raw = u.scale[2 * j] + 32;
      block.scales_l[j / 2] |= static_cast<uint8_t>((raw & 15) << (4 * (j % 2)));
      high |= (raw >> 4) << (2 * j);
      pack_levels(u.q + 32 * j, block.qs + 16 * j);
    }
    block.scales_h = static_cast<uint16_t>(high);
  }
};

}  // namespace

constexpr Traits kIQ4_NLTraits = make_traits<IQ4_NL>(Type::kIQ4_NL, "IQ4_NL");
constexpr Traits kIQ4_XSTraits = make_traits<IQ4_XS>(Type::kIQ4_XS, "IQ4_XS");

}  // namespace sluice::quant
