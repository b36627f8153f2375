// SPDX-License-Identifier: Apache-2.0
// Activations to 8 bits with one scale per 32, bit for bit as src/quant/activations.cpp does it.
#include <cfloat>

#include "compute/cuda/device.cuh"
#include "compute/cuda/products.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 8;  // per group of 32: four elements each
constexpr float kSmallest = 1e-36f;

__device__ __forceinline__ float silu_times(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

// One group of 32 by eight neighbouring lanes: v are this lane's four elements. Returns the scale.
__device__ __forceinline__ float quantize_group(const float (&v)[4], int (&q)[4]) {
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) bits = max(bits, __float_as_uint(v[i]) & 0x7fffffffu);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
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

__global__ void __launch_bounds__(kThreads)
    quantize_rows(const float* __restrict__ x, const float* __restrict__ up, int64_t groups,
                  int32_t dim, int32_t stride, int copies, int8_t* __restrict__ q,
                  ActGroup* __restrict__ out) {
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const int lane = threadIdx.x % kLanes;
  const int32_t per_row = stride / 32;
  const bool exists = index < groups;
  const int64_t row = exists ? index / per_row : 0;
  const int32_t at = exists ? static_cast<int32_t>(index - row * per_row) * 32 + 4 * lane : dim;
  float v[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (at + i >= dim) continue;
    v[i] = x[row * dim + at + i];
    if (up) v[i] = silu_times(v[i], up[row * dim + at + i]);
  }
  int levels[4];
  const float scale = quantize_group(v, levels);
  float rest[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    rest[i] = __fsub_rn(v[i], __fmul_rn(scale, static_cast<float>(levels[i])));
  char4* to = exists ? reinterpret_cast<char4*>(q + row * copies * stride + at) : nullptr;
  ActGroup* group = out + row * copies * per_row + at / 32;
  store_group(levels, scale, lane, to, group);
  if (copies == 1) return;
  const float finer = quantize_group(rest, levels);
  store_group(levels, finer, lane, exists ? to + stride / 4 : nullptr, group + per_row);
}

__global__ void __launch_bounds__(kThreads)
    swiglu_rows(const float* __restrict__ gate, const float* __restrict__ up, int64_t count,
                float* __restrict__ out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = silu_times(gate[i], up[i]);
}

}  // namespace

int32_t quantize(sluice_backend* backend, const float* x, const float* up, int64_t rows,
                 int64_t dim, bool fine, Scratch& scratch, Acts* acts) {
  const int64_t stride = act_stride(dim);
  const int copies = fine ? 2 : 1;
  const int64_t bytes = rows * copies * stride;
  const int64_t groups = rows * (stride / 32);
  auto* memory = static_cast<uint8_t*>(scratch.reserve(
      backend, static_cast<size_t>(bytes + groups * copies * int64_t{sizeof(ActGroup)})));
  if (!memory) return 1;
  acts->q = reinterpret_cast<int8_t*>(memory);
  acts->groups = reinterpret_cast<ActGroup*>(memory + bytes);
  acts->stride = stride;
  acts->copies = copies;
  if (groups == 0) return 0;
  const int64_t blocks = ceil_div(groups * kLanes, kThreads);
  quantize_rows<<<static_cast<unsigned>(blocks), kThreads, 0, backend->stream>>>(
      x, up, groups, static_cast<int32_t>(dim), static_cast<int32_t>(stride), copies,
      reinterpret_cast<int8_t*>(memory), reinterpret_cast<ActGroup*>(memory + bytes));
  return backend->launched("quantize_rows");
}

int32_t swiglu(sluice_backend* backend, const float* gate, const float* up, int64_t count,
               float* out) {
  if (count == 0) return 0;
  swiglu_rows<<<static_cast<unsigned>(ceil_div(count, kThreads)), kThreads, 0, backend->stream>>>(
      gate, up, count, out);
  return backend->launched("swiglu_rows");
}

}  // namespace sluice::cuda
