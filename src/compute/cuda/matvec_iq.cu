// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/formats_iq.cuh"
#include "compute/cuda/matvec.cuh"

namespace sluice::cuda {

template int32_t matvec<IQ2_XXS>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<IQ2_XS>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<IQ2_S>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<IQ3_XXS>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<IQ3_S>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<IQ4_XS>(sluice_backend*, const Jobs&, const Acts&, int slots);

}  // namespace sluice::cuda
