// SPDX-License-Identifier: Apache-2.0
// An accelerator without hardware: the CPU's operations behind a contract that says that their
// memory is not the host's. Copies beside the operations happen as late as they may, and operations
// refuse addresses that were not allocated on it.
#pragma once

#include "compute/backend_abi.h"

namespace sluice::test {

// One for the process; `total_bytes` is what memory_info tells.
const sluice_backend_api* late_device();

}  // namespace sluice::test
