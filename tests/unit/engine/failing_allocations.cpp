// SPDX-License-Identifier: Apache-2.0
// In a file of its own, so that no compiler sees through it at the places that allocate.
#include "failing_allocations.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>

namespace sluice::test {

std::atomic<int64_t> news_left{-1}, maps_left{-1};

}  // namespace sluice::test

namespace {

bool fails(std::atomic<int64_t>& left) {
  return left.load(std::memory_order_relaxed) >= 0 &&
         left.fetch_sub(1, std::memory_order_relaxed) == 0;
}

}  // namespace

extern "C" void* mmap(void* address, size_t bytes, int protection, int flags, int file,
                      off_t offset) noexcept {
  if ((flags & MAP_NORESERVE) != 0 && fails(sluice::test::maps_left)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  // NOLINTNEXTLINE: the system call gives a number
  return reinterpret_cast<void*>(
      syscall(SYS_mmap, address, bytes, protection, flags, file, offset));
}

void* operator new(size_t size) {
  if (fails(sluice::test::news_left)) throw std::bad_alloc();
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
