// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/gemm.cuh"

namespace sluice::cuda {

template int32_t gemm<Q2_K>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q3_K>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q4_K>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q5_K>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q6_K>(sluice_backend*, const Jobs&, const Acts&, int tiles);

}  // namespace sluice::cuda
