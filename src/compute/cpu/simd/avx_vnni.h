// SPDX-License-Identifier: Apache-2.0
// AVX-VNNI: 256-bit vectors, sums of four byte products in one instruction.
#pragma once

#include "compute/cpu/simd/vectors_256.h"

namespace sluice::cpu {
namespace {

constexpr bool kAnyByte = true;
constexpr int kSignedBias = 128;

SLUICE_INLINE Ints dot_add(Ints sum, Ints w, const int8_t* x) {
#if defined(SLUICE_VNNI_EVEX)
  // The same instruction as AVX-512 encodes it: tests cover this level on machines without
  // AVX-VNNI.
  return _mm256_dpbusd_epi32(sum, w, load_256(x));
#else
  return _mm256_dpbusd_avx_epi32(sum, w, load_256(x));
#endif
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
