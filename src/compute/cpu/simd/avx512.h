// SPDX-License-Identifier: Apache-2.0
// AVX-512 (F, BW, VL, DQ) with VNNI: two rows of weights per vector.
#pragma once

#include "compute/cpu/simd/vectors_512.h"

namespace sluice::cpu {
namespace {

constexpr bool kAnyByte = true;
constexpr int kSignedBias = 128;

SLUICE_INLINE Ints dot_add(Ints sum, Ints w, const int8_t* x) {
  return _mm512_dpbusd_epi32(sum, w, _mm512_broadcast_i64x4(load_256(x)));
}

template <int kMax, bool kSigned, int kCount>
SLUICE_INLINE Ints dot(const Ints* w, const int8_t* x, Ints start) {
  // Two chains of four for a shorter latency.
  Ints sum = start;
  SLUICE_UNROLL
  for (int k = 0; k < 4; ++k) sum = dot_add(sum, w[k], x + 32 * k);
  if constexpr (kCount == 8) {
    Ints second = zero_ints();
    SLUICE_UNROLL
    for (int k = 4; k < 8; ++k) second = dot_add(second, w[k], x + 32 * k);
    sum = add_32(sum, second);
  }
  return sum;
}

}  // namespace
}  // namespace sluice::cpu
