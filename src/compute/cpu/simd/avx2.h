// SPDX-License-Identifier: Apache-2.0
// AVX2: int8 products through pairs in int16, which must not overflow.
#pragma once

#include "compute/cpu/simd/vectors_256.h"

namespace sluice::cpu {
namespace {

// Whether dot() takes weights up to 255.
constexpr bool kAnyByte = false;
// What formats with signed weights add to them for dot() (and take back through the sums).
constexpr int kSignedBias = 0;

// start + for each dword lane the products of its bytes, summed over kCount vectors. w: unsigned
// bytes up to kMax, or signed ones; x: kCount * 32 bytes in -127..127.
template <int kMax, bool kSigned, int kCount>
SLUICE_INLINE Ints dot(const Ints* w, const int8_t* x, Ints start) {
  // As many vectors are added in int16 as cannot overflow.
  constexpr int kStep = 32767 / (2 * 127 * kMax);
  static_assert(kStep >= 1, "one product of pairs must fit in int16");
  const Ints ones = _mm256_set1_epi16(1);
  Ints sum = start, pairs = zero_ints();
  SLUICE_UNROLL
  for (int k = 0; k < kCount; ++k) {
    const Ints values = load_256(x + 32 * k);
    Ints product;
    if constexpr (kSigned)
      product = _mm256_maddubs_epi16(_mm256_abs_epi8(w[k]), _mm256_sign_epi8(values, w[k]));
    else
      product = _mm256_maddubs_epi16(w[k], values);
    pairs = k % kStep == 0 ? product : _mm256_add_epi16(pairs, product);
    if (k % kStep == kStep - 1 || k == kCount - 1)
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return sum;
}

}  // namespace
}  // namespace sluice::cpu
