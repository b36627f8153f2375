// SPDX-License-Identifier: Apache-2.0
// The experts of one token in two kernels: what takes time there is not the arithmetic but every
// launch, so the stages that lie between the two products are done by whoever finishes a product.
#pragma once

#include "compute/cuda/products.h"

namespace sluice::cuda {

constexpr int kTokenExperts = 16;

// hidden[e] = silu(gate[e] x) * (up[e] x), quantised.
struct TokenGates {
  const uint8_t* gate[kTokenExperts];
  const uint8_t* up[kTokenExperts];
  int32_t count;
  int32_t row;     // of x
  int32_t hidden;  // a multiple of 32
  int32_t cols;
  int64_t row_bytes;
};

// out += weight[e] * (down[e] hidden[e]), e = 0, 1, ...
struct TokenDowns {
  const uint8_t* down[kTokenExperts];
  float weight[kTokenExperts];
  int32_t count;
  int32_t rows;
  int32_t cols;
  int64_t row_bytes;
};

// values: scratch [count, hidden].
template <class Format>
int32_t token_gates(sluice_backend* backend, const TokenGates& gates, const Acts& x, float* values,
                    const Acts& hidden, const UnitOrders& orders);
template <class Format>
int32_t token_downs(sluice_backend* backend, const TokenDowns& downs, const Acts& hidden,
                    float* out);

}  // namespace sluice::cuda
