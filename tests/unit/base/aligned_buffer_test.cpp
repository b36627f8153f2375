// SPDX-License-Identifier: Apache-2.0
#include "base/aligned_buffer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace sluice {
namespace {

static_assert(!std::is_copy_constructible_v<AlignedBuffer>);
static_assert(!std::is_copy_assignable_v<AlignedBuffer>);
static_assert(std::is_nothrow_move_constructible_v<AlignedBuffer>);

bool mapped(const void* page) {
  unsigned char resident;
  return mincore(const_cast<void*>(page), 1, &resident) == 0;
}

TEST(AlignedBuffer, IsPageAlignedAndZero) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{4097}, size_t{9} << 20}) {
    SCOPED_TRACE(bytes);
    AlignedBuffer buffer = AlignedBuffer::allocate(bytes);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 4096, 0u);
    EXPECT_EQ(std::count(buffer.data(), buffer.data() + bytes, 0), static_cast<long>(bytes));
    buffer.data()[0] = 1;
    buffer.data()[bytes - 1] = 2;
  }
}

TEST(AlignedBuffer, EmptyHasNoData) {
  const AlignedBuffer none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.data(), nullptr);
  EXPECT_EQ(none.size(), 0u);
  EXPECT_FALSE(AlignedBuffer::allocate(0));
}

TEST(AlignedBuffer, NoMemoryGivesAnEmptyOne) {
  const AlignedBuffer buffer = AlignedBuffer::allocate(SIZE_MAX / 2);
  EXPECT_FALSE(buffer);
  EXPECT_EQ(buffer.size(), 0u);
}

// A reservation far above the memory of this machine: only touched pages count.
TEST(AlignedBuffer, UntouchedMemoryIsFree) {
  AlignedBuffer buffer = AlignedBuffer::allocate(size_t{1} << 40);
  ASSERT_TRUE(buffer);
  buffer.data()[size_t{1} << 39] = 7;
  EXPECT_EQ(buffer.data()[size_t{1} << 39], 7);
}

TEST(AlignedBuffer, MovesTakeTheMemory) {
  AlignedBuffer a = AlignedBuffer::allocate(5000);
  a.data()[4999] = 42;
  uint8_t* const data = a.data();

  AlignedBuffer b(std::move(a));
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): emptied by contract
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(b.size(), 5000u);

  AlignedBuffer c = AlignedBuffer::allocate(100);
  uint8_t* const old = c.data();
  c = std::move(b);
  EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.data()[4999], 42);
  EXPECT_FALSE(mapped(old));

  AlignedBuffer& alias = c;
  c = std::move(alias);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.data()[4999], 42);
}

TEST(AlignedBuffer, GivesItsMemoryBack) {
  const uint8_t* data = nullptr;
  {
    AlignedBuffer buffer = AlignedBuffer::allocate(4096);
    data = buffer.data();
    buffer.data()[0] = 1;
    EXPECT_TRUE(mapped(data));
  }
  EXPECT_FALSE(mapped(data));
}

}  // namespace
}  // namespace sluice
