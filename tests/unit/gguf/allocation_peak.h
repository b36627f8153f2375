// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace sluice::gguf {

// Most bytes held at once through operator new since construction, beyond what was held then. One
// at a time, in programs of one thread.
class AllocationPeak {
 public:
  AllocationPeak();
  size_t bytes() const;

 private:
  size_t before_;
};

}  // namespace sluice::gguf
