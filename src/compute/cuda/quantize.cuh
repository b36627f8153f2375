// SPDX-License-Identifier: Apache-2.0
// Quantising one group of 32 activations by eight neighbouring lanes, bit for bit as
// src/quant/activations.cpp does it.
#pragma once

#include <cfloat>

#include "compute/cuda/device.cuh"
#include "compute/cuda/products.h"

namespace sluice::cuda {

constexpr int kGroupLanes = 8;  // per group of 32: four elements each
constexpr float kSmallest = 1e-36f;

__device__ __forceinline__ float silu_times(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

// One group of 32 by eight neighbouring lanes: v are this lane's four elements. Returns the scale.
__device__ __forceinline__ float quantize_group(const float (&v)[4], int (&q)[4]) {
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) bits = max(bits, __float_as_uint(v[i]) & 0x7fffffffu);
#pragma unroll
  for (int distance = kGroupLanes / 2; distance > 0; distance /= 2)
    bits = max(bits, __shfl_xor_sync(0xffffffffu, bits, distance));
  const float largest = __uint_as_float(bits);
  float scale = 0, inverse = 0;
  if (largest >= kSmallest && largest <= FLT_MAX) {
    scale = __fdiv_rn(largest, 127.0f);
    inverse = __fdiv_rn(127.0f, largest);
#pragma unroll
    for (int i = 0; i < 4; ++i) q[i] = __float2int_rn(__fmul_rn(v[i], inverse));
  } else {
    scale = largest < kSmallest ? 0.0f : __int_as_float(0x7fffffff);
#pragma unroll
    for (int i = 0; i < 4; ++i) q[i] = 0;
  }
  return scale;
}

// to, group: nullptr for lanes of a group that does not exist, which only take part in the sums.
__device__ __forceinline__ void store_group(const int (&q)[4], float scale, int lane, char4* to,
                                            ActGroup* group) {
  int sum = q[0] + q[1] + q[2] + q[3];  // over the four lanes of a half
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  const int other = __shfl_xor_sync(0xffffffffu, sum, 4);
  if (!to) return;
  *to = make_char4(static_cast<signed char>(q[0]), static_cast<signed char>(q[1]),
                   static_cast<signed char>(q[2]), static_cast<signed char>(q[3]));
  if (lane == 0) *group = {scale, {static_cast<int16_t>(sum), static_cast<int16_t>(other)}};
}

// Where chunk `at` of 16 elements of a row lies in the order of units `order` (see Acts).
__device__ __forceinline__ int32_t unit_chunk(int32_t at, int order) {
  const int32_t unit = order == 0 ? at / 4 : at / 16 * 4 + at % 16 / 8 * 2 + at / 2 % 2;
  const int32_t part = order == 0 ? at % 4 : at % 2 + at / 4 % 2 * 2;
  return unit / 8 * 32 + part * 8 + unit % 8;
}

__device__ __forceinline__ void store_units(const UnitOrders& to, int64_t row, int32_t at,
                                            const int (&q)[4]) {
  if (!to.units[0]) return;
  const char4 levels = make_char4(static_cast<signed char>(q[0]), static_cast<signed char>(q[1]),
                                  static_cast<signed char>(q[2]), static_cast<signed char>(q[3]));
#pragma unroll
  for (int order = 0; order < 2; ++order)
    *reinterpret_cast<char4*>(to.units[order] + row * to.stride + unit_chunk(at / 16, order) * 16 +
                              at % 16) = levels;
}

// A row's group, levels and orders of units, all from one lane's four elements. Lanes of groups
// that do not exist pass exists = false.
__device__ __forceinline__ void quantize_to(const float (&v)[4], bool exists, int64_t packed_row,
                                            int32_t at, int copies, int32_t stride, int8_t* q,
                                            ActGroup* groups, const UnitOrders& orders) {
  const int lane = threadIdx.x % kGroupLanes;
  int levels[4];
  const float scale = quantize_group(v, levels);
  float rest[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    rest[i] = __fsub_rn(v[i], __fmul_rn(scale, static_cast<float>(levels[i])));
  char4* to = exists ? reinterpret_cast<char4*>(q + packed_row * stride + at) : nullptr;
  ActGroup* group = groups + packed_row * (stride / 32) + at / 32;
  store_group(levels, scale, lane, to, group);
  if (exists) store_units(orders, packed_row, at, levels);
  if (copies == 1) return;
  const float finer = quantize_group(rest, levels);
  store_group(levels, finer, lane, exists ? to + stride / 4 : nullptr, group + stride / 32);
  if (exists) store_units(orders, packed_row + 1, at, levels);
}

}  // namespace sluice::cuda
