// SPDX-License-Identifier: Apache-2.0
#include "residency/slot_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace sluice::residency {
namespace {

// Two sizes of experts, neither a multiple of a page.
ExpertTable two_sizes(int layers, size_t experts) {
  ExpertTable table;
  for (int n = 0; n < layers; ++n) {
    const uint32_t down = n % 2 ? 90'000 : 50'000;
    table.layers.emplace_back().experts.assign(
        experts,
        ExpertRanges{ByteRange{0, 0, 50'001}, ByteRange{0, 0, 50'001}, ByteRange{0, 0, down}});
  }
  return table;
}

uint64_t resident_bytes(const uint8_t* from, uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  if (mincore(const_cast<uint8_t*>(from), bytes, pages.data()) != 0) return 0;
  uint64_t resident = 0;
  for (const unsigned char one : pages) resident += one & 1 ? page : 0;
  return resident;
}

TEST(SlotArena, BudgetsAreKeptAndShared) {
  const ExpertTable table = two_sizes(6, 32);
  const uint64_t least = SlotArena::least_bytes(table, 3), full = SlotArena::full_bytes(table);
  EXPECT_FALSE(SlotArena::create(table, 3, least - 1));
  for (int i = 0; i <= 20; ++i) {
    const uint64_t bytes = least + (full - least) * static_cast<uint64_t>(i) / 20;
    const auto arena = SlotArena::create(table, 3, bytes);
    ASSERT_TRUE(arena);
    ASSERT_EQ(arena->classes(), 2u);
    const ArenaUse use = arena->use();
    EXPECT_LE(use.most, bytes);
    EXPECT_GE(use.most + 2 * (200'000 + 6 * 4096), bytes) << "at most a slot of each size unused";
    EXPECT_EQ(use.least, least);
    EXPECT_EQ(use.untouched, use.most);
    EXPECT_NEAR(static_cast<double>(arena->slots(0)), static_cast<double>(arena->slots(1)), 1);
  }
  EXPECT_EQ(SlotArena::create(table, 3, UINT64_MAX)->use().most, full);
}

TEST(SlotArena, WhatIsGivenBackIsTheSystemsAndComesBackEmpty) {
  const ExpertTable table = two_sizes(2, 40);
  auto arena = SlotArena::create(table, 2, UINT64_MAX);
  ASSERT_TRUE(arena);
  const uint64_t full_of_first = SlotArena::full_bytes(two_sizes(1, 40));
  std::vector<int32_t> slots;
  for (int i = 0; i < 40; ++i) {
    slots.push_back(arena->take(0));
    std::memset(arena->part(0, slots.back(), 0), 1, 150'002);
  }
  const auto sum = [&] {
    uint64_t bytes = 0;
    for (int32_t slot = 0; slot < 40; ++slot)
      bytes += resident_bytes(arena->part(0, slot, 0), 150'002);
    return bytes;
  };
  const uint64_t before = sum();
  EXPECT_GE(before, 40u * 150'002);
  EXPECT_EQ(arena->use().untouched, SlotArena::full_bytes(two_sizes(2, 40)) - full_of_first);

  arena->aim(0);
  EXPECT_EQ(arena->slots(0), 4);
  EXPECT_EQ(arena->excess(0), 36);
  arena->trim(0);
  EXPECT_EQ(arena->excess(0), 36) << "all are taken";
  for (int i = 0; i < 30; ++i) arena->give(0, slots[static_cast<size_t>(i)]);
  arena->trim(0);
  arena->trim(1);
  EXPECT_EQ(arena->excess(0), 6);
  EXPECT_FALSE(arena->has_free(0));
  EXPECT_LE(sum(), before / 3);
  const ArenaUse small = arena->use();
  EXPECT_EQ(small.aim, small.least);

  arena->aim(UINT64_MAX);
  EXPECT_EQ(arena->use().aim, arena->use().most);
  EXPECT_EQ(arena->excess(0), 0);
  int again = 0;
  while (arena->has_free(0)) {
    const int32_t slot = arena->take(0);
    EXPECT_EQ(arena->part(0, slot, 1)[1000], 0);
    ++again;
  }
  EXPECT_EQ(again, 30);
  EXPECT_EQ(arena->excess(1), 0);
}

}  // namespace
}  // namespace sluice::residency
