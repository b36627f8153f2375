// SPDX-License-Identifier: Apache-2.0
#include "machine/disk_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../temp_folder.h"

namespace sluice::machine {
namespace {

DiskOptions quick() {
  DiskOptions options;
  options.part_bytes = 64 << 10;
  options.seconds = 0.05;
  return options;
}

TEST(DiskTimes, MoreReadsTakeNoLessTime) {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  std::ofstream(path) << std::string(8 << 20, 'x');
  for (const auto mode : {storage::ReadMode::kAuto, storage::ReadMode::kBuffered}) {
    DiskOptions options = quick();
    options.mode = mode;
    const auto disk = measure_disk({path}, options);
    ASSERT_TRUE(disk) << disk.error().message;
    ASSERT_EQ(disk->times.size(), 5u);
    EXPECT_EQ(disk->bytes, 64u << 10);
    EXPECT_EQ(disk->times[0].reads, 3);
    for (size_t i = 1; i < disk->times.size(); ++i) {
      EXPECT_GT(disk->times[i].reads, disk->times[i - 1].reads);
      EXPECT_GE(disk->times[i].seconds, disk->times[i - 1].seconds);
    }
    EXPECT_GT(disk->bytes_per_second(), 1e5);
    if (mode == storage::ReadMode::kBuffered) {
      EXPECT_FALSE(disk->direct);
    }
  }
}

TEST(DiskTimes, PartsMayBeLargerThanAPieceAndNoMultiple) {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  std::ofstream(path) << std::string(8 << 20, 'x');
  DiskOptions options = quick();
  options.part_bytes = 300 * 1000;
  options.piece_bytes = 128 << 10;
  options.depth = 2;
  const auto disk = measure_disk({path}, options);
  ASSERT_TRUE(disk) << disk.error().message;
  EXPECT_EQ(disk->bytes % 4096, 0u);
}

TEST(DiskTimes, SmallFilesAndMissingOnesAreErrors) {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/small.gguf";
  std::ofstream(path) << "GGUF";
  const auto small = measure_disk({path}, quick());
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().kind, ErrorKind::kTooLarge);
  EXPECT_THAT(small.error().message, testing::HasSubstr(path));
  EXPECT_EQ(measure_disk({path + ".not"}, quick()).error().kind, ErrorKind::kNotFound);
}

TEST(DiskTimes, AFolderIsMeasuredWithAFileThatIsGoneAfterwards) {
  const test::TempFolder folder;
  const auto disk = measure_disk_of_folder(folder.path(), quick());
  ASSERT_TRUE(disk) << disk.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  const auto none = measure_disk_of_folder(folder.path() + "/none", quick());
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, testing::HasSubstr("cannot be written"));
}

}  // namespace
}  // namespace sluice::machine
