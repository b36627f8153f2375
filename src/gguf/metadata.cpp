// SPDX-License-Identifier: Apache-2.0
#include "gguf/metadata.h"

#include <limits>

#include "gguf/cursor.h"
#include "gguf/messages.h"

namespace sluice::gguf {
namespace {

// Smallest pair: a key of one byte (8 + 1), the value's type (4), a value of one byte.
constexpr uint64_t kMinPairBytes = 14;

uint64_t element_bytes(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool:
      return 1;
    case ValueType::kU16:
    case ValueType::kI16:
      return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32:
      return 4;
    default:
      return 8;  // a string's length at least
  }
}

Result<bool> read_bool(Cursor& cursor, std::string_view field) {
  const uint64_t offset = cursor.position();
  SLUICE_ASSIGN(const uint8_t byte, cursor.number<uint8_t>(field));
  if (byte > 1) {
    return cursor.error(ErrorKind::kBadFile, field, offset, "a bool must be 0 or 1, not {}", byte);
  }
  return byte == 1;
}

template <typename Stored, typename Wide>
Result<Value> read_number(Cursor& cursor, ValueType type, std::string_view field) {
  SLUICE_ASSIGN(const Stored number, cursor.number<Stored>(field));
  return Value{type, Wide{number}};
}

template <typename Stored, typename Wide>
Result<Value> read_numbers(Cursor& cursor, ValueType type, uint64_t count, std::string_view field) {
  std::vector<Wide> numbers;
  numbers.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    SLUICE_ASSIGN(const Stored number, cursor.number<Stored>(field));
    numbers.push_back(number);
  }
  return Value{ValueType::kArray, Array{type, std::move(numbers)}};
}

Result<Value> read_elements(Cursor& cursor, ValueType type, uint64_t count,
                            std::string_view field) {
  switch (type) {
    case ValueType::kU8:
      return read_numbers<uint8_t, uint64_t>(cursor, type, count, field);
    case ValueType::kI8:
      return read_numbers<int8_t, int64_t>(cursor, type, count, field);
    case ValueType::kU16:
      return read_numbers<uint16_t, uint64_t>(cursor, type, count, field);
    case ValueType::kI16:
      return read_numbers<int16_t, int64_t>(cursor, type, count, field);
    case ValueType::kU32:
      return read_numbers<uint32_t, uint64_t>(cursor, type, count, field);
    case ValueType::kI32:
      return read_numbers<int32_t, int64_t>(cursor, type, count, field);
    case ValueType::kU64:
      return read_numbers<uint64_t, uint64_t>(cursor, type, count, field);
    case ValueType::kI64:
      return read_numbers<int64_t, int64_t>(cursor, type, count, field);
    case ValueType::kF32:
      return read_numbers<float, double>(cursor, type, count, field);
    case ValueType::kF64:
      return read_numbers<double, double>(cursor, type, count, field);
    case ValueType::kBool: {
      std::vector<bool> values;
      values.reserve(static_cast<size_t>(count));
      for (uint64_t i = 0; i < count; ++i) {
        SLUICE_ASSIGN(const bool value, read_bool(cursor, field));
        values.push_back(value);
      }
      return Value{ValueType::kArray, Array{type, std::move(values)}};
    }
    default: {
      std::vector<std::string> values;
      values.reserve(static_cast<size_t>(count));
      for (uint64_t i = 0; i < count; ++i) {
        SLUICE_ASSIGN(std::string value, cursor.string(field, Metadata::kMaxStringBytes));
        values.push_back(std::move(value));
      }
      return Value{ValueType::kArray, Array{type, std::move(values)}};
    }
  }
}

Result<ValueType> read_type(Cursor& cursor, std::string_view field, std::string_view what) {
  const uint64_t offset = cursor.position();
  SLUICE_ASSIGN(const uint32_t id, cursor.number<uint32_t>(field));
  if (id >= kValueTypeLimit) {
    return cursor.error(ErrorKind::kBadFile, field, offset,
                        "{} {} is unknown (0 to {} exist): the file is damaged, download it again",
                        what, id, kValueTypeLimit - 1);
  }
  return static_cast<ValueType>(id);
}

Result<Value> read_array(Cursor& cursor, std::string_view field, uint64_t* elements_left) {
  const uint64_t offset = cursor.position();
  SLUICE_ASSIGN(const ValueType type, read_type(cursor, field, "the array's element type"));
  if (type == ValueType::kArray) {
    return cursor.error(
        ErrorKind::kUnsupported, field, offset,
        "arrays of arrays are not supported: convert the model again without this key");
  }
  SLUICE_ASSIGN(const uint64_t count, cursor.number<uint64_t>(field));
  SLUICE_TRY(cursor.expect(count, element_bytes(type), field));
  if (count > *elements_left) {
    return cursor.error(
        ErrorKind::kTooLarge, field, offset,
        "with this array of {} the metadata's arrays hold more than the {} elements "
        "accepted: the file is damaged, download it again",
        count, Metadata::kMaxArrayElements);
  }
  *elements_left -= count;
  return read_elements(cursor, type, count, field);
}

Result<Value> read_value(Cursor& cursor, std::string_view field, uint64_t* elements_left) {
  SLUICE_ASSIGN(const ValueType type, read_type(cursor, field, "the value type"));
  switch (type) {
    case ValueType::kU8:
      return read_number<uint8_t, uint64_t>(cursor, type, field);
    case ValueType::kI8:
      return read_number<int8_t, int64_t>(cursor, type, field);
    case ValueType::kU16:
      return read_number<uint16_t, uint64_t>(cursor, type, field);
    case ValueType::kI16:
      return read_number<int16_t, int64_t>(cursor, type, field);
    case ValueType::kU32:
      return read_number<uint32_t, uint64_t>(cursor, type, field);
    case ValueType::kI32:
      return read_number<int32_t, int64_t>(cursor, type, field);
    case ValueType::kU64:
      return read_number<uint64_t, uint64_t>(cursor, type, field);
    case ValueType::kI64:
      return read_number<int64_t, int64_t>(cursor, type, field);
    case ValueType::kF32:
      return read_number<float, double>(cursor, type, field);
    case ValueType::kF64:
      return read_number<double, double>(cursor, type, field);
    case ValueType::kBool: {
      SLUICE_ASSIGN(const bool value, read_bool(cursor, field));
      return Value{type, value};
    }
    case ValueType::kString: {
      SLUICE_ASSIGN(std::string value, cursor.string(field, Metadata::kMaxStringBytes));
      return Value{type, std::move(value)};
    }
    case ValueType::kArray:
      break;
  }
  return read_array(cursor, field, elements_left);
}

}  // namespace

Result<Metadata> Metadata::read(Cursor& cursor, uint64_t count) {
  SLUICE_TRY(cursor.expect(count, kMinPairBytes, "the metadata"));
  Metadata metadata;
  metadata.file_ = cursor.reader().name();
  uint64_t elements_left = kMaxArrayElements;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = cursor.position();
    SLUICE_ASSIGN(std::string key, cursor.string(fmt::format("key {}", i), kMaxKeyBytes));
    if (key.empty()) {
      return cursor.error(ErrorKind::kBadFile, fmt::format("key {}", i), offset,
                          "an empty name: the file is damaged, download it again");
    }
    const std::string field = fmt::format("key {}", quote(key));
    const auto [entry, is_new] = metadata.index_.try_emplace(key, metadata.entries_.size());
    if (!is_new) {
      return cursor.error(ErrorKind::kBadFile, field, offset,
                          "appears twice, first at byte {}: convert the model again",
                          metadata.offsets_[entry->second]);
    }
    SLUICE_ASSIGN(Value value, read_value(cursor, field, &elements_left));
    metadata.entries_.emplace_back(std::move(key), std::move(value));
    metadata.offsets_.push_back(offset);
  }
  return metadata;
}

const Value* Metadata::find(std::string_view key) const {
  const auto entry = index_.find(key);
  return entry == index_.end() ? nullptr : &entries_[entry->second].second;
}

tl::unexpected<Error> Metadata::error(ErrorKind kind, std::string_view key,
                                      std::string_view what) const {
  return fail(kind, "{}: key {} at byte {}: {}", file_, quote(key),
              offsets_[index_.find(key)->second], what);
}

tl::unexpected<Error> Metadata::missing(std::string_view key) const {
  return fail(
      ErrorKind::kBadFile,
      "{}: key {} is missing from the metadata: convert the model again or take another file",
      file_, quote(key));
}

tl::unexpected<Error> Metadata::wrong_type(std::string_view key, const Value& value,
                                           std::string_view wanted) const {
  return error(
      ErrorKind::kBadFile, key,
      fmt::format("is of type {}, {} is needed: convert the model again", describe(value), wanted));
}

Result<uint64_t> Metadata::require_uint(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (const uint64_t* number = std::get_if<uint64_t>(&value->data)) return *number;
  const int64_t* number = std::get_if<int64_t>(&value->data);
  if (!number) return wrong_type(key, *value, "an integer");
  if (*number < 0) {
    return error(ErrorKind::kBadFile, key, fmt::format("is {}, it must not be negative", *number));
  }
  return static_cast<uint64_t>(*number);
}

Result<uint64_t> Metadata::uint_or(std::string_view key, uint64_t fallback) const {
  if (!find(key)) return fallback;
  return require_uint(key);
}

Result<double> Metadata::require_number(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (const double* number = std::get_if<double>(&value->data)) return *number;
  return wrong_type(key, *value, "f32 or f64");
}

Result<double> Metadata::number_or(std::string_view key, double fallback) const {
  if (!find(key)) return fallback;
  return require_number(key);
}

Result<bool> Metadata::bool_or(std::string_view key, bool fallback) const {
  const Value* value = find(key);
  if (!value) return fallback;
  if (const bool* flag = std::get_if<bool>(&value->data)) return *flag;
  return wrong_type(key, *value, "bool");
}

Result<std::string> Metadata::require_string(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (const std::string* text = std::get_if<std::string>(&value->data)) return *text;
  return wrong_type(key, *value, "string");
}

Result<std::string> Metadata::string_or(std::string_view key, std::string_view fallback) const {
  if (!find(key)) return std::string(fallback);
  return require_string(key);
}

Result<const std::vector<std::string>*> Metadata::require_strings(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (const Array* array = std::get_if<Array>(&value->data)) {
    if (const auto* strings = std::get_if<std::vector<std::string>>(&array->elements))
      return strings;
  }
  return wrong_type(key, *value, "array of string");
}

Result<std::vector<int64_t>> Metadata::require_ints(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  const Array* array = std::get_if<Array>(&value->data);
  if (!array) return wrong_type(key, *value, "an array of integers");
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&array->elements)) return *ints;
  const auto* uints = std::get_if<std::vector<uint64_t>>(&array->elements);
  if (!uints) return wrong_type(key, *value, "an array of integers");
  std::vector<int64_t> ints;
  ints.reserve(uints->size());
  for (const uint64_t number : *uints) {
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return error(
          ErrorKind::kBadFile, key,
          fmt::format("element {} is {}, too large for 64 bits with a sign", ints.size(), number));
    }
    ints.push_back(static_cast<int64_t>(number));
  }
  return ints;
}

}  // namespace sluice::gguf
