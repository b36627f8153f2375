// SPDX-License-Identifier: Apache-2.0
#include "compute/cpu/simd/neon.h"

#include "compute/cpu/simd/attention.h"
#include "compute/cpu/simd/conversions_neon.h"
#include "compute/cpu/simd/delta.h"
#include "compute/cpu/simd/fill_dot_rows.h"

namespace sluice::cpu {

void fill_neon(Kernels& table) {
  fill_dot_rows(table);
  fill_floats(table);
  fill_attention(table);
  fill_delta(table);
  fill_conversions(table);
}

}  // namespace sluice::cpu
