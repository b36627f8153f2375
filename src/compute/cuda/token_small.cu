// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/token.cuh"

namespace sluice::cuda {

#define SLUICE_TOKEN(F)                                                                    \
  template int32_t token_gates<F>(sluice_backend*, const TokenGates&, const Acts&, float*, \
                                  const Acts&, const UnitOrders&);                         \
  template int32_t token_downs<F>(sluice_backend*, const TokenDowns&, const Acts&, float*);

SLUICE_TOKEN(Q4_0)
SLUICE_TOKEN(Q4_1)
SLUICE_TOKEN(Q5_0)
SLUICE_TOKEN(Q5_1)
SLUICE_TOKEN(Q8_0)
SLUICE_TOKEN(IQ4_NL)
SLUICE_TOKEN(MXFP4)

}  // namespace sluice::cuda
