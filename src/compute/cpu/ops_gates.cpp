// SPDX-License-Identifier: Apache-2.0
// Gates: what multiplies an activation by a squashed other one.
#include <cmath>

#include "compute/cpu/instance.h"

namespace sluice::cpu {

int32_t gated_norm(sluice_backend* backend, const float* x, const float* weight, int64_t rows,
                   int64_t dim, float eps, float* gate) {
  backend->pool.for_ranges(rows, 16, [&](int, int64_t begin, int64_t end) {
    thread_local std::vector<float> norm;
    float* to = grown(norm, static_cast<size_t>(dim));
    for (int64_t r = begin; r < end; ++r) {
      backend->kernels.rms_norm(x + r * dim, weight, dim, eps, to);
      backend->kernels.swiglu(gate + r * dim, to, dim);
    }
  });
  return 0;
}

int32_t sigmoid_gate(sluice_backend* backend, const float* gate, int64_t count, float* x) {
  backend->pool.for_ranges(count, 4096, [&](int, int64_t begin, int64_t end) {
    backend->kernels.sigmoid_gate(gate + begin, end - begin, x + begin);
  });
  return 0;
}

int32_t row_gate(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const float* weight, float* out) {
  backend->pool.for_ranges(rows, 16, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      out[r] = 1.0f / (1.0f + std::exp(-backend->kernels.dot(weight, x + r * dim, dim)));
  });
  return 0;
}

}  // namespace sluice::cpu
