// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "peak.h"

namespace sluice::bench {

int64_t int8_products_avx_vnni(int64_t rounds) {
  const __m256i w = _mm256_set1_epi8(3);
  __m256i x = _mm256_set1_epi8(5);
  // Ten chains: the latency is five cycles, two start per cycle.
  __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0,
          s7 = s0, s8 = s0, s9 = s0;
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = _mm256_dpbusd_avx_epi32(s0, w, x);
    s1 = _mm256_dpbusd_avx_epi32(s1, w, x);
    s2 = _mm256_dpbusd_avx_epi32(s2, w, x);
    s3 = _mm256_dpbusd_avx_epi32(s3, w, x);
    s4 = _mm256_dpbusd_avx_epi32(s4, w, x);
    s5 = _mm256_dpbusd_avx_epi32(s5, w, x);
    s6 = _mm256_dpbusd_avx_epi32(s6, w, x);
    s7 = _mm256_dpbusd_avx_epi32(s7, w, x);
    s8 = _mm256_dpbusd_avx_epi32(s8, w, x);
    s9 = _mm256_dpbusd_avx_epi32(s9, w, x);
    __asm__ volatile("" : "+x"(x));
  }
  __asm__ volatile("" ::"x"(s0), "x"(s1), "x"(s2), "x"(s3), "x"(s4), "x"(s5), "x"(s6), "x"(s7),
                   "x"(s8), "x"(s9));
  return rounds * 10 * 32 * 2;
}

}  // namespace sluice::bench
