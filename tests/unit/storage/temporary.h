// SPDX-License-Identifier: Apache-2.0
// Files and memory for the tests of this folder.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "storage/read_queue.h"

namespace sluice::storage {

// A folder that goes away with its content.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& within = testing::TempDir()) {
    std::string pattern = within + "/storage_XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TemporaryFolder() {
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Every byte tells where it stands, in blocks and within them.
inline uint8_t byte_at(uint64_t offset, uint64_t seed = 0) {
  return static_cast<uint8_t>((offset * 0x9e3779b97f4a7c15u + seed * 0x2545f4914f6cdd1du) >> 56);
}

inline std::vector<uint8_t> content(uint64_t bytes, uint64_t seed = 0) {
  std::vector<uint8_t> out(bytes);
  for (uint64_t i = 0; i < bytes; ++i) out[i] = byte_at(i, seed);
  return out;
}

// Writes the file and dates it back: a later write is then seen whatever the clock's steps.
inline void write_file(const std::string& path, std::span<const uint8_t> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

// Waits until nothing is in flight, for at most ten seconds.
inline std::vector<Completion> wait_for_all(ReadQueue& queue) {
  std::vector<Completion> all;
  for (int i = 0; i < 100 && queue.in_flight() > 0; ++i) {
    queue.wait(all, std::chrono::milliseconds(100));
  }
  EXPECT_EQ(queue.in_flight(), 0);
  return all;
}

}  // namespace sluice::storage
