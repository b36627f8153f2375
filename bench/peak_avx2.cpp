// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "peak.h"

namespace sluice::bench {

int64_t int8_products_avx2(int64_t rounds) {
  __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  __m256i w = _mm256_set1_epi8(3);
  const __m256i x = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  const auto add = [&](__m256i& sum) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
    __asm__ volatile("" : "+x"(w));
  };
  for (int64_t i = 0; i < rounds; ++i) {
    add(sum0);
    add(sum1);
    add(sum2);
    add(sum3);
  }
  __asm__ volatile("" ::"x"(sum0), "x"(sum1), "x"(sum2), "x"(sum3));
  return rounds * 4 * 32 * 2;
}

void read_avx2(const void* data, size_t bytes) {
  const auto* p = static_cast<const __m256i*>(data);
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i < bytes / 32; i += 8) {
    __m256i part = _mm256_loadu_si256(p + i);
    for (size_t k = 1; k < 8; ++k) part = _mm256_xor_si256(part, _mm256_loadu_si256(p + i + k));
    sum = _mm256_xor_si256(sum, part);
  }
  __asm__ volatile("" ::"x"(sum));
}

int64_t float_products_avx2(int64_t rounds) {
  const __m256 w = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(0.25f);
  __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0,
         s8 = s0, s9 = s0;
  const auto add = [&](__m256& sum) {
    sum = _mm256_fmadd_ps(w, x, sum);
    __asm__ volatile("" : "+x"(sum));  // equal chains would be computed once
  };
  for (int64_t i = 0; i < rounds; ++i) {
    add(s0);
    add(s1);
    add(s2);
    add(s3);
    add(s4);
    add(s5);
    add(s6);
    add(s7);
    add(s8);
    add(s9);
  }
  return rounds * 10 * 8 * 2;
}

}  // namespace sluice::bench
