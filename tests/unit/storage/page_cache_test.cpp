// SPDX-License-Identifier: Apache-2.0
#include "storage/page_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "storage/file.h"
#include "temporary.h"

namespace sluice::storage {
namespace {

class PageCacheTest : public testing::Test {
 protected:
  // Writes `bytes` and has the system drop them; false where it keeps them (memory file systems).
  bool write_and_drop(size_t bytes) {
    write_file(path_, content(bytes));
    const int descriptor = ::open(path_.c_str(), O_RDONLY);
    ::fsync(descriptor);
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
    const auto share = cached_share(path_);
    return share && *share < 0.5;
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "file";
};

TEST_F(PageCacheTest, WhatWasWrittenIsThere) {
  write_file(path_, content(5'000'000));
  const auto share = cached_share(path_);
  if (!share) GTEST_SKIP() << "the system does not tell";
  EXPECT_GT(*share, 0.95);
}

TEST_F(PageCacheTest, WhatWasDroppedIsNot) {
  if (!write_and_drop(40 << 20)) GTEST_SKIP() << "files stay in memory here";
  EXPECT_LT(*cached_share(path_), 0.05);
  const auto file = File::open(path_);
  ASSERT_TRUE(file);
  std::vector<uint8_t> half(20 << 20);
  ASSERT_TRUE(file->read_at(0, half));
  EXPECT_GT(*cached_share(path_), 0.45) << "and what the system read ahead";
}

TEST_F(PageCacheTest, NothingIsKnownOfWhatIsNotThere) {
  EXPECT_FALSE(cached_share(path_));
  EXPECT_FALSE(cached_share(folder_.path()));
  write_file(path_, {});
  EXPECT_FALSE(cached_share(path_));
}

}  // namespace
}  // namespace sluice::storage
