// SPDX-License-Identifier: Apache-2.0
// The cache of experts over a fake disk: right bytes in every order of arrival, and an error, never
// a wrong answer or a wait without end, for everything that a disk can do.
#include <gmock/gmock.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <set>
#include <sstream>

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

TEST_F(ExpertCacheTest, FirstComesWhatEarlierRunsUsed) {
  const auto cache = open(30);
  // Layer 3's experts 2 and 9, layer 0's 5: in no order.
  const std::vector<int32_t> first = {3 * 16 + 9, 5, 3 * 16 + 2};
  cache->fill(first, false);
  ASSERT_TRUE(cache->wait_until_full());
  EXPECT_EQ(cache->statistics().loads, 3u) << "nothing else was asked for";
  const std::vector<storage::Read> reads = disk_->taken();
  const auto place = [&](size_t layer, size_t expert) {
    const ByteRange& gate = table_.layers[layer].experts[expert][kGate];
    const auto read = std::find_if(reads.begin(), reads.end(), [&](const storage::Read& r) {
      return r.file == gate.file && r.offset == gate.offset / 4096 * 4096;
    });
    return read - reads.begin();
  };
  EXPECT_LT(place(0, 5), place(3, 2)) << "in the order of the files";
  EXPECT_LT(place(3, 2), place(3, 9));
  ASSERT_TRUE(step(*cache, 0, {5}, Use::kToken));
  ASSERT_TRUE(step(*cache, 3, {2, 9}, Use::kToken));
  EXPECT_EQ(cache->statistics().hits, 3u);
  EXPECT_EQ(cache->statistics().loads, 3u);
}

TEST_F(ExpertCacheTest, TheRestIsReadBehindIt) {
  const auto cache = open(100);
  cache->fill(std::vector<int32_t>{95, 3});
  ASSERT_TRUE(cache->wait_until_full());
  EXPECT_TRUE(cache->complete());
  EXPECT_EQ(cache->statistics().loads, static_cast<uint64_t>(cache->experts()));
}

TEST_F(ExpertCacheTest, UsesAreCounted) {
  const auto cache = open(30);
  ASSERT_TRUE(step(*cache, 1, {0, 3}, Use::kToken));
  ASSERT_TRUE(step(*cache, 1, {3, 7}, Use::kScan));
  std::vector<uint32_t> expected(6 * 16);
  expected[16] = expected[16 + 7] = 1;
  expected[16 + 3] = 2;
  EXPECT_THAT(cache->uses(), testing::ElementsAreArray(expected));
}

TEST_F(ExpertCacheTest, TheTimelineTellsWhatCameAndLeft) {
  const auto cache = open(0);
  ASSERT_TRUE(step(*cache, 0, {1, 2}, Use::kToken));
  Timeline timeline(6, 16, cache->slots());
  cache->record_to(&timeline);
  std::mt19937 random(2);
  for (int token = 0; token < 8; ++token)
    for (int layer = 0; layer < 6; ++layer)
      ASSERT_TRUE(step(*cache, layer, some(random, 3), Use::kToken));
  cache->record_to(static_cast<Timeline*>(nullptr));
  ASSERT_TRUE(step(*cache, 0, {1, 2, 3}, Use::kToken));
  const std::string path = testing::TempDir() + "/sluice_timeline";
  ASSERT_TRUE(timeline.write(path));
  std::ifstream file(path);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(line, "sluice-timeline 1 6 16 " + std::to_string(cache->slots()));
  std::set<std::pair<int, int>> here;
  int64_t requests = 0, last = 0, missing = 0;
  const auto numbers = [](const std::string& list) {
    std::vector<int> all;
    std::istringstream words(list == "-" ? "" : list);
    for (std::string word; std::getline(words, word, ',');) all.push_back(std::stoi(word));
    return all;
  };
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string what, use, hits, misses;
    int64_t step = 0, begin = 0, end = 0, waited = 0;
    int layer = 0, expert = 0;
    words >> what;
    if (what == "r") {
      words >> step >> layer >> use >> begin >> end >> waited >> hits >> misses;
      EXPECT_EQ(step, requests / 6);
      EXPECT_EQ(layer, requests % 6);
      EXPECT_EQ(use, "t");
      EXPECT_LE(begin, end);
      EXPECT_LE(waited, end - begin + 1);
      EXPECT_EQ(numbers(hits).size() + numbers(misses).size(), 3u);
      for (const int e : numbers(hits)) EXPECT_TRUE(here.contains({layer, e})) << line;
      for (const int e : numbers(misses)) EXPECT_FALSE(here.contains({layer, e})) << line;
      missing += static_cast<int64_t>(numbers(misses).size());
      ++requests;
    } else {
      words >> begin >> layer >> expert;
      const bool changed =
          what == "+" ? here.insert({layer, expert}).second : here.erase({layer, expert}) == 1;
      EXPECT_TRUE(changed) << line;
      EXPECT_LE(static_cast<int64_t>(here.size()), cache->slots());
    }
    EXPECT_FALSE(words.fail()) << line;
    EXPECT_GE(begin, last);
    last = begin;
  }
  EXPECT_EQ(requests, 48);
  EXPECT_GT(missing, 0);
  std::remove(path.c_str());
  EXPECT_FALSE(timeline.write(testing::TempDir() + "/no/such/folder"));
}

TEST_F(ExpertCacheTest, WhatIsReadWhileItWaitsIsCounted) {
  const auto cache = open(0);
  std::mt19937 random(2);
  for (int layer = 0; layer < 6; ++layer)
    ASSERT_TRUE(step(*cache, layer, some(random, 3), Use::kToken));
  const CacheStatistics s = cache->statistics();
  EXPECT_GT(s.stalled.count(), 0);
  EXPECT_GT(s.bytes_while_stalled, 0u);
  EXPECT_LE(s.bytes_while_stalled, s.bytes_read);
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
