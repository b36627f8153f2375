// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compute/backend_abi.h"

namespace sluice::cpu {

// The CPU's side of the contract; linked into the program, unlike accelerators.
const sluice_backend_api* cpu_backend();

}  // namespace sluice::cpu
