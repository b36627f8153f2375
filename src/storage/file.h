// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace sluice::storage {

// Something that can be read at any offset. Implementations: File, and memory in tests and fuzzers.
class Reader {
 public:
  virtual ~Reader() = default;
  virtual uint64_t size() const = 0;
  // For messages: the path, or what a test calls it.
  virtual const std::string& name() const = 0;
  // Fills all of `out` from `offset`, or fails: kIo when the system refuses, kBadFile when the file
  // ends first. Safe to call from several threads.
  virtual Status read_at(uint64_t offset, std::span<uint8_t> out) const = 0;
};

// A regular file opened for reading, with the size it had when it was opened.
class File final : public Reader {
 public:
  // kNotFound or kIo; a directory or a device is kBadFile.
  static Result<File> open(const std::string& path);
  ~File() override;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return path_; }
  Status read_at(uint64_t offset, std::span<uint8_t> out) const override;
  int descriptor() const { return descriptor_; }

 private:
  File(std::string path, int descriptor, uint64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace sluice::storage
