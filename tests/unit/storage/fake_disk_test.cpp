// SPDX-License-Identifier: Apache-2.0
#include "support/fake_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/aligned_buffer.h"
#include "temporary.h"

namespace sluice::storage {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kBytes = 1'000'000;
constexpr uint32_t kBlock = 8192;

class FakeDiskTest : public testing::Test {
 protected:
  // Reads `count` blocks from the file's start, one after the other or together.
  std::vector<Read> blocks(uint64_t count) {
    std::vector<Read> reads;
    for (uint64_t i = 0; i < count; ++i) {
      reads.push_back({.offset = i * kBlock,
                       .bytes = kBlock,
                       .needed = kBlock,
                       .to = memory_.data() + i * kBlock,
                       .id = i});
    }
    return reads;
  }

  bool arrived(uint64_t i) const {
    for (uint32_t k = 0; k < kBlock; ++k) {
      if (memory_.data()[i * kBlock + k] != byte_at(i * kBlock + k)) return false;
    }
    return true;
  }

  FakeDiskOptions options_;
  std::vector<FakeDisk::File> files_ = {{"fake.gguf", content(kBytes)}};
  AlignedBuffer memory_ = AlignedBuffer::allocate(16 * kBlock);
};

TEST_F(FakeDiskTest, CompletesInTheSeedsOrder) {
  const auto order = [&](uint64_t seed) {
    options_.seed = seed;
    FakeDisk disk(files_, options_);
    const std::vector<Read> reads = blocks(16);
    EXPECT_EQ(disk.submit(reads), 16u);
    EXPECT_EQ(disk.submit(reads), 0u) << "full";
    EXPECT_EQ(memory_.data()[0], FakeDisk::kNotYet);
    std::vector<uint64_t> ids;
    std::chrono::nanoseconds before{0};
    while (disk.in_flight() > 0) {
      std::vector<Completion> done;
      disk.wait(done, milliseconds(1000));
      EXPECT_EQ(done.size(), 1u);
      EXPECT_TRUE(done[0].status);
      EXPECT_TRUE(arrived(done[0].id));
      EXPECT_GE(disk.now(), std::max(before, options_.fastest));
      EXPECT_LE(disk.now(), options_.slowest);
      before = disk.now();
      ids.push_back(done[0].id);
    }
    return ids;
  };
  const std::vector<uint64_t> first = order(1);
  EXPECT_EQ(order(1), first);
  EXPECT_NE(order(2), first);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
}

TEST_F(FakeDiskTest, Faults) {
  FakeDisk disk(files_, options_);
  disk.fail_read(1, EIO);
  disk.shorten_read(2, 5000);
  disk.stall_read(3, milliseconds(500));
  ASSERT_EQ(disk.submit(blocks(4)), 4u);
  std::vector<Completion> done;
  for (int i = 0; i < 3; ++i) disk.wait(done, milliseconds(10));
  ASSERT_EQ(done.size(), 3u);
  EXPECT_LT(disk.now(), milliseconds(10));
  for (const Completion& completion : done) {
    EXPECT_NE(completion.id, 3u);
    EXPECT_EQ(completion.status.has_value(), completion.id != 1);
    if (!completion.status) {
      EXPECT_EQ(completion.status.error().kind, ErrorKind::kIo);
      EXPECT_THAT(completion.status.error().message,
                  HasSubstr("fake.gguf: cannot read 8192 bytes at byte 8192: Input/output error"));
    }
  }
  EXPECT_TRUE(arrived(2));
  const auto before = disk.now();
  disk.wait(done, milliseconds(10));
  EXPECT_EQ(done.size(), 3u);
  EXPECT_EQ(disk.now(), before + milliseconds(10));
  EXPECT_FALSE(arrived(3));
  disk.wait(done, milliseconds(1000));
  ASSERT_EQ(done.size(), 4u);
  EXPECT_GE(disk.now(), milliseconds(500));
  EXPECT_TRUE(arrived(3));
}

TEST_F(FakeDiskTest, TruncationAndFlippedBits) {
  FakeDisk disk(files_, options_);
  disk.flip_bit(0, 100);
  disk.truncate(0, 2 * kBlock + 10);
  ASSERT_EQ(disk.submit(blocks(3)), 3u);
  std::vector<Completion> done = wait_for_all(disk);
  for (const Completion& completion : done) {
    EXPECT_EQ(completion.status.has_value(), completion.id != 2);
    if (completion.status) continue;
    EXPECT_EQ(completion.status.error().kind, ErrorKind::kBadFile);
    EXPECT_THAT(completion.status.error().message, HasSubstr("ends at byte 16394 and had 1000000"));
  }
  EXPECT_EQ(memory_.data()[100], byte_at(100) ^ 1);
}

TEST_F(FakeDiskTest, PaddingBehindTheFileMayBeMissing) {
  FakeDisk disk(files_, options_);
  const Window window = enclosing_window(kBytes - 100, 100, 4096);
  const Read read = read_window(window, 0, memory_.data(), 5);
  ASSERT_EQ(disk.submit({&read, 1}), 1u);
  for (const Completion& completion : wait_for_all(disk)) EXPECT_TRUE(completion.status);
  EXPECT_EQ(memory_.data()[window.needed - 1], byte_at(kBytes - 1));
}

TEST_F(FakeDiskTest, HeldAndHangingReadsWaitForRelease) {
  FakeDisk disk(files_, options_);
  disk.hang_read(0);
  disk.hold();
  ASSERT_EQ(disk.submit(blocks(2)), 2u);
  std::vector<Completion> done;
  disk.wait(done, milliseconds(5));
  EXPECT_TRUE(done.empty());
  EXPECT_EQ(disk.now(), milliseconds(0));
  std::thread([&] { disk.wake(); }).join();
  disk.wait(done, std::chrono::hours(1));
  EXPECT_TRUE(done.empty());
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(5));
    disk.release();
  });
  while (done.size() < 2) disk.wait(done, std::chrono::hours(1));
  other.join();
  EXPECT_TRUE(arrived(0) && arrived(1));
  EXPECT_EQ(disk.taken().size(), 2u);
  EXPECT_EQ(disk.taken()[1].offset, kBlock);
}

TEST_F(FakeDiskTest, HangsAloneDoNotStopOthers) {
  FakeDisk disk(files_, options_);
  disk.hang_read(0);
  ASSERT_EQ(disk.submit(blocks(2)), 2u);
  std::vector<Completion> done;
  disk.wait(done, milliseconds(100));
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].id, 1u);
  disk.wait(done, milliseconds(5));
  EXPECT_EQ(done.size(), 1u);
  EXPECT_EQ(disk.in_flight(), 1);
}

}  // namespace
}  // namespace sluice::storage
