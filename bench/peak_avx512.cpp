// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "peak.h"

namespace sluice::bench {

int64_t int8_products_avx512(int64_t rounds) {
  const __m512i w = _mm512_set1_epi8(3);
  __m512i x = _mm512_set1_epi8(5);
  // Ten chains: the latency is five cycles, two start per cycle.
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0,
          s7 = s0, s8 = s0, s9 = s0;
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = _mm512_dpbusd_epi32(s0, w, x);
    s1 = _mm512_dpbusd_epi32(s1, w, x);
    s2 = _mm512_dpbusd_epi32(s2, w, x);
    s3 = _mm512_dpbusd_epi32(s3, w, x);
    s4 = _mm512_dpbusd_epi32(s4, w, x);
    s5 = _mm512_dpbusd_epi32(s5, w, x);
    s6 = _mm512_dpbusd_epi32(s6, w, x);
    s7 = _mm512_dpbusd_epi32(s7, w, x);
    s8 = _mm512_dpbusd_epi32(s8, w, x);
    s9 = _mm512_dpbusd_epi32(s9, w, x);
    __asm__ volatile("" : "+v"(x));
  }
  __asm__ volatile("" ::"v"(s0), "v"(s1), "v"(s2), "v"(s3), "v"(s4), "v"(s5), "v"(s6), "v"(s7),
                   "v"(s8), "v"(s9));
  return rounds * 10 * 64 * 2;
}

}  // namespace sluice::bench
