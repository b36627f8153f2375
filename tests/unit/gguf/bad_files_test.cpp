// SPDX-License-Identifier: Apache-2.0
// Hand-made bad files, one for each check of the reader, with the error each must give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "allocation_peak.h"
#include "builder.h"
#include "gguf/gguf.h"
#include "memory_reader.h"

namespace sluice::gguf {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kMax = ~uint64_t{0};
constexpr auto kBadFile = ErrorKind::kBadFile;
constexpr auto kUnsupported = ErrorKind::kUnsupported;

struct BadFile {
  std::string name;
  std::string bytes;
  ErrorKind kind;
  std::string field;  // what the message must name
  std::string what;   // and what it must say about it
};

void PrintTo(const BadFile& file, std::ostream* out) {
  *out << file.name;
}

std::string version(uint32_t number) {
  Builder file;
  file.version = number;
  return file.build();
}

std::string counts(uint64_t tensors, uint64_t pairs) {
  Builder file;
  file.u32("k", 1).tensor("t", {4}, TENSOR_F32, 0).data(16);
  file.tensor_count = tensors;
  file.pair_count = pairs;
  return file.build();
}

// A file of one pair, with room behind it.
std::string pair(std::string_view key, uint32_t type, const Bytes& value) {
  Builder file;
  file.pair(key, type, value);
  return file.build() + std::string(64, '\0');
}

std::string array(uint32_t type, uint64_t count, const Bytes& elements = {}) {
  return pair("k.array", ARRAY, Bytes().u32(type).u64(count).raw(elements.text));
}

std::string key(uint64_t length, std::string_view text) {
  Builder file;
  file.pair_count = 1;
  return file.build() + Bytes().u64(length).raw(text).u32(U8).u8(1).raw(std::string(64, 0)).text;
}

// One tensor "t" with everything given.
std::string tensor(std::initializer_list<int64_t> shape, uint32_t type, uint64_t offset = 0,
                   uint64_t data = 4096) {
  return Builder().tensor("t", shape, type, offset).data(data).build();
}

std::string raw_tensor(const Bytes& info) {
  return Builder().raw_tensor(info).data(4096).build();
}

std::string two_tensors(std::string_view first, std::string_view second, uint64_t second_offset) {
  return Builder()
      .tensor(first, {16}, TENSOR_F32, 0)
      .tensor(second, {16}, TENSOR_F32, second_offset)
      .data(1024)
      .build();
}

std::string alignment(uint32_t type, const Bytes& value) {
  return Builder()
      .pair("general.alignment", type, value)
      .tensor("t", {4}, TENSOR_F32, 0)
      .data(16)
      .build();
}

std::string cut(std::string bytes, size_t removed) {
  bytes.resize(bytes.size() - removed);
  return bytes;
}

std::vector<BadFile> bad_files() {
  const std::string empty_header = Builder().build();  // 24 bytes
  return {
      // Header.
      {"empty", "", kBadFile, "bad.gguf", "empty"},
      {"one_byte", "G", kBadFile, "magic", "cut short"},
      {"only_magic", "GGUF", kBadFile, "version", "cut short"},
      {"other_magic", "GGML" + empty_header.substr(4), kBadFile, "magic", "GGUF format"},
      {"web_page", "<!DOCTYPE html><html></html>", kBadFile, "magic", "web page"},
      {"lfs_pointer", "version https://git-lfs.github.com/spec/v1\n", kBadFile, "magic", "Git LFS"},
      {"version_0", version(0), kBadFile, "version", "0 does not exist"},
      {"version_1", version(1), kUnsupported, "version", "convert"},
      {"version_4", version(4), kUnsupported, "version", "4 is not supported"},
      {"version_huge", version(0xffffffff), kUnsupported, "version", "4294967295"},
      {"big_endian_v3", version(0x03000000), kUnsupported, "version", "big-endian"},
      {"big_endian_v2", version(0x02000000), kUnsupported, "version", "big-endian"},
      {"cut_in_version", empty_header.substr(0, 7), kBadFile, "version", "cut short"},
      {"cut_in_tensor_count", empty_header.substr(0, 12), kBadFile, "tensor count", "cut short"},
      {"cut_in_metadata_count", empty_header.substr(0, 23), kBadFile, "metadata count",
       "cut short"},
      {"tensor_count_negative", counts(kMax, 1), kBadFile, "tensor count", "negative"},
      {"tensor_count_2_63", counts(uint64_t{1} << 63, 1), kBadFile, "tensor count", "negative"},
      {"tensor_count_2_62", counts(uint64_t{1} << 62, 1), kBadFile, "tensor infos", "cannot lie"},
      {"tensor_count_times_size_wraps", counts(558992244657865201, 1), kBadFile, "tensor infos",
       "cannot lie"},
      {"tensor_count_one_more", counts(2, 1), kBadFile, "tensor info", ""},
      {"metadata_count_negative", counts(1, kMax), kBadFile, "metadata count", "negative"},
      {"metadata_count_2_62", counts(1, uint64_t{1} << 62), kBadFile, "metadata", "cannot lie"},
      {"metadata_count_times_size_wraps", counts(1, 1317624576693539402), kBadFile, "metadata",
       "cannot lie"},
      {"metadata_count_one_more", counts(1, 2), kBadFile, "tensor info 0", ""},

      // Keys.
      {"key_length_2_63", key(uint64_t{1} << 63, "k"), kBadFile, "key 0", "9223372036854775808"},
      {"key_length_max", key(kMax, "k"), kBadFile, "key 0", "18446744073709551615"},
      {"key_length_past_end", key(200, "k"), kBadFile, "key 0", "200 bytes"},
      {"key_too_long", key(65536, std::string(65536, 'k')), kBadFile, "key 0", "more than 65535"},
      {"key_empty", key(0, ""), kBadFile, "key 0", "empty name"},
      {"key_twice", Builder().u32("k.a", 1).u32("k.b", 1).string("k.a", "x").build(), kBadFile,
       "key 'k.a'", "first at byte 24"},
      {"key_with_newline", pair("k\nx", 77, {}), kBadFile, "key 'k\\x0ax'", "value type"},

      // Values.
      {"value_type_13", pair("k.type", 13, {}), kBadFile, "key 'k.type'", "value type 13"},
      {"value_type_max", pair("k.type", 0xffffffff, {}), kBadFile, "key 'k.type'", "4294967295"},
      {"cut_in_value_type", cut(Builder().string("k.cut", "").build(), 9), kBadFile, "key 'k.cut'",
       "cut short"},
      {"cut_in_u64", cut(Builder().number<uint64_t>("k.cut", U64, 1).build(), 1), kBadFile,
       "key 'k.cut'", "needs 8 bytes"},
      {"string_length_2_63", pair("k.text", STRING, Bytes().u64(uint64_t{1} << 63)), kBadFile,
       "key 'k.text'", "9223372036854775808"},
      {"string_length_max", pair("k.text", STRING, Bytes().u64(kMax)), kBadFile, "key 'k.text'",
       "18446744073709551615"},
      {"string_one_past_end", cut(Builder().string("k.text", "four").build(), 1), kBadFile,
       "key 'k.text'", "needs 4 bytes"},
      {"bool_2", pair("k.bool", BOOL, Bytes().u8(2)), kBadFile, "key 'k.bool'", "0 or 1, not 2"},

      // Arrays.
      {"array_type_13", array(13, 1), kBadFile, "key 'k.array'", "element type 13"},
      {"array_of_arrays", array(ARRAY, 1, Bytes().u32(U8).u64(1).u8(0)), kUnsupported,
       "key 'k.array'", "arrays of arrays"},
      {"array_of_u8_count_max", array(U8, kMax), kBadFile, "key 'k.array'", "cannot lie"},
      {"array_of_u64_bytes_wrap", array(U64, uint64_t{1} << 61), kBadFile, "key 'k.array'",
       "cannot lie"},
      {"array_of_u16_count_2_63", array(U16, uint64_t{1} << 63), kBadFile, "key 'k.array'",
       "cannot lie"},
      {"array_of_f32_count_2_62", array(F32, uint64_t{1} << 62), kBadFile, "key 'k.array'",
       "cannot lie"},
      {"array_of_strings_bytes_wrap", array(STRING, uint64_t{1} << 61), kBadFile, "key 'k.array'",
       "cannot lie"},
      {"array_past_end", array(I32, 17), kBadFile, "key 'k.array'", "64 bytes"},
      {"array_of_strings_past_end", array(STRING, 9), kBadFile, "key 'k.array'", "cannot lie"},
      {"array_string_length_2_63", array(STRING, 1, Bytes().u64(uint64_t{1} << 63)), kBadFile,
       "key 'k.array'", "9223372036854775808"},
      {"array_second_string_past_end", array(STRING, 2, Bytes().string("a").u64(100)), kBadFile,
       "key 'k.array'", "100 bytes"},
      {"array_bool_255", array(BOOL, 2, Bytes().u8(1).u8(255)), kBadFile, "key 'k.array'",
       "not 255"},

      // Alignment.
      {"alignment_0", alignment(U32, Bytes().u32(0)), kBadFile, "general.alignment",
       "power of two"},
      {"alignment_3", alignment(U32, Bytes().u32(3)), kBadFile, "general.alignment",
       "power of two"},
      {"alignment_2_31", alignment(U32, Bytes().u32(1u << 31)), kBadFile, "general.alignment",
       "2147483648"},
      {"alignment_max", alignment(U32, Bytes().u32(0xffffffff)), kBadFile, "general.alignment",
       "4294967295"},
      {"alignment_u64", alignment(U64, Bytes().u64(32)), kBadFile, "general.alignment", "u64"},
      {"alignment_string", alignment(STRING, Bytes().string("32")), kBadFile, "general.alignment",
       "string"},

      // Tensor infos.
      {"name_empty", Builder().tensor("", {4}, TENSOR_F32, 0).data(64).build(), kBadFile,
       "tensor info 0", "empty name"},
      {"name_65", Builder().tensor(std::string(65, 'n'), {4}, TENSOR_F32, 0).data(64).build(),
       kBadFile, "tensor info 0", "more than 64"},
      {"name_length_2_63", raw_tensor(Bytes().u64(uint64_t{1} << 63)), kBadFile, "tensor info 0",
       "9223372036854775808"},
      {"name_twice", two_tensors("same", "same", 64), kBadFile, "tensor 'same'", "twice"},
      {"dimensions_0", raw_tensor(Bytes().string("t").u32(0).u32(0).u64(0)), kBadFile, "tensor 't'",
       "0 dimensions"},
      {"dimensions_5", tensor({4, 1, 1, 1, 1}, TENSOR_F32), kBadFile, "tensor 't'", "5 dimensions"},
      {"dimensions_max", raw_tensor(Bytes().string("t").u32(0xffffffff)), kBadFile, "tensor 't'",
       "4294967295 dimensions"},
      {"size_0", tensor({0}, TENSOR_F32), kBadFile, "tensor 't'", "size 0 of dimension 0"},
      {"last_size_0", tensor({4, 4, 0}, TENSOR_F32), kBadFile, "tensor 't'",
       "size 0 of dimension 2"},
      {"size_negative", tensor({4, -1}, TENSOR_F32), kBadFile, "tensor 't'", "size -1"},
      {"size_min", tensor({INT64_MIN}, TENSOR_F32), kBadFile, "tensor 't'", "not positive"},
      {"elements_2_64", tensor({int64_t{1} << 32, int64_t{1} << 32}, TENSOR_F32), kBadFile,
       "tensor 't'", "overflows"},
      {"elements_2_63", tensor({1 << 30, 1 << 30, 8}, TENSOR_F32), kBadFile, "tensor 't'",
       "overflows"},
      {"elements_wrap_in_fourth", tensor({256, 256, 256, INT64_MAX}, TENSOR_Q4_K), kBadFile,
       "tensor 't'", "dimension 3"},
      {"bytes_2_64", tensor({int64_t{1} << 62}, TENSOR_F32), kBadFile, "tensor 't'", "overflows"},
      {"bytes_2_63", tensor({int64_t{1} << 61}, TENSOR_F32), kBadFile, "tensor 't'", "overflows"},
      {"elements_max", tensor({INT64_MAX}, TENSOR_F32), kBadFile, "tensor 't'", "overflows"},
      {"exabyte_tensor", tensor({int64_t{1} << 58}, TENSOR_F32), kBadFile, "tensor 't'",
       "file ends at byte"},
      {"row_not_of_blocks", tensor({100, 256}, TENSOR_Q4_K), kBadFile, "tensor 't'",
       "no multiple of Q4_K's block of 256"},
      {"row_shorter_than_block", tensor({1}, TENSOR_Q4_0), kBadFile, "tensor 't'", "block of 32"},
      {"type_unknown", tensor({256}, 1000), kUnsupported, "tensor 't'", "1000"},
      {"type_max", tensor({256}, 0xffffffff), kUnsupported, "tensor 't'", "4294967295"},
      {"type_removed", tensor({256}, 4), kUnsupported, "tensor 't'", "Q4_2"},
      {"type_iq1_s", tensor({256}, 19), kUnsupported, "tensor 't'", "IQ1_S"},
      {"type_q8_1", tensor({256}, 9), kUnsupported, "tensor 't'", "Q8_1"},
      {"type_nvfp4", tensor({256}, 40), kUnsupported, "tensor 't'", "NVFP4"},

      // Tensor data.
      {"offset_unaligned", tensor({4}, TENSOR_F32, 16), kBadFile, "tensor 't'", "alignment 32"},
      {"offset_not_of_larger_alignment",
       Builder().u32("general.alignment", 64).tensor("t", {4}, TENSOR_F32, 32).data(128).build(),
       kBadFile, "tensor 't'", "alignment 64"},
      {"offset_past_end", tensor({4}, TENSOR_F32, 8192), kBadFile, "tensor 't'",
       "file ends at byte"},
      {"offset_wraps", tensor({4}, TENSOR_F32, kMax - 31), kBadFile, "tensor 't'", "overflows"},
      {"offset_plus_bytes_wraps", tensor({int64_t{1} << 60}, TENSOR_F32, uint64_t{3} << 62),
       kBadFile, "tensor 't'", "overflows"},
      {"one_byte_short", tensor({1024}, TENSOR_F32, 0, 4095), kBadFile, "tensor 't'", "cut short"},
      {"no_data", Builder().tensor("t", {4}, TENSOR_F32, 0).header(), kBadFile, "tensor 't'",
       "file ends at byte"},
      {"cut_in_info", cut(Builder().tensor("t", {4, 4}, TENSOR_F32, 0).header(), 1), kBadFile,
       "tensor 't'", "cut short"},
      {"same_data_twice", two_tensors("one", "two", 0), kBadFile, "tensor 't", "overlaps"},
      {"data_overlaps", two_tensors("one", "two", 32), kBadFile, "tensor 'two'",
       "overlaps tensor 'one'"},

      // Split keys of a single file.
      {"split_index_string", Builder().string("split.no", "0").build(), kBadFile, "split.no",
       "string"},
      {"split_index_negative", Builder().number<int32_t>("split.no", I32, -1).build(), kBadFile,
       "split.no", "-1"},
      {"split_index_is_count", Builder().split(2, 2, 1).build(), kBadFile, "split.no", "of 2"},
      {"split_index_without_count", Builder().u32("split.no", 1).build(), kBadFile, "split.no",
       "of 1"},
      {"split_count_100000", Builder().u32("split.no", 0).u32("split.count", 100000).build(),
       kBadFile, "split.count", "100000"},
      {"split_count_float", Builder().number<float>("split.count", F32, 2.f).build(), kBadFile,
       "split.count", "f32"},
      {"split_without_total", Builder().u32("split.no", 0).u32("split.count", 2).build(), kBadFile,
       "split.tensors.count", "missing"},
      {"split_one_of_two", Builder().split(0, 2, 1).build(), kBadFile, "split.count", "2 parts"},
      {"later_part", Builder().split(1, 2, 1).build(), ErrorKind::kUsage, "split.no",
       "part 2 of 2"},
  };
}

class BadFiles : public testing::TestWithParam<BadFile> {};

TEST_P(BadFiles, GiveTheRightError) {
  const BadFile& file = GetParam();
  auto files = storage::one_file(file.bytes, "bad.gguf");
  const AllocationPeak peak;
  const auto model = Gguf::parse(std::move(files));
  EXPECT_LT(peak.bytes(), 8 * file.bytes.size() + (64 << 10));
  ASSERT_FALSE(model);
  const Error& error = model.error();
  EXPECT_EQ(error.kind, file.kind) << error.message;
  EXPECT_THAT(error.message, testing::StartsWith("bad.gguf: "));
  EXPECT_THAT(error.message, HasSubstr(file.field));
  EXPECT_THAT(error.message, HasSubstr(file.what));
  EXPECT_THAT(error.message, Not(HasSubstr("\n")));
  // What is there has a place.
  if (!file.bytes.empty() && file.what != "missing" && file.name != "split_one_of_two") {
    EXPECT_THAT(error.message, ContainsRegex("at byte [0-9]+"));
  }
}

INSTANTIATE_TEST_SUITE_P(Each, BadFiles, testing::ValuesIn(bad_files()),
                         [](const auto& file) { return file.param.name; });

// Files that are large on disk, or claim to be: limits hold where the file's size proves nothing.
constexpr uint64_t kTerabyte = uint64_t{1} << 40;

Error sparse_error(std::map<uint64_t, std::string> pieces) {
  std::vector<std::unique_ptr<storage::Reader>> files;
  files.push_back(std::make_unique<storage::SparseReader>(kTerabyte, std::move(pieces)));
  const auto model = Gguf::parse(std::move(files));
  EXPECT_FALSE(model);
  return model ? Error{} : model.error();
}

std::string header(uint64_t tensors, uint64_t pairs) {
  return Bytes().raw("GGUF").u32(3).u64(tensors).u64(pairs).text;
}

TEST(HugeFiles, ArrayElementsAreLimited) {
  const AllocationPeak peak;
  const Error error = sparse_error(
      {{0, header(0, 1) +
               Bytes().string("k").u32(ARRAY).u32(U8).u64(Metadata::kMaxArrayElements + 1).text}});
  EXPECT_EQ(error.kind, ErrorKind::kTooLarge) << error.message;
  EXPECT_THAT(error.message, HasSubstr("key 'k'"));
  EXPECT_LT(peak.bytes(), size_t{1} << 20);
}

TEST(HugeFiles, StringsAreLimited) {
  const AllocationPeak peak;
  const Error error = sparse_error(
      {{0,
        header(0, 1) + Bytes().string("k").u32(STRING).u64(Metadata::kMaxStringBytes + 1).text}});
  EXPECT_EQ(error.kind, ErrorKind::kBadFile) << error.message;
  EXPECT_THAT(error.message, HasSubstr("key 'k'"));
  EXPECT_LT(peak.bytes(), size_t{1} << 20);
}

TEST(HugeFiles, CountsAreLimited) {
  const AllocationPeak peak;
  const Error tensors = sparse_error({{0, header(kMaxTensors + 1, 0)}});
  EXPECT_EQ(tensors.kind, ErrorKind::kTooLarge) << tensors.message;
  EXPECT_THAT(tensors.message, HasSubstr("tensor infos"));
  const Error pairs = sparse_error({{0, header(0, uint64_t{1} << 30)}});
  EXPECT_EQ(pairs.kind, kBadFile) << pairs.message;
  EXPECT_THAT(pairs.message, HasSubstr("metadata"));
  EXPECT_LT(peak.bytes(), size_t{1} << 20);
}

TEST(HugeFiles, TheHeaderIsLimited) {
  // Strings of the largest size one after another: the fifth passes the limit.
  std::map<uint64_t, std::string> pieces;
  uint64_t position = 0;
  std::string piece = header(0, 8);
  for (int i = 0; i < 8; ++i) {
    piece += Bytes().string(fmt::format("k{}", i)).u32(STRING).u64(Metadata::kMaxStringBytes).text;
    pieces[position] = piece;
    position += piece.size() + Metadata::kMaxStringBytes;
    piece.clear();
  }
  const Error error = sparse_error(std::move(pieces));
  EXPECT_EQ(error.kind, ErrorKind::kTooLarge) << error.message;
  EXPECT_THAT(error.message, HasSubstr("key 'k3'"));
  EXPECT_THAT(error.message, HasSubstr("256 MiB"));
}

}  // namespace
}  // namespace sluice::gguf
