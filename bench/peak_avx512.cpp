// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "peak.h"

namespace sluice::bench {

int64_t int8_products_avx512(int64_t rounds) {
  const __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
  // Ten chains: the latency is four or five cycles, two start per cycle at most.
  __m512i sum[10];
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (__m512i& s : sum) {
      s = _mm512_dpbusd_epi32(s, w, x);
      __asm__ volatile("" : "+v"(s));  // equal chains would be computed once
    }
  }
  return rounds * 10 * 64 * 2;
}

}  // namespace sluice::bench
