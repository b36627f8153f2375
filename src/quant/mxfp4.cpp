// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "quant/block_format.h"
#include "quant/formats.h"

namespace sluice::quant {
namespace {

// 2^(e - 128), which is subnormal for e = 0 and 1.
float exponent_scale(uint8_t e) {
  if (e < 2) return std::bit_cast<float>(uint32_t{0x00200000} << e);
  return std::bit_cast<float>(static_cast<uint32_t>(e - 1) << 23);
}

struct MXFP4 {
  using Block = BlockMXFP4;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = exponent_scale(block.e);
    for (int l = 0; l < 16; ++l) {
      u.q[l] = kFp4Levels[block.qs[l] & 15];
      u.q[l + 16] = kFp4Levels[block.qs[l] >> 4];
    }
  }
};

}  // namespace

constexpr Traits kMXFP4Traits = make_traits<MXFP4>(Type::kMXFP4, "MXFP4");

}  // namespace sluice::quant
