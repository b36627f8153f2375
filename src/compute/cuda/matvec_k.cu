// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/matvec.cuh"

namespace sluice::cuda {

template int32_t matvec<Q2_K>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q3_K>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q4_K>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q5_K>(sluice_backend*, const Jobs&, const Acts&, int slots);
template int32_t matvec<Q6_K>(sluice_backend*, const Jobs&, const Acts&, int slots);

}  // namespace sluice::cuda
