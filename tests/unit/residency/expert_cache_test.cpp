// SPDX-License-Identifier: Apache-2.0
// The cache of experts over a fake disk: right bytes in every order of arrival, and an error, never
// a wrong answer or a wait without end, for everything that a disk can do.
#include <gmock/gmock.h>

#include <cerrno>

#include "cache_fixture.h"

namespace sluice::residency {
namespace {

using testing::HasSubstr;

TEST_F(ExpertCacheTest, GivesTheRightBytesInEveryOrderOfArrival) {
  for (const int share : {0, 10, 40, 80, 100})
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(testing::Message() << share << " %, seed " << seed);
      FakeDiskOptions disk;
      disk.seed = seed;
      disk.depth = seed % 2 ? 3 : 16;
      disk.alignment = seed % 3 ? 4096 : 1;
      const auto cache = open(share, {}, disk);
      if (seed % 4 == 0) cache->fill();
      std::mt19937 random(static_cast<uint32_t>(seed));
      for (int token = 0; token < 12; ++token)
        for (int layer = 0; layer < 6; ++layer) {
          const bool scan = token % 4 == 0;
          const auto ids = some(random, scan ? 3 + random() % 14 : 3);
          std::vector<uint8_t> lasting(ids.size());
          for (uint8_t& flag : lasting) flag = random() % 2;
          const Status done = step(*cache, layer, ids, scan ? Use::kScan : Use::kToken, lasting);
          ASSERT_TRUE(done) << done.error().message;
        }
      const CacheStatistics s = cache->statistics();
      EXPECT_LE(s.hits, s.requests);
      EXPECT_GE(s.loads + s.hits, s.requests);
      EXPECT_LE(s.loads - s.evictions, static_cast<uint64_t>(cache->slots()));
    }
}

TEST_F(ExpertCacheTest, WithRoomForAllEachIsReadOnce) {
  const auto cache = open(100);
  std::mt19937 random(1);
  for (int token = 0; token < 40; ++token)
    for (int layer = 0; layer < 6; ++layer)
      ASSERT_TRUE(step(*cache, layer, some(random, 3), Use::kToken));
  EXPECT_EQ(cache->statistics().evictions, 0u);
  cache->fill();
  ASSERT_TRUE(cache->wait_until_full());
  EXPECT_TRUE(cache->complete());
  EXPECT_EQ(cache->statistics().loads, static_cast<uint64_t>(cache->experts()));
  const size_t reads = disk_->taken().size();
  for (int layer = 0; layer < 6; ++layer)
    ASSERT_TRUE(step(*cache, layer, some(random, 16), Use::kScan));
  EXPECT_EQ(disk_->taken().size(), reads);
}

// What is used again and again is not read again: without evictions, no byte twice.
TEST_F(ExpertCacheTest, SteadyStateReadsNothingTwice) {
  const auto cache = open(50);
  for (int token = 0; token < 30; ++token)
    for (int layer = 0; layer < 6; ++layer)
      ASSERT_TRUE(step(*cache, layer, {1, 4, 11}, Use::kToken));
  EXPECT_EQ(cache->statistics().loads, 18u);
  EXPECT_EQ(cache->statistics().evictions, 0u);
  EXPECT_EQ(cache->statistics().hits, 29u * 18u);
}

TEST_F(ExpertCacheTest, ASweepReadsEachExpertOnce) {
  for (const int share : {0, 30}) {
    const auto cache = open(share);
    std::vector<int32_t> all(16);
    std::iota(all.begin(), all.end(), 0);
    for (int layer = 0; layer < 6; ++layer) ASSERT_TRUE(step(*cache, layer, all, Use::kScan));
    EXPECT_EQ(cache->statistics().loads, 6u * 16u);
  }
}

TEST_F(ExpertCacheTest, AFailedReadIsAnErrorAndTheNextTryWorks) {
  for (uint64_t k = 0; k < 40; ++k) {
    SCOPED_TRACE(k);
    const auto cache = open(30);
    disk_->fail_read(k, EIO);
    std::mt19937 random(static_cast<uint32_t>(k));
    int errors = 0;
    for (int token = 0; token < 6; ++token)
      for (int layer = 0; layer < 6; ++layer) {
        const auto ids = some(random, 3);
        const Use use = token % 2 ? Use::kToken : Use::kScan;
        const Status done = step(*cache, layer, ids, use);
        if (done) continue;
        ++errors;
        EXPECT_EQ(done.error().kind, ErrorKind::kIo);
        EXPECT_THAT(done.error().message,
                    testing::AnyOf(HasSubstr("one.gguf"), HasSubstr("two.gguf")));
        EXPECT_TRUE(step(*cache, layer, ids, use));
      }
    EXPECT_EQ(errors, 1);
  }
}

TEST_F(ExpertCacheTest, AFileThatWasCutShortIsAnError) {
  const auto cache = open(30);
  ASSERT_TRUE(step(*cache, 0, {0, 1, 2}, Use::kToken));
  disk_->truncate(0, 20000);
  disk_->truncate(1, 20000);
  const Status done = step(*cache, 5, {13, 14, 15}, Use::kToken);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kBadFile);
  EXPECT_TRUE(step(*cache, 0, {0, 1, 2}, Use::kToken)) << "what is in memory stays";
}

TEST_F(ExpertCacheTest, ChangedBytesAreAnErrorThatNamesTheTensor) {
  const auto cache = open(0);
  ASSERT_TRUE(step(*cache, 2, {5}, Use::kToken));
  const ByteRange& from = table_.layers[2].experts[5][kUp];
  disk_->flip_bit(from.file, from.offset + 4000);
  std::mt19937 random(1);
  for (int i = 0; i < 30; ++i)  // pushes expert 5 out
    for (const int layer : {0, 4}) ASSERT_TRUE(step(*cache, layer, some(random, 3), Use::kToken));
  const Status done = step(*cache, 2, {5}, Use::kToken);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kBadFile);
  EXPECT_THAT(done.error().message, HasSubstr("blk.2.part1 of expert 5"));
  EXPECT_THAT(done.error().message, HasSubstr(std::to_string(from.offset)));
}

TEST_F(ExpertCacheTest, ADiskThatDoesNotAnswerIsAnErrorInTime) {
  CacheOptions options;
  options.patience = std::chrono::milliseconds(50);
  const auto cache = open(50, options);
  ASSERT_TRUE(step(*cache, 0, {0}, Use::kToken));
  disk_->hold();
  for (const Use use : {Use::kToken, Use::kScan}) {
    const auto before = std::chrono::steady_clock::now();
    const Status done = step(*cache, 1, {3, 7}, use);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind, ErrorKind::kIo);
    EXPECT_THAT(done.error().message, HasSubstr("no answer from the disk"));
  }
  disk_->release();
  EXPECT_TRUE(step(*cache, 1, {3, 7}, Use::kToken));
}

TEST_F(ExpertCacheTest, AStallIsNoError) {
  const auto cache = open(50);
  for (uint64_t k = 0; k < 30; k += 3) disk_->stall_read(k, std::chrono::milliseconds(500));
  for (int layer = 0; layer < 6; ++layer) ASSERT_TRUE(step(*cache, layer, {2, 9}, Use::kToken));
}

TEST_F(ExpertCacheTest, FillingReportsWhatFails) {
  const auto cache = open(100);
  disk_->fail_read(20, EIO);
  cache->fill();
  const Status done = cache->wait_until_full();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kIo);
  EXPECT_FALSE(cache->complete());
  std::vector<int32_t> all(16);
  std::iota(all.begin(), all.end(), 0);
  for (int layer = 0; layer < 6; ++layer) EXPECT_TRUE(step(*cache, layer, all, Use::kScan));
  EXPECT_TRUE(cache->complete());
}

TEST_F(ExpertCacheTest, TooLittleMemoryIsRefused) {
  CacheOptions options;
  options.used = 3;
  options.bytes = SlotArena::least_bytes(table_, 3) - 1;
  auto disk = std::make_unique<FakeDisk>(std::vector<FakeDisk::File>{{"a", {}}, {"b", {}}});
  const auto cache = ExpertCache::create(table_, std::move(disk), options);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().kind, ErrorKind::kTooLarge);
}

TEST_F(ExpertCacheTest, EndsWhileReadsAreUnderWay) {
  for (int i = 0; i < 20; ++i) {
    const auto cache = open(100);
    cache->fill();
    ExpertStream stream;
    if (i % 2) cache->begin(i % 6, std::vector<int32_t>{1, 2, 3}, Use::kToken, {}, stream);
    stream.finish();
  }
}

TEST_F(ExpertCacheTest, ATableWithoutLayersIsComplete) {
  const auto cache = ExpertCache::create({}, nullptr, {});
  ASSERT_TRUE(cache);
  EXPECT_TRUE((*cache)->complete());
  EXPECT_EQ((*cache)->bytes(), 0u);
  (*cache)->fill();
  EXPECT_TRUE((*cache)->wait_until_full());
}

}  // namespace
}  // namespace sluice::residency
