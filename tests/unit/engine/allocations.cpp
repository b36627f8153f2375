// SPDX-License-Identifier: Apache-2.0
// Replaces the program's operator new by one that counts. In a file of its own, so that no compiler
// sees through it at the places that allocate.
#include "allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<size_t> count{0};
}  // namespace

size_t sluice::test::allocations() {
  return count;
}

void* operator new(size_t size) {
  ++count;
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return operator new(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
