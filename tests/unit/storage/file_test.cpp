// SPDX-License-Identifier: Apache-2.0
#include "storage/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>
#include <vector>

namespace sluice::storage {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "storage_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Byte i is i % 251.
  std::string make(const std::string& name, size_t bytes) {
    const std::string path = folder_ + "/" + name;
    std::ofstream out(path, std::ios::binary);
    for (size_t i = 0; i < bytes; ++i) out.put(static_cast<char>(i % 251));
    return path;
  }

  std::string folder_;
};

TEST_F(FileTest, ReadsAnyRange) {
  const std::string path = make("data", 10000);
  const auto file = File::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->size(), 10000u);
  EXPECT_EQ(file->name(), path);
  EXPECT_GE(file->descriptor(), 0);
  for (const uint64_t offset : {0u, 1u, 4095u, 9990u}) {
    std::vector<uint8_t> out(10, 0xee);
    ASSERT_TRUE(file->read_at(offset, out));
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], (offset + i) % 251) << offset + i;
  }
}

TEST_F(FileTest, EmptyRangesAndFiles) {
  const auto file = File::open(make("empty", 0));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->size(), 0u);
  EXPECT_TRUE(file->read_at(0, {}));
  uint8_t byte;
  const Status status = file->read_at(0, {&byte, 1});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
}

TEST_F(FileTest, RangesBeyondTheEndAreBadFile) {
  const auto file = File::open(make("data", 100));
  ASSERT_TRUE(file);
  std::vector<uint8_t> out(10);
  for (const uint64_t offset : {uint64_t{91}, uint64_t{100}, uint64_t{101}, uint64_t{1} << 63,
                                std::numeric_limits<uint64_t>::max() - 4}) {
    const Status status = file->read_at(offset, out);
    ASSERT_FALSE(status) << offset;
    EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
    EXPECT_THAT(status.error().message, HasSubstr("ends at byte 100"));
    EXPECT_THAT(status.error().message, HasSubstr(std::to_string(offset)));
  }
}

TEST_F(FileTest, FileThatShrinksIsTold) {
  const std::string path = make("data", 100000);
  const auto file = File::open(path);
  ASSERT_TRUE(file);
  std::filesystem::resize_file(path, 50000);
  std::vector<uint8_t> out(100000);
  const Status status = file->read_at(0, out);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
  EXPECT_THAT(status.error().message, HasSubstr("now ends at byte 50000"));
  EXPECT_TRUE(file->read_at(0, std::span(out).first(50000))) << "what is left can still be read";
}

TEST_F(FileTest, OpenErrors) {
  const auto kind = [](const std::string& path) {
    const auto file = File::open(path);
    EXPECT_FALSE(file) << path;
    if (file) return ErrorKind::kUsage;
    EXPECT_THAT(file.error().message, HasSubstr(path));
    return file.error().kind;
  };
  EXPECT_EQ(kind(folder_ + "/absent"), ErrorKind::kNotFound);
  EXPECT_EQ(kind(make("plain", 1) + "/below"), ErrorKind::kNotFound);
  EXPECT_EQ(kind(""), ErrorKind::kNotFound);
  EXPECT_EQ(kind(folder_), ErrorKind::kBadFile);
  EXPECT_EQ(kind("/dev/zero"), ErrorKind::kBadFile);
  const std::string pipe = folder_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(kind(pipe), ErrorKind::kBadFile);  // and does not wait for a writer
  const std::string loop = folder_ + "/loop";
  std::filesystem::create_symlink(loop, loop);
  EXPECT_EQ(kind(loop), ErrorKind::kIo);
}

TEST_F(FileTest, MovesCloseWhatTheyReplace) {
  auto first = File::open(make("first", 10));
  auto second = File::open(make("second", 20));
  ASSERT_TRUE(first && second);
  const int replaced = first->descriptor();
  const int kept = second->descriptor();
  *first = std::move(*second);
  EXPECT_EQ(fcntl(replaced, F_GETFD), -1);
  EXPECT_EQ(first->descriptor(), kept);
  EXPECT_EQ(first->size(), 20u);
  uint8_t byte;
  EXPECT_TRUE(first->read_at(19, {&byte, 1}));
  { const File taken = std::move(*first); }
  EXPECT_EQ(fcntl(kept, F_GETFD), -1);
}

TEST_F(FileTest, DescriptorIsNotInherited) {
  const auto file = File::open(make("data", 1));
  ASSERT_TRUE(file);
  EXPECT_NE(fcntl(file->descriptor(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(FileTest, ThreadsShareAFile) {
  const auto file = File::open(make("data", 100000));
  ASSERT_TRUE(file);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      std::vector<uint8_t> out(1000);
      for (uint64_t offset = t; offset + out.size() <= file->size(); offset += 997) {
        if (!file->read_at(offset, out)) ++wrong[t];
        for (size_t i = 0; i < out.size(); ++i) wrong[t] += out[i] != (offset + i) % 251;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

}  // namespace
}  // namespace sluice::storage
