// SPDX-License-Identifier: Apache-2.0
// How a read goes on after each answer of the system.
#include <gtest/gtest.h>

#include <cerrno>

#include "storage/read_files.h"

namespace sluice::storage {
namespace {

using Step = ReadProgress::Step;

ReadProgress progress_of(uint32_t bytes, uint32_t needed, uint8_t* to = nullptr) {
  return {.read = {.offset = 8192, .bytes = bytes, .needed = needed, .to = to}};
}

TEST(ReadProgress, WholeAnswer) {
  ReadProgress progress = progress_of(8192, 5000);
  EXPECT_EQ(progress.offset(), 8192u);
  EXPECT_EQ(progress.bytes(), 8192u);
  EXPECT_EQ(progress.advance(8192, 4096), Step::kDone);
}

TEST(ReadProgress, PaddingMayBeMissing) {
  ReadProgress progress = progress_of(8192, 5000);
  EXPECT_EQ(progress.advance(5000, 4096), Step::kDone);
}

TEST(ReadProgress, ShortAnswersGoOnFromTheLastAlignedByte) {
  uint8_t memory[16384];
  ReadProgress progress = progress_of(16384, 16384, memory);
  EXPECT_EQ(progress.advance(5000, 4096), Step::kAgain);
  EXPECT_EQ(progress.offset(), 8192u + 4096);
  EXPECT_EQ(progress.bytes(), 12288u);
  EXPECT_EQ(progress.to(), memory + 4096);
  EXPECT_EQ(progress.advance(4096, 4096), Step::kAgain);
  EXPECT_EQ(progress.offset(), 8192u + 8192);
  EXPECT_EQ(progress.advance(8192, 4096), Step::kDone);
}

TEST(ReadProgress, ShortAnswersInBufferedModeGoOnWhereTheyEnded) {
  ReadProgress progress = progress_of(1000, 1000);
  EXPECT_EQ(progress.advance(1, 1), Step::kAgain);
  EXPECT_EQ(progress.offset(), 8193u);
  EXPECT_EQ(progress.bytes(), 999u);
  EXPECT_EQ(progress.advance(999, 1), Step::kDone);
}

TEST(ReadProgress, NoByteMoreIsTheEnd) {
  ReadProgress empty = progress_of(8192, 5000);
  EXPECT_EQ(empty.advance(0, 4096), Step::kEnd);
  EXPECT_EQ(empty.end(), 8192u);
  ReadProgress within = progress_of(8192, 5000);
  EXPECT_EQ(within.advance(4999, 4096), Step::kAgain);
  EXPECT_EQ(within.advance(4999 - 4096, 4096), Step::kEnd);  // the last block again, no more of it
  EXPECT_EQ(within.end(), 8192u + 4999);
  ReadProgress shrinking = progress_of(8192, 5000);
  EXPECT_EQ(shrinking.advance(4999, 4096), Step::kAgain);
  EXPECT_EQ(shrinking.advance(0, 4096), Step::kEnd);
}

TEST(ReadProgress, ErrorsAndPatience) {
  ReadProgress progress = progress_of(8192, 5000);
  EXPECT_EQ(progress.advance(-EIO, 4096), Step::kFailed);
  ReadProgress interrupted = progress_of(8192, 5000);
  EXPECT_EQ(interrupted.advance(-EINTR, 4096), Step::kAgain);
  EXPECT_EQ(interrupted.advance(-EAGAIN, 4096), Step::kAgain);
  EXPECT_EQ(interrupted.offset(), 8192u);
  EXPECT_EQ(interrupted.advance(8192, 4096), Step::kDone);
  ReadProgress stubborn = progress_of(8192, 5000);
  int answers = 1;
  while (stubborn.advance(-EAGAIN, 4096) == Step::kAgain && answers < 10000) ++answers;
  EXPECT_EQ(answers, 100);
}

}  // namespace
}  // namespace sluice::storage
