// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/formats_iq.cuh"
#include "compute/cuda/gemm.cuh"

namespace sluice::cuda {

template int32_t gemm<IQ2_XXS>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<IQ2_XS>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<IQ2_S>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<IQ3_XXS>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<IQ3_S>(sluice_backend*, const Jobs&, const Acts&, int tiles);
template int32_t gemm<IQ4_XS>(sluice_backend*, const Jobs&, const Acts&, int tiles);

}  // namespace sluice::cuda
