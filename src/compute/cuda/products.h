// SPDX-License-Identifier: Apache-2.0
// Products of weights and activations: what multiply() and experts() hand to the kernels.
#pragma once

#include "compute/cuda/instance.h"

namespace sluice::cuda {

constexpr int64_t kActStep = 128;

// Where the orders of units go.
struct UnitOrders {
  int8_t* units[2];  // nullptr: not wanted
  int32_t stride;
};

constexpr int64_t act_stride(int64_t dim) {
  return ceil_div(dim, kActStep) * kActStep;
}

// One weight and the rows of x it is applied to:
// out[i * weight_rows + w] (+)= weight row w . x row (rows ? rows[i] : first + i), i < count.
struct Job {
  const uint8_t* weight;
  float* out;
  const int32_t* rows;  // device
  int32_t first;
  int32_t count;
  int32_t weight_rows;
  int32_t tile;       // of the kernel's tiles of activations, this job's first
  int32_t row_bytes;  // of the weight
  int8_t accumulate;
  int8_t fine;
  int16_t type;  // of the weight
};

constexpr int kJobs = 80;  // per launch: they travel as kernel arguments, of which there are 4 KiB
struct Jobs {
  Job job[kJobs];
  int32_t count;
  int32_t cols;

#if defined(__CUDACC__)
  // The job that has the tile.
  __device__ const Job& of_tile(int tile) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (tile < job[middle].tile)
        high = middle - 1;
      else
        low = middle;
    }
    return job[low];
  }
#endif
};
static_assert(sizeof(Jobs) + sizeof(Acts) + 16 <= 4096);

// Quantises rows of x (in place of x: silu(x) * up when `up` is given). few: a product with few
// activations follows. Sets all of `acts` but floats and dim.
int32_t quantize(sluice_backend* backend, const float* x, const float* up, int64_t rows,
                 int64_t dim, bool fine, bool few, Scratch& scratch, Acts* acts);
// Place for one-row-each quantised rows with the orders of units, of which nothing is written yet.
bool place_acts(sluice_backend* backend, int64_t rows, int64_t dim, Scratch& scratch, Acts* acts,
                UnitOrders* orders);
// rms_norm(), which of a few rows also leaves the quantised form in backend->remembered.
int32_t norm_for_products(sluice_backend* backend, const float* x, const float* weight,
                          int64_t rows, int64_t dim, float eps, float* out);
// The input of a product: what is remembered of it, else quantised now.
int32_t quantize_input(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                       bool fine, bool few, Acts* acts);
// out = silu(gate) * up
int32_t swiglu(sluice_backend* backend, const float* gate, const float* up, int64_t count,
               float* out);

// The kernels, for one format. slots: activations of the largest job, a fine one counting twice.
// Matrix times vectors: at most kFewSlots slots are read at once, the weights once for each so
// many.
constexpr int kFewSlots = 8;
constexpr bool is_few(int64_t count, bool fine) {
  return count * (fine ? 2 : 1) <= kFewSlots;
}
template <class Format>
int32_t matvec(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots);
// The same for jobs of several types that have units (formats.cuh) and at most two slots.
int32_t matvec_mixed(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots);
bool mixes(uint32_t type);
// Tiles of kTileSlots slots on tensor cores.
constexpr int kTileSlots = 64;
template <class Format>
int32_t gemm(sluice_backend* backend, const Jobs& jobs, const Acts& x, int tiles);

// The same for weights of floats, from unquantised activations.
enum class FloatType { kF32, kF16, kBF16 };
int32_t matvec_float(sluice_backend* backend, FloatType type, const Jobs& jobs, const Acts& x,
                     int slots);
int32_t gemm_float(sluice_backend* backend, FloatType type, const Jobs& jobs, const Acts& x,
                   int tiles);

// A product of any type on its way to the kernels.
struct Product {
  uint32_t type;
  int64_t cols;
  Job job;
};
// Sorts products by type and number of activations and launches what they need. All have the same
// cols.
int32_t run_products(sluice_backend* backend, const Acts& x, const Product* products,
                     int64_t count);

bool is_float_type(uint32_t type);

}  // namespace sluice::cuda
