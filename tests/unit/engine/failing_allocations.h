// SPDX-License-Identifier: Apache-2.0
// Both ways in which the program gets memory, replaced by others that can fail: operator new, and
// the mappings of AlignedBuffer.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::test {

// How many more calls work before one fails; negative: all.
extern std::atomic<int64_t> news_left, maps_left;

}  // namespace sluice::test
