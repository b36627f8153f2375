// SPDX-License-Identifier: Apache-2.0
#include "storage/disk_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "storage/cache_folder.h"
#include "temporary.h"

namespace sluice::storage {
namespace {

using std::chrono::steady_clock;
using testing::HasSubstr;
using Source = DiskProfile::Source;

class DiskProfileTest : public testing::Test {
 protected:
  void SetUp() override {
    write_file(path_, content(24 << 20));
    const auto queue = open_read_queue({path_});
    ASSERT_TRUE(queue);
    direct_ = (*queue)->direct();
    options_.part_bytes = 300'000;
    options_.seconds = 0.1;
    options_.store = folder_ / "cache/disks.json";
  }

  DiskProfile profile() {
    const auto result = profile_disk({path_}, options_);
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : DiskProfile{};
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "model.gguf";
  DiskProfileOptions options_;
  bool direct_ = false;
};

TEST_F(DiskProfileTest, MeasuresOnceAndRemembers) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  const DiskProfile measured = profile();
  EXPECT_EQ(measured.source, Source::kMeasured);
  EXPECT_TRUE(measured.direct);
  EXPECT_GT(measured.bytes_per_second, 1e5);
  EXPECT_GE(measured.depth, 1);
  EXPECT_LE(measured.depth, 32);
  EXPECT_GE(measured.piece_bytes, 256u << 10);
  EXPECT_LE(measured.piece_bytes, 512u << 10);
  EXPECT_THAT(describe(measured), HasSubstr("past the page cache"));
  const DiskProfile remembered = profile();
  EXPECT_EQ(remembered.source, Source::kRemembered);
  EXPECT_EQ(remembered.depth, measured.depth);
  EXPECT_EQ(remembered.piece_bytes, measured.piece_bytes);
  EXPECT_DOUBLE_EQ(remembered.bytes_per_second, measured.bytes_per_second);
  EXPECT_EQ(remembered.engine, measured.engine);
  EXPECT_THAT(describe(remembered), HasSubstr("measured by an earlier run"));
  options_.measure_again = true;
  EXPECT_EQ(profile().source, Source::kMeasured);
  options_.measure_again = false;
  options_.part_bytes = 1'300'000;  // larger parts have other candidates
  options_.store = folder_ / "other.json";
  EXPECT_EQ(profile().source, Source::kAssumed) << "24 MiB are fewer than 64 such parts";
}

TEST_F(DiskProfileTest, KeepsToItsTime) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  options_.seconds = DiskProfileOptions{}.seconds;
  options_.store.clear();
  const auto start = steady_clock::now();
  EXPECT_EQ(profile().source, Source::kMeasured);
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(3));
}

TEST_F(DiskProfileTest, DamagedAndForeignStoresAreMeasuredAnew) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  profile();
  const auto good = read_small_file(options_.store, 1 << 20);
  ASSERT_TRUE(good);
  ASSERT_EQ(parse_remembered_disks(*good).size(), 1u);
  std::vector<std::string> texts = {"",
                                    "{",
                                    "[]",
                                    "null",
                                    R"({"version":1})",
                                    "\xff\xfe",
                                    R"({"version":1,"disks":{}})",
                                    std::string(2 << 20, ' ')};
  std::string newer = *good;
  newer.replace(newer.find("\"version\": 1"), 12, "\"version\": 2");
  texts.push_back(newer);
  texts.push_back(good->substr(0, good->size() / 2));
  for (const std::string& text : texts) {
    ASSERT_TRUE(replace_small_file(options_.store, text));
    EXPECT_EQ(profile().source, Source::kMeasured) << text.substr(0, 100);
    EXPECT_EQ(profile().source, Source::kRemembered) << text.substr(0, 100);
  }
  std::vector<RememberedDisk> foreign = parse_remembered_disks(*good);
  foreign[0].key = "8:1 another disk";
  ASSERT_TRUE(replace_small_file(options_.store, format_remembered_disks(foreign)));
  EXPECT_EQ(profile().source, Source::kMeasured);
  const auto both = read_small_file(options_.store, 1 << 20);
  ASSERT_TRUE(both);
  EXPECT_EQ(parse_remembered_disks(*both).size(), 2u) << "the other disk is kept";
}

TEST_F(DiskProfileTest, AStoreThatCannotBeWrittenIsNoError) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  for (const std::string& store : {std::string("/proc/absent/disks.json"), folder_.path()}) {
    options_.store = store;
    EXPECT_EQ(profile().source, Source::kMeasured);
    EXPECT_EQ(profile().source, Source::kMeasured);
  }
}

TEST_F(DiskProfileTest, BufferedReadsAreNotMeasured) {
  options_.mode = ReadMode::kBuffered;
  const DiskProfile assumed = profile();
  EXPECT_EQ(assumed.source, Source::kAssumed);
  EXPECT_FALSE(assumed.direct);
  EXPECT_EQ(assumed.bytes_per_second, 0);
  EXPECT_THAT(describe(assumed), HasSubstr("not measured: the page cache would answer"));
  EXPECT_FALSE(std::filesystem::exists(options_.store));
}

TEST_F(DiskProfileTest, EnginesAreMeasuredApart) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  options_.engine = ReadEngine::kPread;
  const DiskProfile pool = profile();
  EXPECT_EQ(pool.engine, "pread");
  options_.engine = ReadEngine::kAuto;
  const DiskProfile usual = profile();
  EXPECT_EQ(usual.source, usual.engine == "pread" ? Source::kRemembered : Source::kMeasured);
}

TEST_F(DiskProfileTest, SplitFiles) {
  if (!direct_) GTEST_SKIP() << "no direct reads here";
  write_file(folder_ / "second", content(20 << 20));
  const auto both = profile_disk({path_, folder_ / "second"}, options_);
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ(both->source, Source::kMeasured);
  EXPECT_EQ(profile().source, Source::kRemembered) << "the same disk";
}

TEST_F(DiskProfileTest, FilesThatCannotBeOpened) {
  const auto absent = profile_disk({folder_ / "absent"}, options_);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::kNotFound);
}

TEST(ChooseRate, FewestBytesInFlightWithinThreePercent) {
  const std::vector<ReadRate> rates = {{1, 1 << 20, 0.50e9},   {4, 256 << 10, 0.96e9},
                                       {4, 512 << 10, 0.98e9}, {2, 1 << 20, 0.975e9},
                                       {8, 256 << 10, 0.99e9}, {8, 1 << 20, 1.00e9}};
  const ReadRate chosen = choose_rate(rates);
  EXPECT_EQ(chosen.depth, 2);  // of three with 2 MiB in flight, the one with the fewest reads
  EXPECT_EQ(chosen.piece_bytes, 1u << 20);
  EXPECT_EQ(choose_rate({{16, 4096, 1.0}}).depth, 16);
  EXPECT_EQ(choose_rate({{16, 4096, 0.0}, {8, 4096, 0.0}}).depth, 8) << "a disk that gave nothing";
}

TEST(RememberedDisks, RoundTripAndUnsoundEntries) {
  DiskProfile profile;
  profile.depth = 4;
  profile.piece_bytes = 512 << 10;
  profile.bytes_per_second = 1.25e9;
  const std::string text = format_remembered_disks({{"a", profile}, {"b \xff", profile}});
  const std::vector<RememberedDisk> disks = parse_remembered_disks(text);
  ASSERT_EQ(disks.size(), 2u);
  EXPECT_EQ(disks[0].key, "a");
  EXPECT_EQ(disks[0].profile.depth, 4);
  EXPECT_EQ(disks[0].profile.piece_bytes, 512u << 10);
  EXPECT_EQ(disks[0].profile.bytes_per_second, 1.25e9);
  const std::string sound = R"("disk":"a","depth":4,"piece_bytes":524288,"bytes_per_second":1e9)";
  const auto count = [](const std::string& entry) {
    return parse_remembered_disks(R"({"version":1,"disks":[)" + entry + "]}").size();
  };
  EXPECT_EQ(count("{" + sound + "}"), 1u);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = sound;
    changed.replace(changed.find(from), from.size(), to);
    return count("{" + changed + "}");
  };
  EXPECT_EQ(with("\"a\"", "5"), 0u);
  for (const char* depth : {"0", "-4", "257", "2.5", "\"4\"", "null", "1e300"}) {
    EXPECT_EQ(with("4,", std::string(depth) + ","), 0u) << depth;
  }
  for (const char* piece : {"0", "1000", "524289", "1e12", "true"}) {
    EXPECT_EQ(with("524288", piece), 0u) << piece;
  }
  for (const char* rate : {"0", "-1", "[]"}) EXPECT_EQ(with("1e9", rate), 0u) << rate;
  for (const char* entry : {"1", "null", "[]", "{}"}) EXPECT_EQ(count(entry), 0u) << entry;
}

}  // namespace
}  // namespace sluice::storage
