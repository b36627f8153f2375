// SPDX-License-Identifier: Apache-2.0
// One suite for both engines, both modes, and files on disk and in memory.
#include "storage/read_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>

#include "base/aligned_buffer.h"
#include "temporary.h"

namespace sluice::storage {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

struct Way {
  const char* name;
  ReadEngine engine;
  ReadMode mode;
  const char* folder;  // nullptr: the usual one for tests
};

class ReadQueueTest : public testing::TestWithParam<Way> {
 protected:
  static std::string place() {
    return GetParam().folder == nullptr ? testing::TempDir() : GetParam().folder;
  }

  void SetUp() override {
    if (!std::filesystem::exists(place())) GTEST_SKIP() << "no " << place();
    write_file(folder_ / "probe", content(4096));
    const auto queue = open_read_queue({folder_ / "probe"}, options());
    if (!queue && queue.error().kind == ErrorKind::kUnsupported) {
      GTEST_SKIP() << queue.error().message;
    }
    ASSERT_TRUE(queue) << queue.error().message;
  }

  static ReadQueueOptions options(int depth = 8) {
    return {.mode = GetParam().mode, .engine = GetParam().engine, .depth = depth};
  }

  std::unique_ptr<ReadQueue> open(const std::vector<std::string>& paths, int depth = 8) {
    auto queue = open_read_queue(paths, options(depth));
    EXPECT_TRUE(queue) << queue.error().message;
    return queue ? std::move(*queue) : nullptr;
  }

  std::string make(const std::string& name, uint64_t bytes, uint64_t seed = 0) {
    write_file(folder_ / name, content(bytes, seed));
    return folder_ / name;
  }

  TemporaryFolder folder_{place()};
};

TEST_P(ReadQueueTest, IsWhatWasAskedFor) {
  const auto queue = open({make("a", 100)});
  EXPECT_EQ(queue->name(), GetParam().engine == ReadEngine::kPread ? "pread" : "io_uring");
  EXPECT_EQ(queue->depth(), 8);
  EXPECT_EQ(queue->in_flight(), 0);
  if (GetParam().mode == ReadMode::kDirect) {
    EXPECT_TRUE(queue->direct());
    EXPECT_GE(queue->alignment(), 1u);
    EXPECT_LE(queue->alignment(), kMaxAlignment);
  } else {
    EXPECT_FALSE(queue->direct());
    EXPECT_EQ(queue->alignment(), 1u);
  }
}

// Ranges of any offset and size over two files, the last bytes of each among them, read in phase.
TEST_P(ReadQueueTest, ReadsRangesOfSeveralFiles) {
  const uint64_t sizes[] = {3'000'001, 70'000};
  const auto queue = open({make("a", sizes[0], 0), make("b", sizes[1], 1)}, 16);
  const uint32_t alignment = queue->alignment();
  const uint32_t slot = 512 << 10;
  AlignedBuffer memory = AlignedBuffer::allocate(16 * slot);
  struct Wanted {
    int file;
    uint64_t offset;
    uint32_t bytes;
  };
  std::mt19937_64 random(5);
  std::vector<Wanted> wanted;
  for (int i = 0; i < 300; ++i) {
    const int file = static_cast<int>(random() % 2);
    const auto bytes = static_cast<uint32_t>(
        1 + random() % std::min<uint64_t>(sizes[file], slot - 2 * kMaxAlignment));
    wanted.push_back({file, random() % (sizes[file] - bytes + 1), bytes});
  }
  wanted.push_back({0, sizes[0] - 1, 1});
  wanted.push_back({1, sizes[1] - 5000, 5000});
  wanted.push_back({1, 0, 70'000});
  std::vector<uint64_t> idle;
  for (uint64_t i = 0; i < 16; ++i) idle.push_back(i);
  std::map<uint64_t, size_t> which;  // slot -> wanted
  size_t next = 0;
  size_t arrived = 0;
  std::vector<Completion> done;
  while (arrived < wanted.size()) {
    std::vector<Read> reads;
    while (next < wanted.size() && !idle.empty()) {
      const Wanted& w = wanted[next];
      const uint64_t place = idle.back();
      idle.pop_back();
      reads.push_back(read_window(enclosing_window(w.offset, w.bytes, alignment), w.file,
                                  memory.data() + place * slot, place));
      which[place] = next++;
    }
    ASSERT_EQ(queue->submit(reads), reads.size());
    done.clear();
    queue->wait(done, milliseconds(10000));
    ASSERT_FALSE(done.empty());
    for (const Completion& completion : done) {
      ASSERT_TRUE(completion.status) << completion.status.error().message;
      const Wanted& w = wanted[which[completion.id]];
      const uint8_t* bytes = memory.data() + completion.id * slot + w.offset % alignment;
      for (uint32_t i = 0; i < w.bytes; ++i) {
        ASSERT_EQ(bytes[i], byte_at(w.offset + i, w.file)) << w.offset << " + " << i;
      }
      idle.push_back(completion.id);
      ++arrived;
    }
  }
  EXPECT_EQ(queue->in_flight(), 0);
}

TEST_P(ReadQueueTest, TakesNoMoreThanItsDepth) {
  const auto queue = open({make("a", 1 << 20)}, 5);
  AlignedBuffer memory = AlignedBuffer::allocate(12 * 4096);
  std::vector<Read> reads;
  for (uint64_t i = 0; i < 12; ++i) {
    reads.push_back({.offset = i * 4096,
                     .bytes = 4096,
                     .needed = 4096,
                     .to = memory.data() + i * 4096,
                     .id = 100 + i});
  }
  std::vector<Completion> done;
  size_t taken = 0;
  while (taken < reads.size()) {
    const size_t now = queue->submit(std::span(reads).subspan(taken));
    EXPECT_EQ(now, std::min<size_t>(5 - (taken - done.size()), reads.size() - taken));
    taken += now;
    EXPECT_EQ(queue->in_flight(), static_cast<int>(taken - done.size()));
    EXPECT_LE(queue->in_flight(), 5);
    queue->wait(done, milliseconds(10000));
  }
  for (Completion& completion : wait_for_all(*queue)) done.push_back(std::move(completion));
  std::vector<uint64_t> ids;
  for (const Completion& completion : done) {
    EXPECT_TRUE(completion.status);
    ids.push_back(completion.id);
  }
  std::sort(ids.begin(), ids.end());
  ASSERT_EQ(ids.size(), 12u);
  for (uint64_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], 100 + i);
  EXPECT_EQ(queue->submit({}), 0u);
}

TEST_P(ReadQueueTest, WaitEndsAfterTheTimeout) {
  const auto queue = open({make("a", 4096)});
  std::vector<Completion> done;
  const auto start = steady_clock::now();
  queue->wait(done, milliseconds(30));
  EXPECT_GE(steady_clock::now() - start, milliseconds(30));
  EXPECT_TRUE(done.empty());
  queue->wait(done, milliseconds(0));
  queue->wait(done, milliseconds(-5));
  EXPECT_TRUE(done.empty());
}

TEST_P(ReadQueueTest, WakeEndsTheWaitUnderWayOrTheNext) {
  const auto queue = open({make("a", 4096)});
  std::vector<Completion> done;
  const auto start = steady_clock::now();
  queue->wake();
  queue->wake();
  queue->wait(done, std::chrono::hours(10));
  queue->wait(done, milliseconds(20));  // two calls before a wait() are one
  EXPECT_GE(steady_clock::now() - start, milliseconds(20));
  for (int i = 0; i < 20; ++i) {
    std::thread waker([&] {
      std::this_thread::sleep_for(milliseconds(i % 3));
      queue->wake();
    });
    queue->wait(done, std::chrono::hours(1000));
    waker.join();
  }
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_TRUE(done.empty());
}

TEST_P(ReadQueueTest, WakesFromManyThreadsWhileReading) {
  const auto queue = open({make("a", 1 << 20)});
  AlignedBuffer memory = AlignedBuffer::allocate(8 * 65536);
  std::vector<std::thread> wakers;
  for (int t = 0; t < 3; ++t) {
    wakers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) queue->wake();
    });
  }
  std::vector<uint64_t> idle;
  for (uint64_t i = 0; i < 8; ++i) idle.push_back(i);
  std::vector<Completion> done;
  size_t good = 0;
  for (uint64_t i = 0; good < 200;) {
    while (i < 200 && !idle.empty()) {
      const uint64_t place = idle.back();
      idle.pop_back();
      const Read read = {.offset = i++ % 16 * 65536,
                         .bytes = 65536,
                         .needed = 65536,
                         .to = memory.data() + place * 65536,
                         .id = place};
      ASSERT_EQ(queue->submit({&read, 1}), 1u);
    }
    done.clear();
    queue->wait(done, milliseconds(10000));
    for (const Completion& completion : done) {
      ASSERT_TRUE(completion.status) << completion.status.error().message;
      idle.push_back(completion.id);
      ++good;
    }
  }
  for (std::thread& waker : wakers) waker.join();
  EXPECT_EQ(queue->in_flight(), 0);
}

TEST_P(ReadQueueTest, BytesThatTheFileNeverHad) {
  const auto queue = open({make("a", 10000)});
  AlignedBuffer memory = AlignedBuffer::allocate(4 * 16384);
  const std::vector<Read> reads = {
      {.offset = 0, .bytes = 12288, .needed = 10001, .to = memory.data(), .id = 0},
      {.offset = 12288, .bytes = 4096, .needed = 1, .to = memory.data() + 16384, .id = 1},
      {.offset = uint64_t{1} << 63, .bytes = 4096, .needed = 1, .to = memory.data(), .id = 2},
      {.offset = 0, .bytes = 12288, .needed = 10000, .to = memory.data() + 3 * 16384, .id = 3}};
  ASSERT_EQ(queue->submit(reads), 4u);
  EXPECT_EQ(queue->in_flight(), 4);
  std::vector<Completion> done = wait_for_all(*queue);
  ASSERT_EQ(done.size(), 4u);
  for (const Completion& completion : done) {
    if (completion.id == 3) {
      EXPECT_TRUE(completion.status) << completion.status.error().message;
      continue;
    }
    ASSERT_FALSE(completion.status) << completion.id;
    EXPECT_EQ(completion.status.error().kind, ErrorKind::kBadFile);
    EXPECT_THAT(completion.status.error().message, HasSubstr("a: the file ends at byte 10000"));
  }
}

TEST_P(ReadQueueTest, RefusedReadsNameFileOffsetAndReason) {
  const auto queue = open({make("a", 65536)});
  void* forbidden = mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(forbidden, MAP_FAILED);
  AlignedBuffer memory = AlignedBuffer::allocate(8192);
  const std::vector<Read> reads = {
      {.offset = 16384,
       .bytes = 8192,
       .needed = 8192,
       .to = static_cast<uint8_t*>(forbidden),
       .id = 7},
      {.offset = 16384, .bytes = 8192, .needed = 8192, .to = memory.data(), .id = 8}};
  ASSERT_EQ(queue->submit(reads), 2u);
  for (const Completion& completion : wait_for_all(*queue)) {
    EXPECT_EQ(completion.status.has_value(), completion.id == 8);
    if (completion.status) continue;
    EXPECT_EQ(completion.status.error().kind, ErrorKind::kIo);
    EXPECT_THAT(completion.status.error().message, HasSubstr(folder_ / "a"));
    EXPECT_THAT(completion.status.error().message, HasSubstr("at byte 16384: Bad address"));
  }
  EXPECT_EQ(memory.data()[0], byte_at(16384));
  munmap(forbidden, 8192);
}

TEST_P(ReadQueueTest, RegisteredMemory) {
  const auto queue = open({make("a", 1 << 20)});
  AlignedBuffer memory = AlignedBuffer::allocate(256 << 10);
  const std::span<uint8_t> registered(memory.data() + (64 << 10), 128 << 10);
  const bool pinned = queue->register_memory(registered);
  if (GetParam().engine == ReadEngine::kPread) {
    EXPECT_FALSE(pinned);
  }
  for (int round = 0; round < 3; ++round) {
    // Before, across the start, within, across the end, behind.
    const uint32_t starts[] = {0, 48 << 10, 64 << 10, 176 << 10, 216 << 10};
    for (const uint32_t start : starts) {
      std::fill_n(memory.data() + start, 32768, 0);
      const Read read = {
          .offset = start * 4u, .bytes = 32768, .needed = 32768, .to = memory.data() + start};
      ASSERT_EQ(queue->submit({&read, 1}), 1u);
      for (const Completion& completion : wait_for_all(*queue)) {
        ASSERT_TRUE(completion.status) << completion.status.error().message;
      }
      for (uint32_t i = 0; i < 32768; ++i) {
        ASSERT_EQ(memory.data()[start + i], byte_at(start * 4u + i)) << start << " " << i;
      }
    }
    if (round == 0) {
      EXPECT_EQ(queue->register_memory(registered), pinned);
    } else {
      EXPECT_FALSE(queue->register_memory({}));
    }
  }
}

TEST_P(ReadQueueTest, MemoryThatCannotBePinnedIsNoError) {
  const auto queue = open({make("a", 65536)});
  void* forbidden = mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(forbidden, MAP_FAILED);
  EXPECT_FALSE(queue->register_memory({static_cast<uint8_t*>(forbidden), 8192}));
  ASSERT_EQ(mprotect(forbidden, 8192, PROT_READ | PROT_WRITE), 0);
  const Read read = {.bytes = 8192, .needed = 8192, .to = static_cast<uint8_t*>(forbidden)};
  ASSERT_EQ(queue->submit({&read, 1}), 1u);
  for (const Completion& completion : wait_for_all(*queue)) EXPECT_TRUE(completion.status);
  EXPECT_EQ(read.to[8191], byte_at(8191));
  munmap(forbidden, 8192);
}

TEST_P(ReadQueueTest, EndsWithReadsInFlight) {
  const std::string path = make("a", 8 << 20);
  for (int round = 0; round < 10; ++round) {
    AlignedBuffer memory = AlignedBuffer::allocate(8 << 20);
    auto queue = open({path});
    std::vector<Read> reads;
    for (uint64_t i = 0; i < 8; ++i) {
      reads.push_back({.offset = i << 20,
                       .bytes = 1 << 20,
                       .needed = 1 << 20,
                       .to = memory.data() + (i << 20),
                       .id = i});
    }
    ASSERT_EQ(queue->submit(reads), 8u);
    queue.reset();
    const std::vector<uint8_t> before(memory.data(), memory.data() + memory.size());
    std::this_thread::sleep_for(milliseconds(2));
    ASSERT_TRUE(std::equal(before.begin(), before.end(), memory.data())) << "written after the end";
  }
}

// Made by one thread, used by another, ended by the first.
TEST_P(ReadQueueTest, MovesToAnotherThread) {
  const auto queue = open({make("a", 1 << 20)});
  AlignedBuffer memory = AlignedBuffer::allocate(1 << 20);
  std::vector<Completion> done;
  std::thread([&] {
    const Read read = {.bytes = 1 << 20, .needed = 1 << 20, .to = memory.data(), .id = 3};
    EXPECT_EQ(queue->submit({&read, 1}), 1u);
    done = wait_for_all(*queue);
  }).join();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_TRUE(done[0].status);
  EXPECT_EQ(memory.data()[1000000], byte_at(1000000));
}

TEST_P(ReadQueueTest, FilesThatCannotBeOpened) {
  const auto kind = [&](const std::string& path) {
    const auto queue = open_read_queue({folder_ / "probe", path}, options());
    EXPECT_FALSE(queue);
    return queue ? ErrorKind::kUsage : queue.error().kind;
  };
  EXPECT_EQ(kind(folder_ / "absent"), ErrorKind::kNotFound);
  EXPECT_EQ(kind(folder_.path()), ErrorKind::kBadFile);
}

TEST_P(ReadQueueTest, DepthsOutOfRange) {
  for (const int depth : {0, -1, kMaxDepth + 1}) {
    const auto queue = open_read_queue({folder_ / "probe"}, options(depth));
    ASSERT_FALSE(queue);
    EXPECT_EQ(queue.error().kind, ErrorKind::kUsage);
  }
  EXPECT_GE(open({folder_ / "probe"}, kMaxDepth)->depth(), 64);
  EXPECT_EQ(open({folder_ / "probe"}, 1)->depth(), 1);
}

TEST_P(ReadQueueTest, EmptyFiles) {
  const auto queue = open({make("empty", 0)});
  AlignedBuffer memory = AlignedBuffer::allocate(4096);
  const Read read = {.bytes = 4096, .needed = 1, .to = memory.data()};
  ASSERT_EQ(queue->submit({&read, 1}), 1u);
  for (const Completion& completion : wait_for_all(*queue)) {
    ASSERT_FALSE(completion.status);
    EXPECT_EQ(completion.status.error().kind, ErrorKind::kBadFile);
  }
}

using ReadQueueDeathTest = ReadQueueTest;
TEST_P(ReadQueueDeathTest, WrongReadsAreDefects) {
  const auto queue = open({make("a", 65536)});
  AlignedBuffer memory = AlignedBuffer::allocate(8192);
  const auto submit = [&](Read read) { queue->submit({&read, 1}); };
  uint8_t* to = memory.data();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(submit({.file = 1, .bytes = 4096, .needed = 1, .to = to}), "unknown file");
  EXPECT_DEATH(submit({.bytes = 4096, .needed = 0, .to = to}), "needed bytes");
  EXPECT_DEATH(submit({.bytes = 4096, .needed = 4097, .to = to}), "needed bytes");
  if (queue->alignment() > 1) {
    EXPECT_DEATH(submit({.offset = 1, .bytes = 4096, .needed = 1, .to = to}), "aligned");
    EXPECT_DEATH(submit({.bytes = 4095, .needed = 1, .to = to}), "aligned");
    EXPECT_DEATH(submit({.bytes = 4096, .needed = 1, .to = to + 1}), "aligned");
  }
}

const Way kWays[] = {
    {"UringDirect", ReadEngine::kIoUring, ReadMode::kDirect, nullptr},
    {"UringBuffered", ReadEngine::kIoUring, ReadMode::kBuffered, nullptr},
    {"PreadDirect", ReadEngine::kPread, ReadMode::kDirect, nullptr},
    {"PreadBuffered", ReadEngine::kPread, ReadMode::kBuffered, nullptr},
    // Files in memory have no direct reads.
    {"UringMemory", ReadEngine::kIoUring, ReadMode::kAuto, "/dev/shm"},
    {"PreadMemory", ReadEngine::kPread, ReadMode::kAuto, "/dev/shm"},
};
INSTANTIATE_TEST_SUITE_P(Ways, ReadQueueTest, testing::ValuesIn(kWays),
                         [](const auto& way) { return std::string(way.param.name); });
INSTANTIATE_TEST_SUITE_P(Ways, ReadQueueDeathTest, testing::ValuesIn(kWays),
                         [](const auto& way) { return std::string(way.param.name); });

TEST(OpenReadQueue, DirectReadsOfFilesInMemoryAreRefused) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm";
  const TemporaryFolder folder("/dev/shm");
  write_file(folder / "a", content(100));
  const auto queue = open_read_queue({folder / "a"}, {.mode = ReadMode::kDirect});
  ASSERT_FALSE(queue);
  EXPECT_EQ(queue.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(queue.error().message, HasSubstr(folder / "a"));
}

TEST(OpenReadQueue, OneFileWithoutDirectReadsMakesAllBuffered) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm";
  const TemporaryFolder memory("/dev/shm");
  const TemporaryFolder disk;
  write_file(memory / "a", content(100));
  write_file(disk / "a", content(5000));
  for (const auto& paths : {std::vector<std::string>{disk / "a", memory / "a"},
                            std::vector<std::string>{memory / "a", disk / "a"}}) {
    const auto queue = open_read_queue(paths);
    ASSERT_TRUE(queue) << queue.error().message;
    EXPECT_FALSE((*queue)->direct());
    std::vector<uint8_t> bytes(50);
    for (const int file : {0, 1}) {
      const Read read = {.file = file, .offset = 3, .bytes = 50, .needed = 50, .to = bytes.data()};
      ASSERT_EQ((*queue)->submit({&read, 1}), 1u);
      for (const Completion& completion : wait_for_all(**queue)) {
        ASSERT_TRUE(completion.status) << completion.status.error().message;
      }
      EXPECT_EQ(bytes[49], byte_at(52));
    }
  }
}

}  // namespace
}  // namespace sluice::storage
