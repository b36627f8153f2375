// SPDX-License-Identifier: Apache-2.0
// Small pieces of device code: loads from any address, reductions inside a warp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace sluice::cuda {

constexpr int kWarp = 32;

// Sum over `width` neighbouring lanes (a power of two, the same for the warp) in a fixed order;
// every lane gets that of its own.
__device__ __forceinline__ float lanes_sum(float v, int width) {
  for (int distance = width / 2; distance > 0; distance /= 2)
    v += __shfl_xor_sync(0xffffffffu, v, distance);
  return v;
}

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

// 16 or 32 bytes at any address as the aligned words that hold them: asking for them is apart from
// shifting them into place, so that the loads of several pieces are under way together. Wide loads,
// since narrow ones with a stride keep the first-level cache busy for longer than memory takes.
struct Wide16 {
  uint4 a, b;
  uint32_t miss;  // bytes from the first word's begin
};
struct Wide32 {
  uint4 a, b, c;
  uint32_t miss;
};

__device__ __forceinline__ Wide16 load_16(const uint8_t* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto* words = reinterpret_cast<const uint4*>(address & ~uintptr_t{15});
  Wide16 w;
  w.miss = static_cast<uint32_t>(address & 15);
  w.a = __ldg(words);
  w.b = make_uint4(0, 0, 0, 0);
  if (w.miss) w.b = __ldg(words + 1);
  return w;
}

__device__ __forceinline__ Wide32 load_32(const uint8_t* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto* words = reinterpret_cast<const uint4*>(address & ~uintptr_t{15});
  Wide32 w;
  w.miss = static_cast<uint32_t>(address & 15);
  w.a = __ldg(words);
  w.b = __ldg(words + 1);
  w.c = make_uint4(0, 0, 0, 0);
  if (w.miss) w.c = __ldg(words + 2);
  return w;
}

// Shifts by whole words, then by bytes.
__device__ __forceinline__ uint4 take(const Wide16& w) {
  if (w.miss == 0) return w.a;
  const bool two = w.miss & 8, one = w.miss & 4;
  const uint32_t v[8] = {w.a.x, w.a.y, w.a.z, w.a.w, w.b.x, w.b.y, w.b.z, w.b.w};
  uint32_t t[6], u[5];
#pragma unroll
  for (int i = 0; i < 6; ++i) t[i] = two ? v[i + 2] : v[i];
#pragma unroll
  for (int i = 0; i < 5; ++i) u[i] = one ? t[i + 1] : t[i];
  const uint32_t shift = (w.miss & 3) * 8;
  return make_uint4(__funnelshift_r(u[0], u[1], shift), __funnelshift_r(u[1], u[2], shift),
                    __funnelshift_r(u[2], u[3], shift), __funnelshift_r(u[3], u[4], shift));
}

__device__ __forceinline__ void take(const Wide32& w, uint32_t (&out)[8]) {
  const uint32_t v[12] = {w.a.x, w.a.y, w.a.z, w.a.w, w.b.x, w.b.y,
                          w.b.z, w.b.w, w.c.x, w.c.y, w.c.z, w.c.w};
  if (w.miss == 0) {
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = v[i];
    return;
  }
  const bool two = w.miss & 8, one = w.miss & 4;
  uint32_t t[10], u[9];
#pragma unroll
  for (int i = 0; i < 10; ++i) t[i] = two ? v[i + 2] : v[i];
#pragma unroll
  for (int i = 0; i < 9; ++i) u[i] = one ? t[i + 1] : t[i];
  const uint32_t shift = (w.miss & 3) * 8;
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = __funnelshift_r(u[i], u[i + 1], shift);
}

}  // namespace sluice::cuda
