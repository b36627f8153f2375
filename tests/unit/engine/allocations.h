// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace sluice::test {

// How often this program has called operator new.
size_t allocations();

}  // namespace sluice::test
