// SPDX-License-Identifier: Apache-2.0
// Activations to 8 bits with one scale per 32, bit for bit as src/quant/activations.cpp does it.
#include "compute/cuda/launch.h"
#include "compute/cuda/quantize.cuh"
#include "compute/cuda/reduce.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;
__global__ void __launch_bounds__(kThreads)
    quantize_rows(const float* __restrict__ x, const float* __restrict__ up, int64_t groups,
                  int32_t dim, int32_t stride, int copies, int8_t* __restrict__ q,
                  ActGroup* __restrict__ out, const UnitOrders orders) {
  allow_next();
  await_previous();
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kGroupLanes;
  const int lane = threadIdx.x % kGroupLanes;
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
  quantize_to(v, exists, row * copies, at, copies, stride, q, out, orders);
}

// One block per row: the norm as rms_norm has it, then the quantised row, twice (fine).
__global__ void __launch_bounds__(kThreads)
    rms_norm_quantize(const float* x, const float* weight, int32_t dim, float eps, float* out,
                      int32_t stride, int8_t* q, ActGroup* groups, const UnitOrders orders) {
  allow_next();
  await_previous();
  const float* from = x + int64_t{blockIdx.x} * dim;
  float* to = out + int64_t{blockIdx.x} * dim;
  float squares = 0;
#pragma unroll 8
  for (int32_t i = threadIdx.x; i < dim; i += kThreads) squares += from[i] * from[i];
  const float scale = norm_scale(block_sum<kThreads>(squares), dim, eps);
#pragma unroll 8
  for (int32_t i = threadIdx.x; i < dim; i += kThreads) to[i] = from[i] * scale * weight[i];
  __syncthreads();
  for (int32_t base = 0; base < dim; base += 4 * kThreads) {
    const int32_t at = base + 4 * static_cast<int32_t>(threadIdx.x);
    const bool exists = at < dim;
    float v[4] = {0, 0, 0, 0};
    if (exists) {
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = to[at + i];
    }
    quantize_to(v, exists, 2 * int64_t{blockIdx.x}, exists ? at : 0, 2, stride, q, groups, orders);
  }
}

__global__ void __launch_bounds__(kThreads)
    swiglu_rows(const float* __restrict__ gate, const float* __restrict__ up, int64_t count,
                float* __restrict__ out) {
  allow_next();
  await_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = silu_times(gate[i], up[i]);
}

}  // namespace

namespace {

// Where quantised rows go in `scratch`; sets all of `acts` but floats and dim.
bool place(sluice_backend* backend, int64_t rows, int64_t dim, int copies, bool few,
           Scratch& scratch, Acts* acts, UnitOrders* orders) {
  constexpr int64_t kUnits = 512;  // elements of eight units
  const int64_t stride = act_stride(dim);
  const int64_t unit_stride = few ? ceil_div(stride, kUnits) * kUnits : 0;
  const int64_t bytes = rows * copies * stride;
  const int64_t unit_bytes = rows * copies * unit_stride;
  const int64_t group_bytes = rows * copies * (stride / 32) * int64_t{sizeof(ActGroup)};
  auto* memory = static_cast<int8_t*>(
      scratch.reserve(backend, static_cast<size_t>(2 * unit_bytes + bytes + group_bytes)));
  if (!memory) return false;
  acts->q = memory + 2 * unit_bytes;
  acts->groups = reinterpret_cast<ActGroup*>(memory + 2 * unit_bytes + bytes);
  acts->stride = stride;
  acts->copies = copies;
  acts->units[0] = few ? memory : nullptr;
  acts->units[1] = few ? memory + unit_bytes : nullptr;
  acts->unit_stride = unit_stride;
  *orders = {{few ? memory : nullptr, few ? memory + unit_bytes : nullptr},
             static_cast<int32_t>(unit_stride)};
  return true;
}

}  // namespace

bool place_acts(sluice_backend* backend, int64_t rows, int64_t dim, Scratch& scratch, Acts* acts,
                UnitOrders* orders) {
  return place(backend, rows, dim, 1, true, scratch, acts, orders);
}

int32_t quantize(sluice_backend* backend, const float* x, const float* up, int64_t rows,
                 int64_t dim, bool fine, bool few, Scratch& scratch, Acts* acts) {
  const int copies = fine ? 2 : 1;
  UnitOrders orders{};
  if (!place(backend, rows, dim, copies, few, scratch, acts, &orders)) return 1;
  const int64_t groups = rows * (acts->stride / 32);
  if (groups == 0) return 0;
  const int64_t blocks = ceil_div(groups * kGroupLanes, kThreads);
  return launch_after(backend, "quantize_rows", quantize_rows, static_cast<unsigned>(blocks),
                      kThreads, x, up, groups, static_cast<int32_t>(dim),
                      static_cast<int32_t>(acts->stride), copies, const_cast<int8_t*>(acts->q),
                      const_cast<ActGroup*>(acts->groups), orders);
}

int32_t norm_for_products(sluice_backend* backend, const float* x, const float* weight,
                          int64_t rows, int64_t dim, float eps, float* out) {
  // Where many rows follow, or none that is quantised, there is nothing to save.
  constexpr int64_t kMostRows = 4, kMostDim = 1 << 16;
  if (rows < 1 || rows > kMostRows || dim % 32 != 0 || dim > kMostDim)
    return rms_norm(backend, x, weight, rows, dim, eps, out);
  UnitOrders orders{};
  Acts acts;
  if (!place(backend, rows, dim, 2, true, backend->normed, &acts, &orders)) return 1;
  SLUICE_STEP(launch_after(
      backend, "rms_norm_quantize", rms_norm_quantize, static_cast<unsigned>(rows), kThreads, x,
      weight, static_cast<int32_t>(dim), eps, out, static_cast<int32_t>(acts.stride),
      const_cast<int8_t*>(acts.q), const_cast<ActGroup*>(acts.groups), orders));
  acts.floats = out;
  acts.dim = dim;
  backend->remembered = {acts, rows};
  return 0;
}

int32_t quantize_input(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                       bool fine, bool few, Acts* acts) {
  const Remembered& r = backend->remembered;
  if (r.acts.floats == x && r.acts.dim == dim && rows <= r.rows && few) {
    *acts = r.acts;
    return 0;
  }
  backend->remembered = {};  // what is computed from another input may overwrite it
  acts->floats = x;
  acts->dim = dim;
  return quantize(backend, x, nullptr, rows, dim, fine, few, backend->input, acts);
}

int32_t swiglu(sluice_backend* backend, const float* gate, const float* up, int64_t count,
               float* out) {
  if (count == 0) return 0;
  return launch_after(backend, "swiglu_rows", swiglu_rows,
                      static_cast<unsigned>(ceil_div(count, kThreads)), kThreads, gate, up, count,
                      out);
}

}  // namespace sluice::cuda
