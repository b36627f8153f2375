// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/formats_iq.cuh"
#include "compute/cuda/token.cuh"

namespace sluice::cuda {

#define SLUICE_TOKEN(F)                                                                    \
  template int32_t token_gates<F>(sluice_backend*, const TokenGates&, const Acts&, float*, \
                                  const Acts&, const UnitOrders&);                         \
  template int32_t token_downs<F>(sluice_backend*, const TokenDowns&, const Acts&, float*);

SLUICE_TOKEN(IQ2_XXS)
SLUICE_TOKEN(IQ2_XS)
SLUICE_TOKEN(IQ2_S)
SLUICE_TOKEN(IQ3_XXS)
SLUICE_TOKEN(IQ3_S)
SLUICE_TOKEN(IQ4_XS)

}  // namespace sluice::cuda
