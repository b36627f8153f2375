// SPDX-License-Identifier: Apache-2.0
// Rows by index: decoded from a table of any type, or copied. Decoded values are those of
// src/quant, bit for bit.
#include "compute/cuda/floats.cuh"
#include "compute/cuda/formats.cuh"
#include "compute/cuda/formats_iq.cuh"
#include "quant/quant.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;

// A thread decodes one piece of 32 elements.
template <class F>
__global__ void embed_blocks(const uint8_t* table, int64_t row_bytes, int64_t cols,
                             const int32_t* ids, const Grids* grids, float* out) {
  constexpr int kPieces = F::kElements / 32;
  const int64_t piece = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (piece >= cols / 32) return;
  const uint8_t* row = table + ids[blockIdx.y] * row_bytes;
  const int j = static_cast<int>(piece % kPieces);
  Piece p;
  F::unpack(F::load(row + piece / kPieces * F::kBytes, j), j, grids, p);
  float* to = out + blockIdx.y * cols + piece / kPieces * F::kElements;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int h = i / 16;
    const int level = static_cast<int8_t>(byte_of(p.w[i / 4], i % 4)) - F::kOffset;
    float v = __fmul_rn(p.scale[h], static_cast<float>(level));
    if constexpr (F::kHasMin) v = __fsub_rn(v, p.min[h]);
    to[(h ? F::second(j) : F::first(j)) + i % 16] = v;
  }
}

template <class W>
__global__ void embed_floats(const uint8_t* table, int64_t row_bytes, int64_t cols,
                             const int32_t* ids, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < cols)
    out[blockIdx.y * cols + i] = W::load(table + ids[blockIdx.y] * row_bytes + i * W::kBytes);
}

// Rows of `count` elements of type T.
template <class T>
__global__ void gather_rows(const T* __restrict__ x, const int32_t* __restrict__ rows,
                            int64_t count, T* __restrict__ out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[blockIdx.y * count + i] = x[rows[blockIdx.y] * count + i];
}

constexpr int64_t kRowsPerLaunch = 65535;  // limit of a grid's second dimension

}  // namespace

int32_t embed(sluice_backend* backend, const sluice_matrix* table, const int32_t* ids,
              int64_t count, float* out) {
  const auto type = static_cast<quant::Type>(table->type);
  const int64_t cols = table->cols;
  const auto row_bytes = static_cast<int64_t>(quant::row_bytes(type, cols));
  const auto* data = static_cast<const uint8_t*>(table->data);
  for (int64_t begin = 0; begin < count; begin += kRowsPerLaunch) {
    const int64_t rows = count - begin < kRowsPerLaunch ? count - begin : kRowsPerLaunch;
    const auto* where = backend->mailbox.post_array(backend, ids + begin, rows);
    if (!where) return 1;
    float* to = out + begin * cols;
    const auto grid = [&](int64_t per_thread) {
      return dim3(static_cast<unsigned>(ceil_div(cols, kThreads * per_thread)),
                  static_cast<unsigned>(rows));
    };
    switch (type) {
      case quant::Type::kF32:
        embed_floats<WeightF32>
            <<<grid(1), kThreads, 0, backend->stream>>>(data, row_bytes, cols, where, to);
        break;
      case quant::Type::kF16:
        embed_floats<WeightF16>
            <<<grid(1), kThreads, 0, backend->stream>>>(data, row_bytes, cols, where, to);
        break;
      case quant::Type::kBF16:
        embed_floats<WeightBF16>
            <<<grid(1), kThreads, 0, backend->stream>>>(data, row_bytes, cols, where, to);
        break;
#define SLUICE_CASE(F)                                                                        \
  case quant::Type::k##F:                                                                     \
    embed_blocks<F><<<grid(32), kThreads, 0, backend->stream>>>(data, row_bytes, cols, where, \
                                                                backend->grids, to);          \
    break;
        SLUICE_BLOCK_FORMATS(SLUICE_CASE)
#undef SLUICE_CASE
    }
    SLUICE_STEP(backend->launched("embed"));
  }
  return 0;
}

int32_t gather(sluice_backend* backend, const float* x, const int32_t* rows, int64_t count,
               int64_t dim, float* out) {
  for (int64_t begin = 0; begin < count; begin += kRowsPerLaunch) {
    const int64_t here = count - begin < kRowsPerLaunch ? count - begin : kRowsPerLaunch;
    const auto* where = backend->mailbox.post_array(backend, rows + begin, here);
    if (!where) return 1;
    float* to = out + begin * dim;
    const auto address = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(to);
    if (dim % 4 == 0 && address % 16 == 0) {
      const dim3 grid(static_cast<unsigned>(ceil_div(dim / 4, kThreads)),
                      static_cast<unsigned>(here));
      gather_rows<float4><<<grid, kThreads, 0, backend->stream>>>(
          reinterpret_cast<const float4*>(x), where, dim / 4, reinterpret_cast<float4*>(to));
    } else {
      const dim3 grid(static_cast<unsigned>(ceil_div(dim, kThreads)), static_cast<unsigned>(here));
      gather_rows<float><<<grid, kThreads, 0, backend->stream>>>(x, where, dim, to);
    }
    SLUICE_STEP(backend->launched("gather_rows"));
  }
  return 0;
}

}  // namespace sluice::cuda
