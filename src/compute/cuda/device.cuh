// SPDX-License-Identifier: Apache-2.0
// Small pieces of device code: loads from any address, reductions inside a warp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace sluice::cuda {

constexpr int kWarp = 32;

// Sum over the warp in a fixed order; every lane gets it.
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    v += __shfl_xor_sync(0xffffffffu, v, distance);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, distance));
  return v;
}

__device__ __forceinline__ float half_bits(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

__device__ __forceinline__ float bfloat_bits(uint32_t bits) {
  return __uint_as_float(bits << 16);
}

// Loads from any byte address. They read whole aligned words, of which the last may lie behind the
// last byte asked for (kReadBeyond in instance.h); words without a byte asked for are not read.

__device__ __forceinline__ uint32_t load_4(const uint8_t* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto* words = reinterpret_cast<const uint32_t*>(address & ~uintptr_t{3});
  const uint32_t shift = static_cast<uint32_t>(address & 3) * 8;
  const uint32_t low = __ldg(words);
  const uint32_t high = shift ? __ldg(words + 1) : 0;
  return __funnelshift_r(low, high, shift);
}

__device__ __forceinline__ uint32_t load_2(const uint8_t* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if ((address & 1) == 0) return __ldg(reinterpret_cast<const uint16_t*>(p));
  return __ldg(p) | static_cast<uint32_t>(__ldg(p + 1)) << 8;
}

__device__ __forceinline__ uint2 load_8(const uint8_t* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto* words = reinterpret_cast<const uint32_t*>(address & ~uintptr_t{3});
  const uint32_t shift = static_cast<uint32_t>(address & 3) * 8;
  const uint32_t a = __ldg(words), b = __ldg(words + 1);
  const uint32_t c = shift ? __ldg(words + 2) : 0;
  return make_uint2(__funnelshift_r(a, b, shift), __funnelshift_r(b, c, shift));
}

// Two wide loads and shifts by whole words, then by bytes: strided narrow loads would keep the
// first-level cache busy for longer than memory takes.
__device__ __forceinline__ uint4 load_16(const uint8_t* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto* words = reinterpret_cast<const uint4*>(address & ~uintptr_t{15});
  const uint32_t miss = static_cast<uint32_t>(address & 15);
  const uint4 a = __ldg(words);
  uint4 b = make_uint4(0, 0, 0, 0);
  if (miss) b = __ldg(words + 1);
  const bool two = miss & 8, one = miss & 4;
  const uint32_t t0 = two ? a.z : a.x, t1 = two ? a.w : a.y, t2 = two ? b.x : a.z,
                 t3 = two ? b.y : a.w, t4 = two ? b.z : b.x, t5 = two ? b.w : b.y;
  const uint32_t u0 = one ? t1 : t0, u1 = one ? t2 : t1, u2 = one ? t3 : t2, u3 = one ? t4 : t3,
                 u4 = one ? t5 : t4;
  const uint32_t shift = (miss & 3) * 8;
  return make_uint4(__funnelshift_r(u0, u1, shift), __funnelshift_r(u1, u2, shift),
                    __funnelshift_r(u2, u3, shift), __funnelshift_r(u3, u4, shift));
}

__device__ __forceinline__ void load_32(const uint8_t* p, uint4& low, uint4& high) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto* words = reinterpret_cast<const uint4*>(address & ~uintptr_t{15});
  const uint32_t miss = static_cast<uint32_t>(address & 15);
  const uint4 a = __ldg(words), b = __ldg(words + 1);
  uint4 c = make_uint4(0, 0, 0, 0);
  if (miss) c = __ldg(words + 2);
  const bool two = miss & 8, one = miss & 4;
  const uint32_t v[12] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y, c.z, c.w};
  uint32_t t[10], u[9];
#pragma unroll
  for (int i = 0; i < 10; ++i) t[i] = two ? v[i + 2] : v[i];
#pragma unroll
  for (int i = 0; i < 9; ++i) u[i] = one ? t[i + 1] : t[i];
  const uint32_t shift = (miss & 3) * 8;
#pragma unroll
  for (int i = 0; i < 8; ++i) t[i] = __funnelshift_r(u[i], u[i + 1], shift);
  low = make_uint4(t[0], t[1], t[2], t[3]);
  high = make_uint4(t[4], t[5], t[6], t[7]);
}

}  // namespace sluice::cuda
