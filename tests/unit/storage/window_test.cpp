// SPDX-License-Identifier: Apache-2.0
#include "storage/window.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::storage {
namespace {

TEST(Window, OfAnExpertsPart) {
  const Window window = enclosing_window(1152 + 3 * 884736, 884736, 4096);
  EXPECT_EQ(window.offset, 3u * 884736);
  EXPECT_EQ(window.phase, 1152u);
  EXPECT_EQ(window.needed, 1152u + 884736);
  EXPECT_EQ(window.bytes, 884736u + 4096);
  EXPECT_EQ(slot_bytes(884736, 4096), 884736u + 4096);
}

TEST(Window, WithoutAlignmentIsTheRange) {
  const Window window = enclosing_window(12345, 678, 1);
  EXPECT_EQ(window.offset, 12345u);
  EXPECT_EQ(window.phase, 0u);
  EXPECT_EQ(window.bytes, 678u);
  EXPECT_EQ(window.needed, 678u);
  EXPECT_EQ(slot_bytes(678, 1), 678u);
}

TEST(Window, IsAlignedAndEnclosesAndIsSmallest) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const uint32_t alignment = 1u << (random() % 17);
    const uint64_t offset = random() >> (1 + random() % 60);
    const uint32_t bytes = 1 + static_cast<uint32_t>(random() % (1u << (1 + random() % 24)));
    const Window window = enclosing_window(offset, bytes, alignment);
    ASSERT_EQ(window.offset % alignment, 0u);
    ASSERT_EQ(window.bytes % alignment, 0u);
    ASSERT_EQ(window.offset + window.phase, offset);
    ASSERT_EQ(window.needed, window.phase + bytes);
    ASSERT_LE(window.needed, window.bytes);
    ASSERT_LT(window.phase, alignment);
    ASSERT_LT(window.bytes - window.needed, alignment);
    ASSERT_LE(window.bytes, slot_bytes(bytes, alignment));
  }
}

TEST(Window, PiecesAreTheWindow) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 5000; ++i) {
    const uint32_t alignment = 1u << (9 + random() % 4);
    const Window window = enclosing_window(random() >> 20, 1 + random() % 300000, alignment);
    const uint32_t piece_bytes = alignment * (1 + random() % 20);
    uint64_t at = window.offset;
    uint64_t needed = 0;
    uint64_t padding_before = 0;
    const uint32_t count = piece_count(window, piece_bytes);
    ASSERT_GE(count, 1u);
    for (uint32_t k = 0; k < count; ++k) {
      const Window part = piece(window, k, piece_bytes);
      ASSERT_EQ(part.offset, at);
      ASSERT_EQ(part.bytes % alignment, 0u);
      ASSERT_LE(part.bytes, piece_bytes);
      ASSERT_GE(part.needed, 1u);
      ASSERT_LE(part.needed, part.bytes);
      at += part.bytes;
      needed += part.needed;
      padding_before += part.phase;
    }
    ASSERT_EQ(at, window.offset + window.bytes);
    ASSERT_EQ(needed, window.needed);
    ASSERT_EQ(padding_before, window.phase);
  }
}

TEST(WindowDeathTest, WrongAlignment) {
  EXPECT_DEATH(enclosing_window(0, 1, 3), "power of two");
  EXPECT_DEATH(enclosing_window(0, 1, 0), "power of two");
  EXPECT_DEATH(enclosing_window(0, 0, 512), "no bytes");
  EXPECT_DEATH(enclosing_window(1, UINT32_MAX, 512), "less than 4 GiB");
}

}  // namespace
}  // namespace sluice::storage
