// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/token.cuh"

namespace sluice::cuda {

#define SLUICE_TOKEN(F)                                                                    \
  template int32_t token_gates<F>(sluice_backend*, const TokenGates&, const Acts&, float*, \
                                  const Acts&, const UnitOrders&);                         \
  template int32_t token_downs<F>(sluice_backend*, const TokenDowns&, const Acts&, float*);

SLUICE_TOKEN(Q2_K)
SLUICE_TOKEN(Q3_K)
SLUICE_TOKEN(Q4_K)
SLUICE_TOKEN(Q5_K)
SLUICE_TOKEN(Q6_K)

}  // namespace sluice::cuda
