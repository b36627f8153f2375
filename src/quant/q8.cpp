// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "quant/block_format.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

struct Q8_0 {
  using Block = BlockQ8_0;
  static constexpr bool kHasMin = false;

  static void unpack(const Block& block, Unpacked32& u) {
    u.d = half_to_float(block.d);
    std::memcpy(u.q, block.qs, 32);
  }

  // Rounds half away from zero and against the unrounded scale, as files of this type are made.
  static void encode(const float* x, Block& block) {
    float max = 0.0f;
    for (int i = 0; i < 32; ++i) max = std::fabs(x[i]) > max ? std::fabs(x[i]) : max;
    const float d = max / 127.0f;
    const float inverse = d > 0.0f ? 1.0f / d : 0.0f;
    block.d = float_to_half(d);
    for (int i = 0; i < 32; ++i) {
      const float scaled = x[i] * inverse;
      const float away = scaled + std::copysign(0.5f, scaled);
      // The bounds matter for NaN only, whose conversion would be undefined.
      const float bounded = away > -127.5f ? (away < 127.5f ? away : 127.0f) : -127.0f;
      block.qs[i] = static_cast<int8_t>(bounded);  // truncates
    }
  }
};

}  // namespace

constexpr Traits kQ8_0Traits = make_traits<Q8_0>(Type::kQ8_0, "Q8_0");

}  // namespace sluice::quant
