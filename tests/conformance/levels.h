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

// The vector levels of this machine, and on one with AVX-512 also avx-vnni in that encoding.
const std::vector<TestLevel>& vector_levels();

const Kernels& scalar();

}  // namespace sluice::cpu
