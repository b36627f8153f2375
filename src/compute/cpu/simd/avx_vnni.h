// SPDX-License-Identifier: Apache-2.0
// AVX-VNNI: 256-bit vectors, sums of four byte products in one instruction.
#pragma once

#include "compute/cpu/simd/vectors_256.h"

namespace sluice::cpu {
namespace {

// See avx512.h.
constexpr int kBlockVectors = 2;
constexpr int kBlockActs = 4;

// The product takes unsigned weights up to 255; see avx2.h.
constexpr bool kAnyByte = true;
constexpr int kSignedBias = 128;

SLUICE_INLINE Ints dot_add(Ints sum, Ints w, Ints x) {
#if defined(SLUICE_VNNI_EVEX)
  // The same instruction as AVX-512 encodes it: tests cover this level on machines without
  // AVX-VNNI.
  return _mm256_dpbusd_epi32(sum, w, x);
#else
  return _mm256_dpbusd_avx_epi32(sum, w, x);
#endif
}

}  // namespace
}  // namespace sluice::cpu

#include "compute/cpu/simd/dot_chains.h"
