// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "peak.h"

namespace sluice::bench {

int64_t int8_products_avx_vnni(int64_t rounds) {
  const __m256i w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(5);
  // Ten chains: the latency is four or five cycles, two start per cycle at most.
  __m256i sum[10];
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (__m256i& s : sum) {
      s = _mm256_dpbusd_avx_epi32(s, w, x);
      __asm__ volatile("" : "+x"(s));  // equal chains would be computed once
    }
  }
  return rounds * 10 * 32 * 2;
}

}  // namespace sluice::bench
