// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "compute/cpu/kernels.h"

namespace sluice::cpu {

struct TestLevel {
  std::string name;
  const Kernels* kernels;
};
inline void PrintTo(const TestLevel& level, std::ostream* out) {
  *out << level.name;
}

// The levels of this machine, scalar first, and on one with AVX-512 also avx-vnni in that encoding.
const std::vector<TestLevel>& levels();

// The scalar truth: the quant module's functions and plain loops, apart from all levels.
const Kernels& reference();
void fill_delta_reference(Kernels& table);  // a part of it

}  // namespace sluice::cpu
