// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <thread>

#include "cache_fixture.h"

namespace sluice::residency {
namespace {

int64_t count(const Census& census, Tier tier) {
  return std::count(census.tiers.begin(), census.tiers.end(), tier);
}

TEST_F(ExpertCacheTest, TheCensusTellsWhereExpertsAre) {
  const auto cache = open(30);
  Census census;
  cache->take_census(census);
  ASSERT_EQ(census.tiers.size(), 6u * 16);
  EXPECT_EQ(count(census, Tier::kDisk), 6 * 16);
  EXPECT_EQ(census.memory_bytes, 0u);

  ASSERT_TRUE(step(*cache, 0, {1, 3}, Use::kToken));
  ASSERT_TRUE(step(*cache, 1, {3, 7}, Use::kToken));
  ASSERT_TRUE(step(*cache, 1, {3}, Use::kToken));
  cache->take_census(census);
  for (const int key : {1, 3, 16 + 3, 16 + 7})
    EXPECT_EQ(census.tiers[static_cast<size_t>(key)], Tier::kMemory) << key;
  EXPECT_EQ(count(census, Tier::kMemory), 4);
  EXPECT_EQ(census.memory_bytes, 2u * 15000 + 2u * 19000);
  EXPECT_EQ(census.uses[16 + 3], 2u);
  EXPECT_EQ(census.uses[16 + 7], 1u);
  EXPECT_EQ(census.uses[0], 0u);
}

TEST_F(ExpertCacheTest, TheCensusCountsWhatAnotherTierHolds) {
  const auto cache = open(30);
  ASSERT_TRUE(step(*cache, 1, {3, 7}, Use::kToken));
  ASSERT_TRUE(cache->lend(16 + 3));
  Census census;
  cache->take_census(census);
  EXPECT_EQ(census.tiers[16 + 3], Tier::kMemory) << "it is lent, but here";
  cache->leave(16 + 3);
  cache->take_census(census);
  EXPECT_EQ(census.tiers[16 + 3], Tier::kDevice);
  EXPECT_EQ(census.tiers[16 + 7], Tier::kMemory);
  EXPECT_EQ(census.device_bytes, 19000u);
  EXPECT_EQ(census.memory_bytes, 19000u);
}

TEST_F(ExpertCacheTest, TheCensusIsTakenWhileExpertsComeAndGo) {
  const auto cache = open(10);
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    Census census;
    while (!done) {
      cache->take_census(census);
      const int64_t here = count(census, Tier::kMemory);
      EXPECT_LE(here, cache->slots());
      EXPECT_GE(census.memory_bytes, static_cast<uint64_t>(here) * 15000);
    }
  });
  std::mt19937 random(3);
  for (int token = 0; token < 40; ++token)
    for (int layer = 0; layer < 6; ++layer)
      ASSERT_TRUE(step(*cache, layer, some(random, 3), Use::kToken));
  done = true;
  watcher.join();
  Census census;
  cache->take_census(census);
  uint64_t uses = 0;
  for (const uint32_t times : census.uses) uses += times;
  EXPECT_EQ(uses, 40u * 6 * 3);
}

TEST_F(ExpertCacheTest, TheTimeOfStepsHoldsTheTimeOfWaits) {
  const auto cache = open(10);
  ASSERT_TRUE(step(*cache, 0, {1, 2, 3}, Use::kToken));
  const CacheStatistics cold = cache->statistics();
  EXPECT_GE(cold.held, cold.stalled);
  ASSERT_TRUE(step(*cache, 0, {1, 2, 3}, Use::kToken));
  const CacheStatistics warm = cache->statistics();
  EXPECT_GT(warm.held, cold.held);
  EXPECT_EQ(warm.stalled, cold.stalled) << "nothing was missing";
}

}  // namespace
}  // namespace sluice::residency
