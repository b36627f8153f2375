// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::gguf {

// A file that appears under its name only when complete: written as path + ".part" and renamed by
// commit(). Destroyed without that, it leaves nothing behind. Errors name the path and are kIo, or
// kUsage where something other than a regular file has that name.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& path);
  OutputFile() = default;
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  // Small pieces are gathered.
  Status append(std::span<const uint8_t> bytes);
  Status commit();

 private:
  Status flush();
  Status write_all(std::span<const uint8_t> bytes);
  void discard();
  tl::unexpected<Error> error(std::string_view action, int code) const;

  std::string path_;
  std::string part_path_;  // empty once committed
  int descriptor_ = -1;
  uint64_t written_ = 0;
  std::vector<uint8_t> pending_;
};

}  // namespace sluice::gguf
