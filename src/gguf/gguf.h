// SPDX-License-Identifier: Apache-2.0
// Reader for GGUF v2 and v3: an untrusted file is validated whole before anything of its declared size
// is allocated. After open() succeeds every tensor's bytes lie inside its file.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"
#include "quant/quant.h"
#include "storage/file.h"

namespace sluice::gguf {

// A metadata value. Integers are widened to 64 bits, f32 to double; `type` keeps what the file says.
enum class ValueType : uint32_t {
  kU8 = 0, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64
};
std::string_view value_type_name(ValueType type);

struct Array {
  ValueType element_type;
  // Which member is used follows from element_type.
  std::variant<std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>, std::vector<bool>,
               std::vector<std::string>>
      elements;
  size_t size() const;
};

struct Value {
  ValueType type;
  std::variant<uint64_t, int64_t, double, bool, std::string, Array> data;
};

struct Tensor {
  std::string name;
  quant::Type type;
  int dimensions;                // as written, 1..4
  std::array<int64_t, 4> shape;  // ne[0] first (the contiguous one), missing ones are 1
  int file;                      // index into Gguf::files()
  uint64_t offset;               // from the start of that file
  uint64_t bytes;

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

// A model's metadata and tensor index, over one file or all parts of a split one.
class Gguf {
 public:
  // Opens `path` and, for a first part "-00001-of-000NN.gguf", its siblings. Errors name the file, the
  // field and the byte offset. Opening a later part says which file to give.
  static Result<Gguf> open(const std::string& path);
  // The same over readers (tests, fuzzing, remote headers): part 0 first.
  static Result<Gguf> parse(std::vector<std::unique_ptr<storage::Reader>> files);

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  const std::vector<std::unique_ptr<storage::Reader>>& files() const { return files_; }
  // Bytes of all parts.
  uint64_t file_bytes() const;

  // In file order.
  const std::vector<std::pair<std::string, Value>>& metadata() const { return metadata_; }
  const Value* find(std::string_view key) const;

  // require_*: kBadFile when the key is absent. *_or: the fallback when absent. Both: kBadFile, naming
  // key and type, when the value is of another kind. Any integer width is accepted for integers (a
  // negative value is an error for uint), f32 and f64 for numbers.
  Result<uint64_t> require_uint(std::string_view key) const;
  Result<uint64_t> uint_or(std::string_view key, uint64_t fallback) const;
  Result<double> require_number(std::string_view key) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> bool_or(std::string_view key, bool fallback) const;
  Result<std::string> require_string(std::string_view key) const;
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const;
  Result<const std::vector<std::string>*> require_strings(std::string_view key) const;
  // Integer arrays of any width, widened; kBadFile for other element types.
  Result<std::vector<int64_t>> require_ints(std::string_view key) const;

  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Tensor* find_tensor(std::string_view name) const;
  // Reads a whole tensor's bytes; out.size() == tensor.bytes.
  Status read(const Tensor& tensor, std::span<uint8_t> out) const;

 private:
  friend class Parser;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<std::unique_ptr<storage::Reader>> files_;
  std::vector<std::pair<std::string, Value>> metadata_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string, size_t> key_index_;
  std::unordered_map<std::string, size_t> tensor_index_;
};

}  // namespace sluice::gguf
