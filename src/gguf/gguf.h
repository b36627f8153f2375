// SPDX-License-Identifier: Apache-2.0
// Reader for GGUF v2 and v3: an untrusted file is validated whole before anything of its declared
// size is allocated. After open() succeeds every tensor's bytes lie inside its file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "gguf/metadata.h"
#include "gguf/split.h"
#include "gguf/tensor_info.h"
#include "gguf/value.h"
#include "quant/quant.h"
#include "storage/file.h"

namespace sluice::gguf {

// A model's metadata and tensor index, over one file or all parts of a split one.
class Gguf {
 public:
  // Opens `path` and, for a first part "-00001-of-000NN.gguf", its siblings. Errors name the file,
  // the field and the byte offset. Opening a later part says which file to give (kUsage); a missing
  // part is kNotFound.
  static Result<Gguf> open(const std::string& path);
  // The same over readers (tests, fuzzing, remote headers): part 0 first.
  static Result<Gguf> parse(std::vector<std::unique_ptr<storage::Reader>> files);

  // Of the first file.
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  const std::vector<std::unique_ptr<storage::Reader>>& files() const { return files_; }
  // Bytes of all parts.
  uint64_t file_bytes() const;

  // The first file's, in file order: later parts only repeat it.
  const std::vector<std::pair<std::string, Value>>& metadata() const { return metadata_.entries(); }
  const Value* find(std::string_view key) const { return metadata_.find(key); }

  // require_*: kBadFile when the key is absent. *_or: the fallback when absent. Both: kBadFile,
  // naming key and type, when the value is of another kind. Any integer width is accepted for
  // integers (a negative value is an error for uint), f32 and f64 for numbers.
  Result<uint64_t> require_uint(std::string_view key) const { return metadata_.require_uint(key); }
  Result<uint64_t> uint_or(std::string_view key, uint64_t fallback) const {
    return metadata_.uint_or(key, fallback);
  }
  Result<double> require_number(std::string_view key) const {
    return metadata_.require_number(key);
  }
  Result<double> number_or(std::string_view key, double fallback) const {
    return metadata_.number_or(key, fallback);
  }
  Result<bool> bool_or(std::string_view key, bool fallback) const {
    return metadata_.bool_or(key, fallback);
  }
  Result<std::string> require_string(std::string_view key) const {
    return metadata_.require_string(key);
  }
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const {
    return metadata_.string_or(key, fallback);
  }
  // Valid as long as this object.
  Result<const std::vector<std::string>*> require_strings(std::string_view key) const {
    return metadata_.require_strings(key);
  }
  // Integer arrays of any width, widened; kBadFile for other element types.
  Result<std::vector<int64_t>> require_ints(std::string_view key) const {
    return metadata_.require_ints(key);
  }

  // In file order, parts one after another.
  const std::vector<Tensor>& tensors() const { return table_.tensors; }
  const Tensor* find_tensor(std::string_view name) const;
  // Reads a whole tensor's bytes; out.size() == tensor.bytes.
  Status read(const Tensor& tensor, std::span<uint8_t> out) const;

 private:
  Gguf() = default;
  // add_first sets split_, which tells how many parts are to follow.
  Status add_first(std::unique_ptr<storage::Reader> reader);
  Status add_next(std::unique_ptr<storage::Reader> reader);

  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  Split split_;
  std::vector<std::unique_ptr<storage::Reader>> files_;
  Metadata metadata_;
  TensorTable table_;
};

}  // namespace sluice::gguf
