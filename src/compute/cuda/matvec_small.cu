// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/matvec.cuh"

namespace sluice::cuda {

template int32_t matvec<Q4_0>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q4_1>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q5_0>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q5_1>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q8_0>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<IQ4_NL>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<MXFP4>(sluice_backend*, const Jobs&, const Acts&, int slots);

}  // namespace sluice::cuda
