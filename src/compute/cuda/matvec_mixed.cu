// SPDX-License-Identifier: Apache-2.0
// Queries, keys and values of a token, whose weights are of several types, in one launch.
#include "compute/cuda/matvec.cuh"

namespace sluice::cuda {
namespace {

template <int kSlots>
__global__ void __launch_bounds__(kMatvecWarps* kWarp, matvec_blocks<Q6_K>(kSlots))
    matvec_mixed_kernel(const __grid_constant__ Jobs jobs, const Acts x, const Grids* grids) {
  switch (jobs.job[blockIdx.y].type) {
    case Q4_K::kId:
      return multiply_job<Q4_K, kSlots>(jobs, x, grids);
    case Q5_K::kId:
      return multiply_job<Q5_K, kSlots>(jobs, x, grids);
    default:
      return multiply_job<Q6_K, kSlots>(jobs, x, grids);
  }
}

}  // namespace

bool mixes(uint32_t type) {
  return type == Q4_K::kId || type == Q5_K::kId || type == Q6_K::kId;
}

int32_t matvec_mixed(sluice_backend* backend, const Jobs& jobs, const Acts& x, int slots) {
  int rows = 0;
  for (int i = 0; i < jobs.count; ++i)
    rows = rows < jobs.job[i].weight_rows ? jobs.job[i].weight_rows : rows;
  const int block_rows = (kMatvecWarps * kWarp >> lanes_of_row<Q6_K>(jobs.cols)) * kMatvecRows;
  const dim3 grid(static_cast<unsigned>(ceil_div(rows, block_rows)),
                  static_cast<unsigned>(jobs.count));
  return launch_after(backend, "matvec_mixed",
                      slots <= 1 ? matvec_mixed_kernel<1> : matvec_mixed_kernel<2>, grid,
                      kMatvecWarps * kWarp, jobs, x, backend->grids);
}

}  // namespace sluice::cuda
