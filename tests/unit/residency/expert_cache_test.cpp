// SPDX-License-Identifier: Apache-2.0
#include "residency/expert_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace sluice::residency {
namespace {

using testing::HasSubstr;

// A file of random bytes that counts its reads and fails those that touch `fail_at`.
class FakeFile final : public storage::Reader {
 public:
  FakeFile(std::string name, uint64_t size, uint32_t seed) : name_(std::move(name)), bytes_(size) {
    std::mt19937 random(seed);
    for (uint8_t& byte : bytes_) byte = static_cast<uint8_t>(random());
  }
  uint64_t size() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  Status read_at(uint64_t offset, std::span<uint8_t> out) const override {
    ++reads;
    if (offset > size() || out.size() > size() - offset)
      return fail(ErrorKind::kBadFile, "{}: the file ends at byte {}", name_, size());
    if (fail_at >= offset && fail_at < offset + out.size())
      return fail(ErrorKind::kIo, "{}: cannot read at byte {}", name_, offset);
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }
  const uint8_t* at(uint64_t offset) const { return bytes_.data() + offset; }

  uint64_t fail_at = UINT64_MAX;
  mutable std::atomic<int> reads{0};

 private:
  std::string name_;
  std::vector<uint8_t> bytes_;
};

class ExpertCacheTest : public testing::Test {
 protected:
  // Files and a table of `layers` x `experts` over them. Parts have different sizes, stacks lie in
  // `order` (a permutation of the parts), layers go to the files in turn, with gaps between stacks.
  void make(size_t files, size_t layers, size_t experts, std::array<int, kParts> order,
            uint64_t part_bytes = 600) {
    table_.assign(layers, std::vector<ExpertRanges>(experts));
    std::vector<uint64_t> end(files, 13);
    for (size_t layer = 0; layer < layers; ++layer)
      for (const int part : order) {
        const size_t file = (layer + static_cast<size_t>(part)) % files;
        const uint64_t bytes = part_bytes + static_cast<uint64_t>(part) * 17;
        for (size_t e = 0; e < experts; ++e) {
          table_[layer][e][static_cast<size_t>(part)] = {static_cast<int>(file), end[file], bytes};
          end[file] += bytes;
        }
        end[file] += 7;
      }
    files_.clear();
    for (size_t f = 0; f < files; ++f)
      files_.push_back(std::make_unique<FakeFile>("part-" + std::to_string(f), end[f],
                                                  static_cast<uint32_t>(f)));
  }

  const FakeFile& file(size_t i) const { return static_cast<const FakeFile&>(*files_[i]); }
  FakeFile& file(size_t i) { return static_cast<FakeFile&>(*files_[i]); }

  void expect_right_bytes(const ExpertCache& cache) const {
    uint64_t total = 0;
    Lease lease;
    for (size_t layer = 0; layer < table_.size(); ++layer) {
      std::vector<int32_t> ids(table_[layer].size());
      for (size_t e = 0; e < ids.size(); ++e) ids[e] = static_cast<int32_t>(e);
      cache.acquire(static_cast<int>(layer), ids, lease);
      ASSERT_EQ(lease.size(), ids.size());
      for (size_t e = 0; e < ids.size(); ++e)
        for (size_t part = 0; part < kParts; ++part) {
          const ByteRange& range = table_[layer][e][part];
          ASSERT_EQ(
              std::memcmp(lease[e][part], file(static_cast<size_t>(range.file)).at(range.offset),
                          range.bytes),
              0)
              << "layer " << layer << " expert " << e << " part " << part;
          total += range.bytes;
        }
    }
    EXPECT_EQ(cache.bytes(), total);
  }

  ExpertTable table_;
  std::vector<std::unique_ptr<storage::Reader>> files_;
};

TEST_F(ExpertCacheTest, EveryExpertHasItsBytesWhateverTheOrderOfStacks) {
  std::array<int, kParts> order = {0, 1, 2};
  do {
    for (const size_t files : {1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << files << " files, " << order[0] << order[1] << order[2]);
      make(files, 3, 5, order);
      const auto cache = ExpertCache::load(table_, files_, 1);
      ASSERT_TRUE(cache) << cache.error().message;
      expect_right_bytes(*cache);
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

// As in a file with joint gate and up stacks: an expert's parts alternate.
TEST_F(ExpertCacheTest, AlternatingParts) {
  make(1, 1, 4, {0, 1, 2}, 64);
  for (size_t e = 0; e < 4; ++e) {
    table_[0][e][kGate] = {0, 13 + e * 128, 64};
    table_[0][e][kUp] = {0, 13 + e * 128 + 64, 64};
  }
  const auto cache = ExpertCache::load(table_, files_, 2);
  ASSERT_TRUE(cache) << cache.error().message;
  expect_right_bytes(*cache);
  EXPECT_LE(file(0).reads, 2);
}

TEST_F(ExpertCacheTest, ShuffledExpertsOfAnyFile) {
  make(2, 2, 16, {2, 0, 1});
  std::mt19937 random(1);
  for (auto& layer : table_) std::shuffle(layer.begin(), layer.end(), random);
  const auto cache = ExpertCache::load(table_, files_, 3);
  ASSERT_TRUE(cache) << cache.error().message;
  expect_right_bytes(*cache);
}

TEST_F(ExpertCacheTest, NeighboursAreReadTogetherUpToAPiece) {
  make(1, 1, 8, {0, 1, 2});
  ASSERT_TRUE(ExpertCache::load(table_, files_, 1));
  EXPECT_EQ(file(0).reads, 3);  // one per stack: there are gaps between them

  // 3 MiB and more each: two fit a piece of 8 MiB.
  make(1, 1, 4, {0, 1, 2}, uint64_t{3} << 20);
  const auto cache = ExpertCache::load(table_, files_, 4);
  ASSERT_TRUE(cache) << cache.error().message;
  EXPECT_EQ(file(0).reads, 6);
  expect_right_bytes(*cache);
}

TEST_F(ExpertCacheTest, ManyThreads) {
  make(3, 6, 32, {1, 2, 0});
  for (const int threads : {2, 5, 16}) {
    const auto cache = ExpertCache::load(table_, files_, threads);
    ASSERT_TRUE(cache) << cache.error().message;
    expect_right_bytes(*cache);
  }
}

TEST_F(ExpertCacheTest, SeveralThreadsAcquire) {
  make(1, 4, 8, {0, 1, 2});
  const auto cache = ExpertCache::load(table_, files_, 2);
  ASSERT_TRUE(cache) << cache.error().message;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back([&] { expect_right_bytes(*cache); });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ExpertCacheTest, LeaseKeepsTheOrderOfIds) {
  make(1, 2, 6, {0, 1, 2});
  const auto cache = ExpertCache::load(table_, files_, 1);
  ASSERT_TRUE(cache) << cache.error().message;
  Lease lease;
  const std::vector<int32_t> ids = {5, 0, 3, 5};
  cache->acquire(1, ids, lease);
  ASSERT_EQ(lease.size(), 4u);
  for (size_t i = 0; i < ids.size(); ++i)
    for (size_t part = 0; part < kParts; ++part) {
      const ByteRange& range = table_[1][static_cast<size_t>(ids[i])][part];
      EXPECT_EQ(std::memcmp(lease[i][part], file(0).at(range.offset), range.bytes), 0);
    }
  EXPECT_EQ(lease[0], lease[3]);
  cache->acquire(0, std::vector<int32_t>{2}, lease);  // a lease is used again
  ASSERT_EQ(lease.size(), 1u);
  EXPECT_EQ(std::memcmp(lease[0][kDown], file(0).at(table_[0][2][kDown].offset), 100), 0);
  cache->acquire(0, {}, lease);
  EXPECT_EQ(lease.size(), 0u);
}

TEST_F(ExpertCacheTest, BytesStayWhereTheyAreWhenTheCacheMoves) {
  make(2, 2, 3, {0, 1, 2});
  auto loaded = ExpertCache::load(table_, files_, 1);
  ASSERT_TRUE(loaded) << loaded.error().message;
  Lease lease;
  loaded->acquire(1, std::vector<int32_t>{1}, lease);
  ExpertCache cache;
  cache = std::move(*loaded);
  expect_right_bytes(cache);
  Lease again;
  cache.acquire(1, std::vector<int32_t>{1}, again);
  EXPECT_EQ(lease[0], again[0]);
}

TEST_F(ExpertCacheTest, ReadErrorsAreReported) {
  make(2, 3, 8, {0, 1, 2});
  const ByteRange& range = table_[2][7][kUp];
  file(static_cast<size_t>(range.file)).fail_at = range.offset + range.bytes - 1;
  for (const int threads : {1, 4}) {
    const auto cache = ExpertCache::load(table_, files_, threads);
    ASSERT_FALSE(cache);
    EXPECT_EQ(cache.error().kind, ErrorKind::kIo);
    EXPECT_THAT(cache.error().message, HasSubstr("part-" + std::to_string(range.file)));
  }
}

TEST_F(ExpertCacheTest, AFileThatEndsEarlyIsReported) {
  make(1, 2, 4, {0, 1, 2});
  table_[1][3][kDown].offset = file(0).size() - 10;
  const auto cache = ExpertCache::load(table_, files_, 2);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().kind, ErrorKind::kBadFile);
  EXPECT_THAT(cache.error().message, HasSubstr("part-0"));
}

TEST_F(ExpertCacheTest, ReadingStopsAtTheFirstError) {
  make(1, 50, 2, {0, 1, 2});
  file(0).fail_at = 13;
  ASSERT_FALSE(ExpertCache::load(table_, files_, 1));
  EXPECT_EQ(file(0).reads, 1);
}

TEST_F(ExpertCacheTest, TooLittleMemoryIsAnError) {
  make(1, 1, 1, {0, 1, 2});
  table_[0][0][kGate].bytes = uint64_t{1} << 60;
  const auto cache = ExpertCache::load(table_, files_, 1);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().kind, ErrorKind::kTooLarge);
  EXPECT_EQ(file(0).reads, 0);
}

TEST_F(ExpertCacheTest, ADenseModelHasNoExperts) {
  const auto cache = ExpertCache::load({}, {}, 2);
  ASSERT_TRUE(cache) << cache.error().message;
  EXPECT_EQ(cache->bytes(), 0u);
}

}  // namespace
}  // namespace sluice::residency
