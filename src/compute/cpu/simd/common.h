// SPDX-License-Identifier: Apache-2.0
// What every level's kernels share and that uses no vector type.
//
// Headers of this folder are compiled once per level, with that level's compiler flags, so nothing
// in them may have external linkage (the linker would keep one level's copy for everyone): all is
// in an anonymous namespace, and neither templates nor inline functions of the standard library or
// of other modules are called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "compute/cpu/kernels.h"
#include "quant/blocks.h"

#if defined(SLUICE_PORTABLE)  // small and quick to compile, sanitisers included
#define SLUICE_INLINE inline
#define SLUICE_UNROLL
#elif defined(__clang__)
#define SLUICE_INLINE inline __attribute__((always_inline))
#define SLUICE_UNROLL _Pragma("unroll")
#else
#define SLUICE_INLINE inline __attribute__((always_inline))
#define SLUICE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace sluice::cpu {
namespace {

// 256 activations in the order of the integer products: the 8 lanes of a vector are the 8 groups of
// 32 elements, so that a chain of dot products ends with one exact integer per group and no sums
// across lanes. From quant::ActBlock by pack(). What most formats need lies in the first five cache
// lines.
struct alignas(64) PackedAct {
  int8_t q[8][32];      // q[k][4 j + i] = element 32 j + 4 k + i
  float scale[8];       // of group j
  float minus_sum[8];   // minus the sum of group j: minus_all as a float
  int32_t minus[2][8];  // minus the sum of elements 32 j .. + 15, and of 32 j + 16 .. + 31
  int32_t minus_all[8];
};
static_assert(sizeof(PackedAct) == 448);

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

template <class F>
SLUICE_INLINE void each4(const F& f) {
  f(Constant<0>{});
  f(Constant<1>{});
  f(Constant<2>{});
  f(Constant<3>{});
}

SLUICE_INLINE uint16_t load_u16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

SLUICE_INLINE uint32_t load_u32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

}  // namespace
}  // namespace sluice::cpu
