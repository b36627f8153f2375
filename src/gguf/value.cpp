// SPDX-License-Identifier: Apache-2.0
#include "gguf/value.h"

#include <array>

namespace sluice::gguf {

std::string_view value_type_name(ValueType type) {
  static constexpr std::array<std::string_view, kValueTypeLimit> kNames = {
      "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
      "bool", "string", "array", "u64", "i64", "f64"};
  const auto id = static_cast<uint32_t>(type);
  return id < kValueTypeLimit ? kNames[id] : "unknown";
}

size_t Array::size() const {
  return std::visit([](const auto& values) { return values.size(); }, elements);
}

std::string describe(const Value& value) {
  if (const Array* array = std::get_if<Array>(&value.data)) {
    return "array of " + std::string(value_type_name(array->element_type));
  }
  return std::string(value_type_name(value.type));
}

}  // namespace sluice::gguf
