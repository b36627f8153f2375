// SPDX-License-Identifier: Apache-2.0
// The cache of experts while its memory shrinks and grows, and what is read more than once.
#include <gmock/gmock.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "cache_fixture.h"

namespace sluice::residency {
namespace {

class ResizeTest : public ExpertCacheTest {
 protected:
  uint64_t share(int percent) const {
    const uint64_t least = SlotArena::least_bytes(table_, 3);
    return least + (SlotArena::full_bytes(table_) - least) * static_cast<uint64_t>(percent) / 100;
  }
  // A prompt, then tokens.
  void expect_steps_right(ExpertCache& cache, std::mt19937& random, int tokens) {
    for (int token = 0; token < tokens; ++token)
      for (int layer = 0; layer < 6; ++layer) {
        const bool scan = token % 4 == 0;
        const Status done = step(cache, layer, some(random, scan ? 3 + random() % 14 : 3),
                                 scan ? Use::kScan : Use::kToken);
        ASSERT_TRUE(done) << done.error().message;
      }
  }
};

TEST_F(ResizeTest, BetweenStepsItHasTheSizeThatWasAskedFor) {
  for (const int start : {100, 60})
    for (uint32_t seed = 1; seed <= 4; ++seed) {
      FakeDiskOptions disk;
      disk.seed = seed;
      const auto cache = open(start, {}, disk);
      if (start == 100) cache->fill();
      std::mt19937 random(seed);
      for (int i = 0; i < 25; ++i) {
        const int percent = static_cast<int>(random() % 120) - 10;
        cache->resize(share(std::max(0, percent)));
        expect_steps_right(*cache, random, 1 + static_cast<int>(random() % 3));
        const ArenaUse use = cache->use();
        EXPECT_LE(use.aim, std::max(use.least, share(std::max(0, percent))));
        const CacheStatistics s = cache->statistics();
        EXPECT_LE(s.loads - s.evictions, static_cast<uint64_t>(cache->slots()) + use.excess / 15000)
            << "no more experts than slots";
      }
    }
}

TEST_F(ResizeTest, WhatAllWereInLosesSomeAndTheyComeBack) {
  const auto cache = open(100);
  cache->fill();
  ASSERT_TRUE(cache->wait_until_full());
  std::mt19937 random(1);
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(cache->complete());
    const uint64_t full = cache->bytes();
    cache->resize(share(20));
    EXPECT_FALSE(cache->complete());
    EXPECT_EQ(cache->use().excess, 0u) << "nobody holds anything: at once";
    EXPECT_LE(cache->bytes(), share(20));
    expect_steps_right(*cache, random, 6);
    cache->resize(UINT64_MAX);
    EXPECT_EQ(cache->bytes(), full);
    ASSERT_TRUE(cache->wait_until_full());
    expect_steps_right(*cache, random, 2);
  }
  const CacheStatistics s = cache->statistics();
  EXPECT_EQ(s.loads - s.evictions, static_cast<uint64_t>(cache->experts()));
  EXPECT_EQ(s.given_back, 0u);
}

// What a step was handed stays, whether it needed a read or not.
TEST_F(ResizeTest, AStepThatIsUnderWayKeepsItsExperts) {
  for (const int start : {100, 50}) {
    const auto cache = open(start);
    if (start == 100) {
      cache->fill();
      ASSERT_TRUE(cache->wait_until_full());
    }
    for (int layer = 0; layer < 6; ++layer)
      ASSERT_TRUE(step(*cache, layer, {1, 2, 3}, Use::kToken));
    ExpertStream stream;
    const std::vector<int32_t> ids{1, 2, 3};
    cache->begin(2, ids, Use::kToken, {}, stream);
    std::vector<ExpertStream::Ready> held;
    while (held.size() < 3) {
      const auto group = stream.next();
      ASSERT_TRUE(group);
      held.insert(held.end(), group->begin(), group->end());
    }
    cache->resize(0);
    EXPECT_GT(cache->use().excess, 0u);
    for (const auto& ready : held)
      expect_right(2, ids[static_cast<size_t>(ready.index)], ready.parts);
    stream.finish();
    ASSERT_TRUE(step(*cache, 3, {7}, Use::kToken));
    EXPECT_EQ(cache->use().excess, 0u);
  }
}

TEST_F(ResizeTest, ATokensStepThatNoLongerFitsIsReadInOrder) {
  const auto cache = open(100);
  cache->resize(0);
  std::vector<int32_t> ids(16);
  std::iota(ids.begin(), ids.end(), 0);
  ExpertStream stream;
  cache->begin(0, ids, Use::kToken, {}, stream);
  EXPECT_EQ(stream.use(), Use::kScan);
  size_t handed = 0;
  while (handed < ids.size()) {
    const auto group = stream.next();
    ASSERT_TRUE(group) << group.error().message;
    for (const auto& ready : *group) {
      ASSERT_EQ(ready.index, static_cast<int32_t>(handed++));
      expect_right(0, ready.index, ready.parts);
    }
  }
}

TEST_F(ResizeTest, AnotherThreadMayDoItAtAnyTime) {
  for (const int start : {100, 40}) {
    const auto cache = open(start);
    if (start == 100) cache->fill();
    std::atomic<bool> stop{false};
    std::thread other([&] {
      std::mt19937 random(7);
      while (!stop) {
        cache->resize(share(static_cast<int>(random() % 101)));
        (void)cache->statistics();
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 400));
      }
    });
    std::mt19937 random(3);
    expect_steps_right(*cache, random, 60);
    stop = true;
    other.join();
  }
}

// Whatever else goes on, a disk that is silent is noticed in time.
TEST_F(ResizeTest, DoesNotRenewThePatienceWithTheDisk) {
  CacheOptions options;
  options.patience = std::chrono::milliseconds(300);
  const auto cache = open(50, options);
  ASSERT_TRUE(step(*cache, 0, {0}, Use::kToken));
  disk_->hold();
  const std::jthread other([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      cache->resize(share(i % 2 ? 40 : 60));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const auto before = std::chrono::steady_clock::now();
  const Status done = step(*cache, 1, {3, 7}, Use::kToken);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(1500));
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, testing::HasSubstr("no answer from the disk"));
  disk_->release();
}

// Parts as large as small models have them: what is read twice is the padding of windows.
TEST_F(ResizeTest, LittleIsReadTwiceWithoutLeaving) {
  make(4, 12, 300'000, 400'000);
  for (const int share : {0, 40, 100}) {
    const auto cache = open(share);
    std::mt19937 random(1);
    for (int token = 0; token < 40; ++token)
      for (int layer = 0; layer < 4; ++layer)
        ASSERT_TRUE(step(*cache, layer, some(random, 3, 12), Use::kToken));
    const CacheStatistics s = cache->statistics();
    EXPECT_GT(s.bytes_again, 0u);
    EXPECT_LE(s.bytes_again * 50, s.bytes_read) << "2 %";
  }
}

TEST_F(ResizeTest, WhatFailedAndIsReadAnewIsCounted) {
  FakeDiskOptions options;
  options.alignment = 1;  // no padding
  const auto cache = open(50, {}, options);
  ASSERT_TRUE(step(*cache, 0, {0, 1, 2}, Use::kToken));
  EXPECT_EQ(cache->statistics().bytes_again, 0u);
  disk_->fail_read(disk_->taken().size() + 5, EIO);  // the last piece of an expert's three parts
  EXPECT_FALSE(step(*cache, 0, {3}, Use::kToken));
  ASSERT_TRUE(step(*cache, 0, {3}, Use::kToken));
  const CacheStatistics s = cache->statistics();
  EXPECT_EQ(s.bytes_again, 10'000u) << "gate and up had come";
  EXPECT_EQ(s.bytes_read, 4 * 15'000u + s.bytes_again);
}

}  // namespace
}  // namespace sluice::residency
