// SPDX-License-Identifier: Apache-2.0
// Readers over memory, with the faults a disk can have.
#pragma once

#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/file.h"

namespace sluice::storage {

// A file held in memory. Counts what is read; fails every read that touches `fail_at`.
class MemoryReader final : public Reader {
 public:
  explicit MemoryReader(std::string bytes, std::string name = "memory.gguf")
      : bytes_(std::move(bytes)), name_(std::move(name)) {}

  uint64_t size() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  Status read_at(uint64_t offset, std::span<uint8_t> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) {
      return fail(ErrorKind::kBadFile, "{}: the file ends at byte {}", name_, bytes_.size());
    }
    if (fail_at >= offset && fail_at < offset + out.size()) {
      return fail(ErrorKind::kIo, "{}: cannot read at byte {}: input/output error", name_, offset);
    }
    ++reads;
    bytes_read += out.size();
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

  uint64_t fail_at = std::numeric_limits<uint64_t>::max();
  mutable uint64_t reads = 0;
  mutable uint64_t bytes_read = 0;

 private:
  std::string bytes_;
  std::string name_;
};

// A file of any size that is zero but for a few pieces: what a sparse file on disk would be.
class SparseReader final : public Reader {
 public:
  SparseReader(uint64_t size, std::map<uint64_t, std::string> pieces)
      : size_(size), pieces_(std::move(pieces)) {}

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }
  Status read_at(uint64_t offset, std::span<uint8_t> out) const override {
    if (offset > size_ || out.size() > size_ - offset) {
      return fail(ErrorKind::kBadFile, "{}: the file ends at byte {}", name_, size_);
    }
    if (out.empty()) return {};
    std::memset(out.data(), 0, out.size());
    for (const auto& [start, bytes] : pieces_) {
      const uint64_t begin = std::max(start, offset);
      const uint64_t end = std::min<uint64_t>(start + bytes.size(), offset + out.size());
      if (begin < end) {
        std::memcpy(out.data() + (begin - offset), bytes.data() + (begin - start), end - begin);
      }
    }
    return {};
  }

 private:
  uint64_t size_;
  std::map<uint64_t, std::string> pieces_;
  std::string name_ = "sparse.gguf";
};

inline std::vector<std::unique_ptr<Reader>> one_file(std::string bytes,
                                                     std::string name = "memory.gguf") {
  std::vector<std::unique_ptr<Reader>> files;
  files.push_back(std::make_unique<MemoryReader>(std::move(bytes), std::move(name)));
  return files;
}

}  // namespace sluice::storage
