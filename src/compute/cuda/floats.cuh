// SPDX-License-Identifier: Apache-2.0
// Weights of float types, eight neighbouring elements at a time.
#pragma once

#include "compute/cuda/device.cuh"

namespace sluice::cuda {

struct WeightF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kExactInBf16 = false;
  __device__ static float load(const uint8_t* p) { return __uint_as_float(load_4(p)); }
  __device__ static void load_8(const uint8_t* p, float (&v)[8]) {
    uint32_t words[8];
    take(load_32(p), words);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __uint_as_float(words[i]);
  }
};

template <class Convert>
struct WeightOf16 {
  static constexpr int kBytes = 2;
  __device__ static float load(const uint8_t* p) { return Convert::to_float(load_2(p)); }
  __device__ static void load_8(const uint8_t* p, float (&v)[8]) {
    const uint4 a = take(load_16(p));
    const uint32_t words[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[2 * i] = Convert::to_float(words[i] & 0xffff);
      v[2 * i + 1] = Convert::to_float(words[i] >> 16);
    }
  }
};

struct WeightF16 : WeightOf16<WeightF16> {
  static constexpr bool kExactInBf16 = false;
  __device__ static float to_float(uint32_t bits) { return half_bits(bits); }
};

struct WeightBF16 : WeightOf16<WeightBF16> {
  static constexpr bool kExactInBf16 = true;
  __device__ static float to_float(uint32_t bits) { return bfloat_bits(bits); }
};

// Elements at .. at + 7 of a row of `cols`; those behind its end are zero.
template <class W>
__device__ __forceinline__ void load_weights(const uint8_t* row, int at, int cols, float (&v)[8]) {
  if (at + 8 <= cols) {
    W::load_8(row + int64_t{at} * W::kBytes, v);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
    v[i] = at + i < cols ? W::load(row + int64_t{at + i} * W::kBytes) : 0.0f;
}

__device__ __forceinline__ void load_floats(const float* row, int at, int cols, float (&v)[8]) {
  const float* p = row + at;
  if (at + 8 <= cols && reinterpret_cast<uintptr_t>(p) % 16 == 0) {
    const float4 a = __ldg(reinterpret_cast<const float4*>(p));
    const float4 b = __ldg(reinterpret_cast<const float4*>(p) + 1);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = at + i < cols ? __ldg(p + i) : 0.0f;
}

}  // namespace sluice::cuda
