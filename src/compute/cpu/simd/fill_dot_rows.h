// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compute/cpu/simd/dot_rows.h"
#include "compute/cpu/simd/grid_formats.h"

namespace sluice::cpu {
namespace {

template <class Format>
SLUICE_INLINE void set_dot_rows(Kernels& table, quant::Type type) {
  table.dot_rows[static_cast<uint32_t>(type)] = RowProduct<Format>::run;
}

inline void fill_dot_rows(Kernels& table) {
  using quant::Type;
  set_dot_rows<Q4_0>(table, Type::kQ4_0);
  set_dot_rows<Q4_1>(table, Type::kQ4_1);
  set_dot_rows<Q5_0>(table, Type::kQ5_0);
  set_dot_rows<Q5_1>(table, Type::kQ5_1);
  set_dot_rows<Q8_0>(table, Type::kQ8_0);
  set_dot_rows<Q2_K>(table, Type::kQ2_K);
  set_dot_rows<Q3_K>(table, Type::kQ3_K);
  set_dot_rows<Q4_K>(table, Type::kQ4_K);
  set_dot_rows<Q5_K>(table, Type::kQ5_K);
  set_dot_rows<Q6_K>(table, Type::kQ6_K);
  set_dot_rows<IQ2_XXS>(table, Type::kIQ2_XXS);
  set_dot_rows<IQ2_XS>(table, Type::kIQ2_XS);
  set_dot_rows<IQ2_S>(table, Type::kIQ2_S);
  set_dot_rows<IQ3_XXS>(table, Type::kIQ3_XXS);
  set_dot_rows<IQ3_S>(table, Type::kIQ3_S);
  set_dot_rows<IQ4_NL>(table, Type::kIQ4_NL);
  set_dot_rows<IQ4_XS>(table, Type::kIQ4_XS);
  set_dot_rows<MXFP4>(table, Type::kMXFP4);
}

}  // namespace
}  // namespace sluice::cpu
