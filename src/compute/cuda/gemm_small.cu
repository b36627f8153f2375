// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/gemm.cuh"

namespace sluice::cuda {

template int32_t gemm<Q4_0>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q4_1>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q5_0>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q5_1>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<Q8_0>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<IQ4_NL>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<MXFP4>(sluice_backend*, const Jobs&, const Acts&, int tiles);

}  // namespace sluice::cuda
