// SPDX-License-Identifier: Apache-2.0
// AVX2: int8 products through pairs in int16, which must not overflow.
#pragma once

#include "compute/cpu/simd/vectors_256.h"

namespace sluice::cpu {
namespace {

// See avx512.h.
constexpr int kBlockVectors = 2;
constexpr int kBlockActs = 2;

// Whether products take weights up to 255.
constexpr bool kAnyByte = false;
// What formats with signed weights add to them (and take back through the sums).
constexpr int kSignedBias = 0;

// sum[v][a] += for each dword lane the products of the bytes of w[v][k] and x[a]->q[k], k = first
// .. first + kCount - 1. w: unsigned bytes up to kMax, or signed ones; x in -127..127.
template <int kMax, bool kSigned, int kCount, int kVectors, int kActs>
SLUICE_INLINE void dot_block(const Ints* const* w, const PackedAct* const* x, int first,
                             Ints (&sum)[kVectors][kActs]) {
  // As many vectors are added in int16 as cannot overflow.
  constexpr int kStep = 32767 / (2 * 127 * kMax);
  static_assert(kStep >= 1, "one product of pairs must fit in int16");
  const Ints ones = _mm256_set1_epi16(1);
  Ints pairs[kVectors][kActs];
  SLUICE_UNROLL
  for (int k = 0; k < kCount; ++k) {
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Ints weights = w[v][first + k];
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) {
        const Ints values = each_row(x[a]->q[first + k]);
        Ints product;
        if constexpr (kSigned)
          product =
              _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(values, weights));
        else
          product = _mm256_maddubs_epi16(weights, values);
        pairs[v][a] = k % kStep == 0 ? product : _mm256_add_epi16(pairs[v][a], product);
        if (k % kStep == kStep - 1 || k == kCount - 1)
          sum[v][a] = _mm256_add_epi32(sum[v][a], _mm256_madd_epi16(pairs[v][a], ones));
      }
    }
  }
}

}  // namespace
}  // namespace sluice::cpu
