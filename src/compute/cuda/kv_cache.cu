// SPDX-License-Identifier: Apache-2.0
// Storing keys and values. One warp encodes 32 elements, with the operations of the scalar encoders
// (src/quant) one by one: the bytes are theirs. Hence the functions that name their rounding, which
// the compiler does not fuse.
#include <algorithm>

#include "compute/cuda/cache.cuh"
#include "compute/cuda/instance.h"
#include "compute/cuda/launch.h"
#include "compute/cuda/reduce.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

// x * y + z, rounded twice.
__device__ __forceinline__ float multiply_then_add(float x, float y, float z) {
  return __fadd_rn(__fmul_rn(x, y), z);
}

__device__ __forceinline__ uint16_t half_bits_of(float x) {
  return __half_as_ushort(__float2half_rn(x));
}

__device__ __forceinline__ float inverse_or_zero(float x) {
  return x != 0.0f ? 1.0f / x : 0.0f;
}

// Level of x on a scale that starts at 0. NaN gives 0.
__device__ __forceinline__ uint32_t level(float x, float top) {
  return static_cast<uint32_t>(x > 0.0f ? (x < top ? x : top) : 0.0f);
}

// The element of largest magnitude, the first of equals; 0 when there is none.
__device__ __forceinline__ float extreme_of(float x, int lane) {
  float most = fabsf(x) > 0.0f ? fabsf(x) : 0.0f;  // NaN is never the largest
  int at = lane;
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, most, offset);
    const int other_at = __shfl_xor_sync(kAllLanes, at, offset);
    if (other > most || (other == most && other_at < at)) {
      most = other;
      at = other_at;
    }
  }
  const float value = __shfl_sync(kAllLanes, x, at);
  return most > 0.0f ? value : 0.0f;
}

// Byte l of qs holds element l in its low half and element l + 16 in its high half.
__device__ __forceinline__ void store_nibbles(uint32_t q, int lane, uint8_t* qs) {
  const uint32_t high = __shfl_down_sync(kAllLanes, q, 16);
  if (lane < 16) qs[lane] = static_cast<uint8_t>((q & 15) | (high & 15) << 4);
}

__device__ __forceinline__ void store_half(uint8_t* to, float x) {
  *reinterpret_cast<uint16_t*>(to) = half_bits_of(x);
}

// Nibble of the nearest of the sixteen levels.
__device__ __forceinline__ int nearest_iq4(float x) {
  int nibble = 0;
#pragma unroll
  for (int k = 0; k < 15; ++k)
    nibble += x > 0.5f * static_cast<float>(iq4_level(k) + iq4_level(k + 1));
  return nibble;
}

// A sum over the 32 elements in the order of the scalar search: four chains of eight, each with
// every fourth element.
__device__ __forceinline__ float chained_sum(float x, int lane) {
  float sum = 0;
#pragma unroll
  for (int k = 0; k < 8; ++k) sum = __fadd_rn(sum, __shfl_sync(kAllLanes, x, 4 * k + lane % 4));
  sum = __fadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 2));
  return __fadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 1));
}

// Tries to put the extreme at the lowest level times 1 + 0.03 k, and takes the scale that explains
// most (quant/scale_search.cpp).
__device__ float fit_iq4_scale(float x, int lane) {
  const float extreme = extreme_of(x, lane);
  const float inverse = fabsf(extreme) > 1e-37f ? 1.0f / extreme : 0.0f;
  if (inverse == 0.0f) return 0.0f;
  float best = 0.0f, scale = 0.0f;
  for (int k = -5; k <= 5; ++k) {
    const float stretch = multiply_then_add(0.03f, static_cast<float>(k), 1.0f);
    const float candidate =
        __fmul_rn(__fmul_rn(static_cast<float>(iq4_level(0)), stretch), inverse);
    const auto q = static_cast<float>(iq4_level(nearest_iq4(__fmul_rn(x, candidate))));
    const float xq = chained_sum(__fmul_rn(x, q), lane), qq = chained_sum(__fmul_rn(q, q), lane);
    const float explained = __fmul_rn(xq, xq);
    if (explained > __fmul_rn(best, qq)) {
      best = explained / qq;
      scale = xq / qq;
    }
  }
  return scale;
}

// 32 elements, one a lane, to a block.
__device__ void encode_block(float x, int lane, uint32_t type, uint8_t* block) {
  switch (static_cast<Type>(type)) {
    case Type::kQ8_0: {
      const float most = warp_max(fabsf(x));  // which passes over NaN
      const float d = most / 127.0f;
      const float scaled = __fmul_rn(x, d > 0.0f ? 1.0f / d : 0.0f);
      const float away = __fadd_rn(scaled, copysignf(0.5f, scaled));
      const float bounded = away > -127.5f ? (away < 127.5f ? away : 127.0f) : -127.0f;
      if (lane == 0) store_half(block, d);
      block[2 + lane] = static_cast<uint8_t>(static_cast<int8_t>(bounded));
      return;
    }
    case Type::kQ5_0:
    case Type::kQ4_0: {
      const bool five = type == static_cast<uint32_t>(Type::kQ5_0);
      const float lowest = five ? -16.0f : -8.0f;
      const float d = extreme_of(x, lane) / lowest;
      const uint32_t q =
          level(multiply_then_add(x, inverse_or_zero(d), 0.5f - lowest), -2.0f * lowest - 1.0f);
      if (lane == 0) store_half(block, d);
      if (five) {
        const uint32_t high = __ballot_sync(kAllLanes, q >> 4);
        if (lane < 4) block[2 + lane] = static_cast<uint8_t>(high >> (8 * lane));
      }
      store_nibbles(q, lane, block + (five ? 6 : 2));
      return;
    }
    case Type::kQ5_1:
    case Type::kQ4_1: {
      const bool five = type == static_cast<uint32_t>(Type::kQ5_1);
      const float top = five ? 31.0f : 15.0f;
      const float least = -warp_max(-x), most = warp_max(x);
      const float d = __fsub_rn(most, least) / top;
      const uint32_t q =
          level(multiply_then_add(__fsub_rn(x, least), inverse_or_zero(d), 0.5f), top);
      if (lane == 0) {
        store_half(block, d);
        store_half(block + 2, least);
      }
      if (five) {
        const uint32_t high = __ballot_sync(kAllLanes, q >> 4);
        if (lane < 4) block[4 + lane] = static_cast<uint8_t>(high >> (8 * lane));
      }
      store_nibbles(q, lane, block + (five ? 8 : 4));
      return;
    }
    default: {  // IQ4_NL
      const uint16_t bits = half_bits_of(fit_iq4_scale(x, lane));
      const float d = half_bits(bits);
      const float inverse = fabsf(d) > 1e-37f ? 1.0f / d : 0.0f;
      if (lane == 0) *reinterpret_cast<uint16_t*>(block) = bits;
      store_nibbles(static_cast<uint32_t>(nearest_iq4(__fmul_rn(x, inverse))), lane, block + 2);
      return;
    }
  }
}

// Up to 32 elements of a row, one a lane.
__device__ void encode(float x, int lane, bool inside, uint32_t type, uint8_t* row, int64_t first) {
  switch (static_cast<Type>(type)) {
    case Type::kF32: {
      // In halves: the row may be aligned to two bytes only.
      auto* to = reinterpret_cast<uint16_t*>(row + 4 * (first + lane));
      const uint32_t bits = __float_as_uint(x);
      if (inside) {
        to[0] = static_cast<uint16_t>(bits);
        to[1] = static_cast<uint16_t>(bits >> 16);
      }
      return;
    }
    case Type::kF16:
      if (inside) store_half(row + 2 * (first + lane), x);
      return;
    case Type::kBF16: {
      const uint32_t bits = __float_as_uint(x);
      const uint32_t rounded = (bits & 0x7fffffff) > 0x7f800000
                                   ? (bits >> 16) | 0x40
                                   : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
      if (inside)
        *reinterpret_cast<uint16_t*>(row + 2 * (first + lane)) = static_cast<uint16_t>(rounded);
      return;
    }
    default:
      encode_block(x, lane, type, row + cache_row_bytes(type, first));
  }
}

struct StoreSpans {
  SpanList<sluice_span> spans;
  const float* keys;
  const float* values;
};

// Of span blockIdx.z the keys (blockIdx.y = 0) or values (1).
__global__ __launch_bounds__(kThreads) void store_spans(const __grid_constant__ StoreSpans store) {
  allow_next();
  await_previous();
  const sluice_span& span = store.spans.span[blockIdx.z];
  const sluice_kv& kv = span.kv;
  const int lane = threadIdx.x % kWarp;
  const int64_t dim = kv.head_dim, pieces = ceil_div(dim, kWarp);
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (item >= span.rows * kv.kv_heads * pieces) return;
  const int64_t first = item % pieces * kWarp;
  const int64_t head = item / pieces % kv.kv_heads, row = item / pieces / kv.kv_heads;
  const bool is_value = blockIdx.y == 1;
  const float* from = (is_value ? store.values : store.keys) +
                      ((span.first_row + row) * kv.kv_heads + head) * dim + first;
  const uint32_t type = is_value ? kv.value_type : kv.key_type;
  auto* base = static_cast<uint8_t*>(is_value ? kv.values : kv.keys);
  uint8_t* to = base + (head * kv.capacity + span.position + row) * cache_row_bytes(type, dim);
  const bool inside = first + lane < dim;
  encode(inside ? from[lane] : 0.0f, lane, inside, type, to, first);
}

}  // namespace

int32_t supports_cache(sluice_backend*, uint32_t type) {
  for (const Type allowed : {Type::kF32, Type::kF16, Type::kBF16, Type::kQ8_0, Type::kQ5_1,
                             Type::kQ5_0, Type::kQ4_1, Type::kQ4_0, Type::kIQ4_NL})
    if (type == static_cast<uint32_t>(allowed)) return 1;
  return 0;
}

int32_t kv_store(sluice_backend* backend, const sluice_span* spans, int32_t span_count,
                 const float* keys, const float* values) {
  for (int32_t begin = 0; begin < span_count; begin += kSpansPerLaunch) {
    const int32_t count = std::min(span_count - begin, kSpansPerLaunch);
    StoreSpans store{{}, keys, values};
    int64_t items = 0;
    for (int32_t s = 0; s < count; ++s) {
      const sluice_span& span = store.spans.span[s] = spans[begin + s];
      const sluice_kv& kv = span.kv;
      if (span.position + span.rows > kv.capacity)
        return backend->failed("kv_store: positions beyond the cache");
      if (!supports_cache(backend, kv.key_type) || !supports_cache(backend, kv.value_type))
        return backend->failed("kv_store: a type of cache that this backend does not have");
      if (kv.head_dim % 32 != 0 && (is_block_cache(kv.key_type) || is_block_cache(kv.value_type)))
        return backend->failed("kv_store: blocks of 32 in heads of another size");
      items = std::max(items, span.rows * kv.kv_heads * ceil_div(kv.head_dim, kWarp));
    }
    if (items == 0) continue;
    const dim3 grid(static_cast<unsigned>(ceil_div(items, kWarps)), 2,
                    static_cast<unsigned>(count));
    SLUICE_STEP(launch_after(backend, "kv_store", store_spans, grid, kThreads, store));
  }
  return 0;
}

}  // namespace sluice::cuda
