// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sluice::gguf {

// Ids as they stand in a file.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};
inline constexpr uint32_t kValueTypeLimit = 13;  // ids are below this

// "u32", "string", ...
std::string_view value_type_name(ValueType type);

struct Array {
  ValueType element_type;
  // Which member is used follows from element_type.
  std::variant<std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>, std::vector<bool>,
               std::vector<std::string>>
      elements;
  size_t size() const;
};

// A metadata value. Integers are widened to 64 bits, f32 to double; `type` keeps what the file
// says.
struct Value {
  ValueType type;
  std::variant<uint64_t, int64_t, double, bool, std::string, Array> data;
};

// "u32", "array of string", ... for messages.
std::string describe(const Value& value);

}  // namespace sluice::gguf
