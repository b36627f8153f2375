// SPDX-License-Identifier: Apache-2.0
#include "compute/cpu/simd/avx_vnni.h"
#include "compute/cpu/simd/fill_dot_rows.h"

namespace sluice::cpu {

void fill_avx_vnni(Kernels& table) {
  fill_dot_rows(table);
}

}  // namespace sluice::cpu
