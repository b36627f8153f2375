// SPDX-License-Identifier: Apache-2.0
// Operations that treat each row on its own: embedding, norm, rotary embedding, gathering.
#include <algorithm>

#include "compute/cpu/instance.h"

namespace sluice::cpu {

int32_t embed(sluice_backend* backend, const sluice_matrix* table, const int32_t* ids,
              int64_t count, float* out) {
  const size_t row_bytes = bytes_per_row(*table);
  const auto decode = backend->kernels.decode[table->type];
  backend->pool.for_ranges(count, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      decode(static_cast<const uint8_t*>(table->data) + static_cast<size_t>(ids[i]) * row_bytes,
             table->cols, out + i * table->cols);
  });
  return 0;
}

int32_t rms_norm(sluice_backend* backend, const float* x, const float* weight, int64_t rows,
                 int64_t dim, float eps, float* out) {
  backend->pool.for_ranges(rows, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      backend->kernels.rms_norm(x + r * dim, weight, dim, eps, out + r * dim);
  });
  return 0;
}

int32_t norm_rope(sluice_backend* backend, float* x, int64_t rows, int64_t heads, int64_t head_dim,
                  int64_t stride, const float* weight, float eps, const float* cos,
                  const float* sin, int64_t rotary) {
  const int64_t half = rotary / 2;
  backend->pool.for_ranges(rows * heads, 8, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / heads;
      float* head = x + row * stride + (i % heads) * head_dim;
      if (weight) backend->kernels.rms_norm(head, weight, head_dim, eps, head);
      const float* c = cos + row * half;
      const float* s = sin + row * half;
      for (int64_t k = 0; k < half; ++k) {
        const float a = head[k];
        const float b = head[k + half];
        head[k] = a * c[k] - b * s[k];
        head[k + half] = b * c[k] + a * s[k];
      }
    }
  });
  return 0;
}

int32_t gather(sluice_backend*, const float* x, const int32_t* rows, int64_t count, int64_t dim,
               float* out) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(x + rows[i] * dim, dim, out + i * dim);
  return 0;
}

}  // namespace sluice::cpu
