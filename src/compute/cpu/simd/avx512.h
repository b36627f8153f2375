// SPDX-License-Identifier: Apache-2.0
// AVX-512 (F, BW, VL, DQ) with VNNI: two rows of weights per vector.
#pragma once

#include "compute/cpu/simd/vectors_512.h"

namespace sluice::cpu {
namespace {

// Shape of the blocks of outputs in products with many activations: vectors of rows x activations.
constexpr int kBlockVectors = 2;
constexpr int kBlockActs = 4;

// The product takes unsigned weights up to 255; see avx2.h.
constexpr bool kAnyByte = true;
constexpr int kSignedBias = 128;

SLUICE_INLINE Ints dot_add(Ints sum, Ints w, Ints x) {
  return _mm512_dpbusd_epi32(sum, w, x);
}

}  // namespace
}  // namespace sluice::cpu

#include "compute/cpu/simd/dot_chains.h"
