// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "peak.h"

namespace sluice::bench {

int64_t int8_products_avx512(int64_t rounds) {
  const __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
  // Ten chains: the latency is four or five cycles, two start per cycle at most.
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0,
          s7 = s0, s8 = s0, s9 = s0;
  const auto add = [&](__m512i& sum) {
    sum = _mm512_dpbusd_epi32(sum, w, x);
    __asm__ volatile("" : "+v"(sum));  // equal chains would be computed once
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
  return rounds * 10 * 64 * 2;
}

int64_t float_products_avx512(int64_t rounds) {
  const __m512 w = _mm512_set1_ps(0.5f), x = _mm512_set1_ps(0.25f);
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0,
         s8 = s0, s9 = s0;
  const auto add = [&](__m512& sum) {
    sum = _mm512_fmadd_ps(w, x, sum);
    __asm__ volatile("" : "+v"(sum));  // equal chains would be computed once
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
  return rounds * 10 * 16 * 2;
}

}  // namespace sluice::bench
