// SPDX-License-Identifier: Apache-2.0
// Builds GGUF files byte by byte, well-formed or not. Knows nothing of the module under test.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::gguf {

// Value types and tensor types as numbers of the format.
enum RawValue : uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };
enum RawType : uint32_t { TENSOR_F32 = 0, TENSOR_F16 = 1, TENSOR_Q4_0 = 2, TENSOR_Q4_K = 12 };

class Bytes {
 public:
  template <typename T>
  Bytes& add(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& u8(uint8_t value) { return add(value); }
  Bytes& u32(uint32_t value) { return add(value); }
  Bytes& u64(uint64_t value) { return add(value); }
  Bytes& string(std::string_view value) { return u64(value.size()).raw(value); }
  Bytes& raw(std::string_view value) {
    text.append(value);
    return *this;
  }
  std::string text;
};

// A whole file. The counts and the magic can be overridden to lie.
class Builder {
 public:
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count, pair_count;
  uint64_t alignment = 32;  // of the padding; the key is a pair like any other
  uint64_t data_bytes = 0;

  // A pair whose value is given as bytes.
  Builder& pair(std::string_view key, uint32_t type, const Bytes& value) {
    pairs_.string(key).u32(type).raw(value.text);
    ++n_pairs_;
    return *this;
  }
  template <typename T>
  Builder& number(std::string_view key, uint32_t type, T value) {
    return pair(key, type, Bytes().add(value));
  }
  Builder& u32(std::string_view key, uint32_t value) { return number(key, U32, value); }
  Builder& string(std::string_view key, std::string_view value) {
    return pair(key, STRING, Bytes().string(value));
  }
  template <typename T>
  Builder& array(std::string_view key, uint32_t type, std::initializer_list<T> values) {
    Bytes bytes;
    bytes.u32(type).u64(values.size());
    for (const T& value : values) bytes.add(value);
    return pair(key, ARRAY, bytes);
  }
  Builder& strings(std::string_view key, std::initializer_list<std::string_view> values) {
    Bytes bytes;
    bytes.u32(STRING).u64(values.size());
    for (const std::string_view value : values) bytes.string(value);
    return pair(key, ARRAY, bytes);
  }
  Builder& split(uint16_t index, uint16_t count, int32_t tensors) {
    return number<uint16_t>("split.no", U16, index)
        .number<uint16_t>("split.count", U16, count)
        .number<int32_t>("split.tensors.count", I32, tensors);
  }

  Builder& tensor(std::string_view name, std::initializer_list<int64_t> shape, uint32_t type,
                  uint64_t offset) {
    Bytes info;
    info.string(name).u32(static_cast<uint32_t>(shape.size()));
    for (const int64_t size : shape) info.add(size);
    return raw_tensor(info.u32(type).u64(offset));
  }
  Builder& raw_tensor(const Bytes& info) {
    infos_.raw(info.text);
    ++n_tensors_;
    return *this;
  }
  Builder& data(uint64_t bytes) {
    data_bytes = bytes;
    return *this;
  }

  // Everything before the data, without padding.
  std::string header() const {
    return Bytes()
        .raw(magic)
        .u32(version)
        .u64(tensor_count.value_or(n_tensors_))
        .u64(pair_count.value_or(n_pairs_))
        .raw(pairs_.text)
        .raw(infos_.text)
        .text;
  }
  // Data byte i is i % 253.
  std::string build() const {
    std::string file = header();
    if (n_tensors_ > 0) file.resize((file.size() + alignment - 1) / alignment * alignment);
    for (uint64_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i % 253);
    return file;
  }

 private:
  Bytes pairs_, infos_;
  uint64_t n_pairs_ = 0, n_tensors_ = 0;
};

// A small valid model with every value type, an array of each kind, and tensors of several types
// with a gap between them: 3 tensors, whose last byte is the file's last.
inline Builder sample() {
  Builder file;
  file.string("general.architecture", "qwen3moe")
      .u32("general.alignment", 32)
      .number<uint8_t>("a.u8", U8, 200)
      .number<int8_t>("a.i8", I8, -100)
      .number<uint16_t>("a.u16", U16, 60000)
      .number<int16_t>("a.i16", I16, -30000)
      .number<int32_t>("a.i32", I32, -2000000000)
      .number<float>("a.f32", F32, 1e-6f)
      .number<uint8_t>("a.bool", BOOL, 1)
      .number<uint64_t>("a.u64", U64, ~uint64_t{0})
      .number<int64_t>("a.i64", I64, std::int64_t{-1} << 62)
      .number<double>("a.f64", F64, 0.1)
      .string("a.empty", "")
      .strings("a.strings", {"one", "", std::string_view("t\0w", 3)})
      .array<int32_t>("a.i32s", I32, {1, -2, 3})
      .array<uint8_t>("a.u8s", U8, {0, 255})
      .array<float>("a.f32s", F32, {0.5f, -1.f})
      .array<uint8_t>("a.bools", BOOL, {1, 0, 1})
      .array<uint32_t>("a.none", U32, {})
      .tensor("token_embd.weight", {8, 4}, TENSOR_F32, 0)
      .tensor("blk.0.ffn_gate_exps.weight", {256, 2, 3}, TENSOR_Q4_K, 160)
      .tensor("output_norm.weight", {6}, TENSOR_F16, 1024)
      .data(1024 + 12);
  return file;
}

}  // namespace sluice::gguf
