// SPDX-License-Identifier: Apache-2.0
#include "hub/pieces.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "hub/sha256.h"

namespace sluice::hub {
namespace {

TEST(PiecesTest, RunsSkipWhatIsHere) {
  Pieces pieces({false, false, true, false, false, false});
  auto run = pieces.take(8, 1);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->first, 0u);
  EXPECT_EQ(run->count, 2u);
  run = pieces.take(8, 1);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->first, 3u);
}

TEST(PiecesTest, EveryPieceIsTakenOnce) {
  Pieces pieces(std::vector<bool>(1000, false));
  std::mutex mutex;
  std::multiset<uint64_t> taken;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      while (const auto run = pieces.take(8, 4))
        for (uint64_t p = run->first; p < run->first + run->count; ++p) {
          pieces.finish(p);
          const std::lock_guard lock(mutex);
          taken.insert(p);
        }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken.size(), 1000u);
  EXPECT_EQ(std::set<uint64_t>(taken.begin(), taken.end()).size(), 1000u);
  EXPECT_TRUE(pieces.all_here());
  EXPECT_EQ(pieces.collect().size(), 1000u);
  EXPECT_TRUE(pieces.collect().empty());
}

TEST(PiecesTest, RunsShrinkNearTheEnd) {
  Pieces pieces(std::vector<bool>(20, false));
  uint64_t most = 8, runs = 0;
  while (const auto run = pieces.take(8, 4)) {
    EXPECT_LE(run->count, most);
    most = run->count;
    ++runs;
  }
  EXPECT_EQ(most, 1u);
  EXPECT_GE(runs, 8u);
}

TEST(PiecesTest, WhoWaitsIsWoken) {
  Pieces pieces(std::vector<bool>(2, false));
  std::thread writer([&] { pieces.finish(0); });
  EXPECT_TRUE(pieces.wait_for(0));
  writer.join();
  std::thread quitter([&] { pieces.give_up(); });
  EXPECT_FALSE(pieces.wait_for(1));
  quitter.join();
}

TEST(Sha256Test, KnownValues) {
  Sha256 sha;
  EXPECT_EQ(sha.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const std::string text = "abc";
  sha.add({reinterpret_cast<const uint8_t*>(text.data()), 1});
  sha.add({reinterpret_cast<const uint8_t*>(text.data()) + 1, 2});
  EXPECT_EQ(sha.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace sluice::hub
