// SPDX-License-Identifier: Apache-2.0
// Products of weights and activations: what multiply() and experts() hand to the kernels.
#pragma once

#include "compute/cuda/instance.h"

namespace sluice::cuda {

// 32 activations: x[i] = scale * q[i]. sum[h] = q[16 h] + ... + q[16 h + 15].
struct alignas(8) ActGroup {
  float scale;
  int16_t sum[2];
};

// Quantised rows of activations on the device, as src/quant quantises them. With copies = 2 every
// row gives two: 2 r, and 2 r + 1 with what the first one's rounding lost.
struct Acts {
  const int8_t* q = nullptr;          // [rows * copies, stride]
  const ActGroup* groups = nullptr;   // [rows * copies, stride / 32]
  int64_t stride = 0;                 // elements: dim rounded up to kActStep, zeros behind dim
  int copies = 1;
  const float* floats = nullptr;      // [rows, dim] as they were, for weights of a float type
  int64_t dim = 0;
};
constexpr int64_t kActStep = 128;

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
  int32_t tile;  // of the kernel's tiles of activations, this job's first
  int16_t accumulate;
  int16_t fine;
};

constexpr int kJobs = 80;  // per launch: they travel as kernel arguments, of which there are 4 KiB
struct Jobs {
  Job job[kJobs];
  int32_t count;
  int32_t cols;
  int64_t row_bytes;

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

// Quantises rows of x (in place of x: silu(x) * up when `up` is given). Sets q, groups, stride and
// copies of `acts`.
int32_t quantize(sluice_backend* backend, const float* x, const float* up, int64_t rows,
                 int64_t dim, bool fine, Scratch& scratch, Acts* acts);
// out = silu(gate) * up
int32_t swiglu(sluice_backend* backend, const float* gate, const float* up, int64_t count,
               float* out);

// The kernels, for one format. slots: activations of the largest job, a fine one counting twice.
// Matrix times vectors: at most kFewSlots slots are read at once, the weights once for each so many.
constexpr int kFewSlots = 8;
template <class Format>
int32_t matvec(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots);
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
