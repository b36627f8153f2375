// SPDX-License-Identifier: Apache-2.0
// Integer products with an instruction that adds four products of bytes; the level provides
// dot_add(sum, w, values), each_row(x) and the two constants.
#pragma once

#include "compute/cpu/simd/common.h"

namespace sluice::cpu {
namespace {

template <int kMax, bool kSigned, int kCount, int kVectors, int kActs>
SLUICE_INLINE void dot_block(const Ints* const* w, const PackedAct* const* x, int first,
                             Ints (&sum)[kVectors][kActs]) {
  static_assert(kAnyByte || kSigned || kMax <= 127, "weights must be signed bytes");
  // One chain of products per output hides their latency when there are enough outputs; two chains
  // of four do it when there are few.
  constexpr bool kTwoChains = kCount == 8 && kVectors * kActs <= 2;
  Ints second[kVectors][kActs];
  if constexpr (kTwoChains) {
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) second[v][a] = zero_ints();
    }
  }
  SLUICE_UNROLL
  for (int k = 0; k < kCount; ++k) {
    Ints values[kActs];
    SLUICE_UNROLL
    for (int a = 0; a < kActs; ++a) values[a] = each_row(x[a]->q[first + k]);
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Ints weights = w[v][first + k];
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) {
        if (kTwoChains && k >= 4)
          second[v][a] = dot_add(second[v][a], weights, values[a]);
        else
          sum[v][a] = dot_add(sum[v][a], weights, values[a]);
      }
    }
  }
  if constexpr (kTwoChains) {
    SLUICE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      SLUICE_UNROLL
      for (int a = 0; a < kActs; ++a) sum[v][a] = add_32(sum[v][a], second[v][a]);
    }
  }
}

}  // namespace
}  // namespace sluice::cpu
