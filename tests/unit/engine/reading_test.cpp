// SPDX-License-Identifier: Apache-2.0
// When the page cache is asked for experts and when the disk, and how the disk's profile is used.
#include "engine/reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../temp_folder.h"
#include "storage/disk_profile.h"
#include "storage/page_cache.h"

namespace sluice::engine {
namespace {

using storage::ReadMode;
using testing::HasSubstr;

TEST(ThroughPageCache, WhereAllExpertsFit) {
  EXPECT_TRUE(through_page_cache({true, 1.0})) << "it is in memory already";
  EXPECT_TRUE(through_page_cache({true, 0.6}));
  EXPECT_FALSE(through_page_cache({true, 0.3}));
  EXPECT_FALSE(through_page_cache({true, 0.0}));
  EXPECT_FALSE(through_page_cache({true, std::nullopt}));
}

TEST(ThroughPageCache, WhereExpertsComeAndGo) {
  EXPECT_FALSE(through_page_cache({false, 0.0}));
  EXPECT_FALSE(through_page_cache({false, 0.9})) << "the rest would be read slowly";
  EXPECT_TRUE(through_page_cache({false, 1.0}));
  EXPECT_FALSE(through_page_cache({false, std::nullopt}));
}

class ChooseReading : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream file(path_, std::ios::binary);
    const std::string block(1 << 20, 'x');
    for (int i = 0; i < 24; ++i) file << block;
    file.close();
    options_.cache_folder = folder_.file("cache");
    const auto queue = storage::open_read_queue({path_});
    ASSERT_TRUE(queue);
    direct_ = (*queue)->direct();
  }

  Reading choose(const FileFacts& facts) {
    auto reading = choose_reading({path_}, facts, 300'000, options_);
    EXPECT_TRUE(reading) << reading.error().message;
    return reading ? *reading : Reading{};
  }
  bool remembered() const {
    return std::filesystem::exists(storage::remembered_disks(options_.cache_folder));
  }

  test::TempFolder folder_;
  const std::string path_ = folder_.file("model.gguf");
  ReadingOptions options_;
  bool direct_ = false;
};

TEST_F(ChooseReading, AFileJustWrittenIsReadFromMemory) {
  if (!storage::cached_share(path_)) GTEST_SKIP() << "the system does not tell what it caches";
  for (const bool all : {true, false}) {
    const Reading reading = choose({.all_experts = all});
    EXPECT_EQ(reading.queue.mode, ReadMode::kBuffered);
    EXPECT_THAT(reading.description, HasSubstr("through the page cache"));
  }
  EXPECT_FALSE(remembered()) << "no disk was measured";
}

TEST_F(ChooseReading, ModesAreObeyed) {
  options_.mode = LoadMode::kBuffered;
  EXPECT_EQ(choose({.all_experts = false}).queue.mode, ReadMode::kBuffered);
  options_.mode = LoadMode::kDirect;
  EXPECT_EQ(choose({.all_experts = true}).queue.mode, ReadMode::kAuto);
  EXPECT_FALSE(remembered());
}

TEST_F(ChooseReading, TheDiskIsMeasuredOnceWhereExpertsComeAndGo) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  options_.mode = LoadMode::kDirect;
  const Reading first = choose({});
  ASSERT_TRUE(remembered());
  const Reading second = choose({});
  EXPECT_EQ(second.queue.depth, first.queue.depth);
  EXPECT_EQ(second.piece_bytes, first.piece_bytes);
  EXPECT_THAT(second.description, HasSubstr("measured by an earlier run"));
  options_.profiling = DiskProfiling::kAgain;
  EXPECT_THAT(choose({}).description, testing::Not(HasSubstr("earlier run")));
}

TEST_F(ChooseReading, NothingIsMeasuredWithoutAFolderOrWhenTurnedOff) {
  options_.mode = LoadMode::kDirect;
  options_.profiling = DiskProfiling::kOff;
  EXPECT_EQ(choose({}).queue.depth, storage::ReadQueueOptions{}.depth);
  EXPECT_FALSE(remembered());
  options_.profiling = DiskProfiling::kAgain;
  options_.cache_folder.clear();
  EXPECT_EQ(choose({}).queue.depth, storage::ReadQueueOptions{}.depth);
}

TEST_F(ChooseReading, MissingFilesAreErrors) {
  options_.mode = LoadMode::kDirect;
  const auto reading = choose_reading({folder_.file("none")}, {}, 300'000, options_);
  ASSERT_FALSE(reading);
  EXPECT_EQ(reading.error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace sluice::engine
