// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cstring>
#include <limits>

#include "quant/half.h"
#include "quant/quant.h"

namespace sluice::quant {
namespace {

// Below this 127 / max is not finite. Such activations are zero for every purpose.
constexpr float kSmallest = 1e-36f;

void quantize_32(const float* x, float* scale, int8_t* q) {
  // The bits of |x| order like the values, and a NaN is above infinity: one maximum finds all
  // cases.
  int32_t max_bits = 0;
  for (int i = 0; i < 32; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    max_bits = bits > max_bits ? bits : max_bits;
  }
  const float max = std::bit_cast<float>(max_bits);
  if (!(max >= kSmallest && max <= std::numeric_limits<float>::max())) {
    const bool tiny = max < kSmallest;
    *scale = tiny ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    std::memset(q, 0, 32);
    return;
  }
  *scale = max / 127.0f;
  const float inverse = 127.0f / max;
  for (int i = 0; i < 32; ++i) q[i] = static_cast<int8_t>(round_to_int(x[i] * inverse));
}

}  // namespace

void quantize_activations(const float* x, int64_t n, ActBlock* out) {
  for (int64_t b = 0; b < act_blocks(n); ++b) {
    ActBlock& block = out[b];
    const int64_t left = (n - b * kActBlock) / 32;
    const int full = static_cast<int>(left < 8 ? left : 8);
    for (int j = 0; j < full; ++j) {
      quantize_32(x + b * kActBlock + 32 * j, &block.scale[j], block.q + 32 * j);
    }
    for (int j = full; j < 8; ++j) {
      block.scale[j] = 0.0f;
      std::memset(block.q + 32 * j, 0, 32);
    }
    for (int g = 0; g < 16; ++g) {
      int32_t sum = 0;
      for (int i = 0; i < 16; ++i) sum += block.q[16 * g + i];
      block.sum[g] = static_cast<int16_t>(sum);
    }
  }
}

}  // namespace sluice::quant
