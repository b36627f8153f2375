// SPDX-License-Identifier: Apache-2.0
// The key/value section of one GGUF file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "gguf/value.h"

namespace sluice::gguf {

class Cursor;

struct TransparentHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
// Position by name, searched without making a std::string.
using NameIndex = std::unordered_map<std::string, size_t, TransparentHash, std::equal_to<>>;

class Metadata {
 public:
  // Limits beyond any published file, which keep the memory for a hostile one small: array elements
  // take up to 32 bytes here and 1 there.
  static constexpr uint64_t kMaxKeyBytes = 65535;
  static constexpr uint64_t kMaxStringBytes = uint64_t{64} << 20;
  static constexpr uint64_t kMaxArrayElements = uint64_t{1} << 24;  // of all arrays together

  // Reads `count` pairs. kBadFile for malformed ones and duplicate keys, kUnsupported for arrays of
  // arrays, kTooLarge beyond the limits.
  static Result<Metadata> read(Cursor& cursor, uint64_t count);

  const std::vector<std::pair<std::string, Value>>& entries() const { return entries_; }
  const Value* find(std::string_view key) const;

  // Errors name the file, the key and where it stands. The _or forms return the fallback when the
  // key is absent, the others kBadFile.
  Result<uint64_t> require_uint(std::string_view key) const;
  Result<uint64_t> uint_or(std::string_view key, uint64_t fallback) const;
  Result<double> require_number(std::string_view key) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> bool_or(std::string_view key, bool fallback) const;
  Result<std::string> require_string(std::string_view key) const;
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const;
  Result<const std::vector<std::string>*> require_strings(std::string_view key) const;
  Result<std::vector<int64_t>> require_ints(std::string_view key) const;

  // An error about a key that is there.
  tl::unexpected<Error> error(ErrorKind kind, std::string_view key, std::string_view what) const;

 private:
  tl::unexpected<Error> missing(std::string_view key) const;
  tl::unexpected<Error> wrong_type(std::string_view key, const Value& value,
                                   std::string_view wanted) const;

  std::string file_;
  std::vector<std::pair<std::string, Value>> entries_;
  std::vector<uint64_t> offsets_;  // of each entry's key in the file
  NameIndex index_;
};

}  // namespace sluice::gguf
