// SPDX-License-Identifier: Apache-2.0
// Files that change while they are read: the reads end with an error that names the file, or with
// the bytes that were there when it was opened.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "base/aligned_buffer.h"
#include "storage/read_queue.h"
#include "temporary.h"

namespace sluice::storage {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::AnyOf;
using testing::HasSubstr;

constexpr uint64_t kFileBytes = 4 << 20;
constexpr uint32_t kPart = 100'000;
constexpr uint32_t kSlot = 128 << 10;
constexpr int kDepth = 8;

struct Way {
  const char* name;
  ReadEngine engine;
  ReadMode mode;
};

class ReadFaultsTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    std_content_ = content(kFileBytes);
    write_file(path_, std_content_);
    const auto queue = open();
    if (!queue && queue.error().kind == ErrorKind::kUnsupported) {
      GTEST_SKIP() << queue.error().message;
    }
    ASSERT_TRUE(queue) << queue.error().message;
  }

  Result<std::unique_ptr<ReadQueue>> open() {
    return open_read_queue({path_},
                           {.mode = GetParam().mode, .engine = GetParam().engine, .depth = kDepth});
  }

  // Reads random parts until one fails or `until` has passed, and compares those that arrive with
  // what the file held when it was opened. The first error, if any.
  Status read_until(ReadQueue& queue, uint64_t seed, steady_clock::time_point until) {
    std::mt19937_64 random(seed);
    std::vector<uint64_t> offsets(kDepth);
    std::vector<uint64_t> idle;
    for (uint64_t i = 0; i < kDepth; ++i) idle.push_back(i);
    Status first;
    std::vector<Completion> done;
    while ((first && steady_clock::now() < until) || queue.in_flight() > 0) {
      while (first && !idle.empty() && steady_clock::now() < until) {
        const uint64_t place = idle.back();
        idle.pop_back();
        offsets[place] = random() % (kFileBytes - kPart + 1);
        const Read read = read_window(enclosing_window(offsets[place], kPart, queue.alignment()), 0,
                                      memory_.data() + place * kSlot, place);
        EXPECT_EQ(queue.submit({&read, 1}), 1u);
      }
      done.clear();
      queue.wait(done, milliseconds(100));
      for (Completion& completion : done) {
        idle.push_back(completion.id);
        if (!completion.status) {
          first = std::move(completion.status);
          continue;
        }
        const uint64_t offset = offsets[completion.id];
        const uint8_t* bytes = memory_.data() + completion.id * kSlot + offset % queue.alignment();
        EXPECT_TRUE(std::equal(bytes, bytes + kPart, std_content_.begin() + offset))
            << "wrong bytes without an error at " << offset;
      }
    }
    return first;
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "model.gguf";
  std::vector<uint8_t> std_content_;
  AlignedBuffer memory_ = AlignedBuffer::allocate(kDepth * kSlot);
};

// Fifty for each way, two hundred in all: cut short, or written anew in place, at a random time.
TEST_P(ReadFaultsTest, FiftyTrialsEndWithTheTypedError) {
  const std::vector<uint8_t> other = content(kFileBytes, 99);
  std::mt19937_64 random(11);
  int typed = 0;
  for (int trial = 0; trial < 50; ++trial) {
    write_file(path_, std_content_);
    const auto queue = open();
    ASSERT_TRUE(queue) << queue.error().message;
    const bool cut = trial % 2 == 0;
    const uint64_t left = random() % (kFileBytes / 2);
    const auto delay = std::chrono::microseconds(random() % 3000);
    std::thread vandal([&] {
      std::this_thread::sleep_for(delay);
      if (cut) {
        EXPECT_EQ(::truncate(path_.c_str(), static_cast<off_t>(left)), 0);
      } else {
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char*>(other.data()), kFileBytes);
      }
    });
    const auto start = steady_clock::now();
    const Status status = read_until(**queue, random(), start + std::chrono::seconds(10));
    const auto took = steady_clock::now() - start;
    vandal.join();
    ASSERT_FALSE(status) << "trial " << trial;
    EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
    EXPECT_THAT(status.error().message, HasSubstr(path_));
    EXPECT_THAT(status.error().message, AnyOf(HasSubstr("truncated"), HasSubstr("written to")));
    EXPECT_LT(took, std::chrono::seconds(2));
    ++typed;
  }
  EXPECT_EQ(typed, 50);
}

TEST_P(ReadFaultsTest, TruncationSaysWhereTheFileEnds) {
  const auto queue = open();
  ASSERT_TRUE(queue);
  for (const uint64_t left : {uint64_t{1'000'000}, uint64_t{4096 * 3}, uint64_t{1}, uint64_t{0}}) {
    ASSERT_EQ(::truncate(path_.c_str(), static_cast<off_t>(left)), 0);
    const uint64_t offset = left > 50'000 ? left - 50'000 : 0;
    const Read read =
        read_window(enclosing_window(offset, kPart, (*queue)->alignment()), 0, memory_.data(), 0);
    ASSERT_EQ((*queue)->submit({&read, 1}), 1u);
    for (const Completion& completion : wait_for_all(**queue)) {
      ASSERT_FALSE(completion.status);
      EXPECT_EQ(completion.status.error().kind, ErrorKind::kBadFile);
      EXPECT_THAT(completion.status.error().message,
                  HasSubstr(fmt::format("ends at byte {} and had {} bytes", left, kFileBytes)));
    }
  }
}

TEST_P(ReadFaultsTest, UnlinkedFilesAreReadToTheEnd) {
  const auto queue = open();
  ASSERT_TRUE(queue);
  std::filesystem::remove(path_);
  const Status status = read_until(**queue, 1, steady_clock::now() + milliseconds(50));
  EXPECT_TRUE(status) << status.error().message;
}

TEST_P(ReadFaultsTest, ReplacedFilesAreReadAsTheyWereOpened) {
  const auto queue = open();
  ASSERT_TRUE(queue);
  write_file(folder_ / "new", content(1000, 5));
  std::filesystem::rename(folder_ / "new", path_);
  const Status status = read_until(**queue, 2, steady_clock::now() + milliseconds(50));
  EXPECT_TRUE(status) << status.error().message;
}

const Way kWays[] = {{"UringDirect", ReadEngine::kIoUring, ReadMode::kDirect},
                     {"UringBuffered", ReadEngine::kIoUring, ReadMode::kBuffered},
                     {"PreadDirect", ReadEngine::kPread, ReadMode::kDirect},
                     {"PreadBuffered", ReadEngine::kPread, ReadMode::kBuffered}};
INSTANTIATE_TEST_SUITE_P(Ways, ReadFaultsTest, testing::ValuesIn(kWays),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace sluice::storage
