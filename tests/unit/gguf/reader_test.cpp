// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "builder.h"
#include "gguf/gguf.h"
#include "gguf/messages.h"
#include "memory_reader.h"

namespace sluice::gguf {
namespace {

using storage::MemoryReader;
using storage::one_file;
using testing::ElementsAre;
using testing::HasSubstr;

Gguf parse(const Builder& file) {
  auto model = Gguf::parse(one_file(file.build()));
  EXPECT_TRUE(model) << model.error().message;
  return std::move(*model);
}

template <typename T>
void expect_bad(const Result<T>& result, std::string_view key, std::string_view what) {
  ASSERT_FALSE(result) << key;
  EXPECT_EQ(result.error().kind, ErrorKind::kBadFile);
  EXPECT_THAT(result.error().message, HasSubstr("memory.gguf"));
  EXPECT_THAT(result.error().message, HasSubstr(std::string(key)));
  EXPECT_THAT(result.error().message, HasSubstr(std::string(what)));
}

TEST(Reader, KeepsEveryValue) {
  const Gguf model = parse(sample());
  EXPECT_EQ(model.version(), 3u);
  EXPECT_EQ(model.alignment(), 32u);
  EXPECT_EQ(model.metadata().size(), 19u);
  EXPECT_EQ(model.metadata()[0].first, "general.architecture");
  EXPECT_EQ(model.metadata()[18].first, "a.none");

  const auto value = [&](std::string_view key) { return *model.find(key); };
  EXPECT_EQ(value("a.u8").type, ValueType::kU8);
  EXPECT_EQ(std::get<uint64_t>(value("a.u8").data), 200u);
  EXPECT_EQ(std::get<int64_t>(value("a.i8").data), -100);
  EXPECT_EQ(std::get<uint64_t>(value("a.u16").data), 60000u);
  EXPECT_EQ(std::get<int64_t>(value("a.i16").data), -30000);
  EXPECT_EQ(std::get<int64_t>(value("a.i32").data), -2000000000);
  EXPECT_EQ(std::get<double>(value("a.f32").data), double{1e-6f});
  EXPECT_EQ(std::get<bool>(value("a.bool").data), true);
  EXPECT_EQ(std::get<uint64_t>(value("a.u64").data), ~uint64_t{0});
  EXPECT_EQ(std::get<int64_t>(value("a.i64").data), int64_t{-1} << 62);
  EXPECT_EQ(std::get<double>(value("a.f64").data), 0.1);
  EXPECT_EQ(std::get<std::string>(value("a.empty").data), "");
  const auto array = [&](std::string_view key) { return std::get<Array>(value(key).data); };
  EXPECT_THAT(std::get<std::vector<std::string>>(array("a.strings").elements),
              ElementsAre("one", "", std::string("t\0w", 3)));
  EXPECT_EQ(array("a.i32s").element_type, ValueType::kI32);
  EXPECT_THAT(std::get<std::vector<int64_t>>(array("a.i32s").elements), ElementsAre(1, -2, 3));
  EXPECT_THAT(std::get<std::vector<uint64_t>>(array("a.u8s").elements), ElementsAre(0, 255));
  EXPECT_THAT(std::get<std::vector<double>>(array("a.f32s").elements), ElementsAre(0.5, -1));
  EXPECT_THAT(std::get<std::vector<bool>>(array("a.bools").elements),
              ElementsAre(true, false, true));
  EXPECT_EQ(array("a.none").size(), 0u);
  EXPECT_EQ(array("a.bools").size(), 3u);
  EXPECT_EQ(model.find("a.absent"), nullptr);
  EXPECT_EQ(model.find(""), nullptr);
}

TEST(Reader, PlacesTensors) {
  const Builder file = sample();
  const std::string bytes = file.build();
  const Gguf model = parse(file);
  const uint64_t data = (file.header().size() + 31) / 32 * 32;
  ASSERT_EQ(model.tensors().size(), 3u);
  EXPECT_EQ(model.file_bytes(), bytes.size());

  const Tensor& embedding = model.tensors()[0];
  EXPECT_EQ(embedding.name, "token_embd.weight");
  EXPECT_EQ(embedding.type, quant::Type::kF32);
  EXPECT_EQ(embedding.dimensions, 2);
  EXPECT_THAT(embedding.shape, ElementsAre(8, 4, 1, 1));
  EXPECT_EQ(embedding.elements(), 32);
  EXPECT_EQ(embedding.offset, data);
  EXPECT_EQ(embedding.bytes, 128u);

  const Tensor* experts = model.find_tensor("blk.0.ffn_gate_exps.weight");
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(experts->dimensions, 3);
  EXPECT_THAT(experts->shape, ElementsAre(256, 2, 3, 1));
  EXPECT_EQ(experts->bytes, 144u * 6);
  EXPECT_EQ(experts->offset, data + 160);
  EXPECT_EQ(model.find_tensor("blk.1.ffn_gate_exps.weight"), nullptr);

  std::vector<uint8_t> out(experts->bytes);
  ASSERT_TRUE(model.read(*experts, out));
  EXPECT_EQ(std::string(out.begin(), out.end()), bytes.substr(experts->offset, experts->bytes));
}

TEST(Reader, AcceptsVersion2AndOtherAlignments) {
  Builder file;
  file.version = 2;
  file.alignment = 256;
  file.u32("general.alignment", 256)
      .tensor("a", {1}, TENSOR_F32, 0)
      .tensor("b", {1}, TENSOR_F32, 256);
  file.data(260);
  const Gguf model = parse(file);
  EXPECT_EQ(model.version(), 2u);
  EXPECT_EQ(model.alignment(), 256u);
  EXPECT_EQ(model.tensors()[1].offset, 512u);
}

TEST(Reader, AcceptsFilesWithoutTensorsOrMetadata) {
  EXPECT_TRUE(parse(Builder()).tensors().empty());
  EXPECT_EQ(parse(Builder().string("a", "b")).metadata().size(), 1u);
}

TEST(Reader, TensorsMayLieInAnyOrder) {
  Builder file;
  file.tensor("second", {8}, TENSOR_F32, 64).tensor("first", {16}, TENSOR_F32, 0).data(96);
  const Gguf model = parse(file);
  EXPECT_EQ(model.tensors()[0].name, "second");
  EXPECT_EQ(model.tensors()[0].offset - model.tensors()[1].offset, 64u);
}

TEST(Reader, SplitCountsOfOneFileAreNoSplit) {
  EXPECT_TRUE(Gguf::parse(one_file(Builder().split(0, 1, 0).build())));
  EXPECT_TRUE(Gguf::parse(one_file(Builder().split(0, 0, 0).build())));
}

TEST(Accessors, WidenIntegers) {
  const Gguf model = parse(sample().number<int32_t>("a.positive", I32, 7));
  EXPECT_EQ(model.require_uint("a.u8").value(), 200u);
  EXPECT_EQ(model.require_uint("a.u16").value(), 60000u);
  EXPECT_EQ(model.require_uint("a.u64").value(), ~uint64_t{0});
  EXPECT_EQ(model.require_uint("a.positive").value(), 7u);
  EXPECT_EQ(model.uint_or("a.positive", 1).value(), 7u);
  EXPECT_EQ(model.uint_or("a.absent", 1).value(), 1u);
  EXPECT_EQ(model.require_number("a.f32").value(), double{1e-6f});
  EXPECT_EQ(model.number_or("a.f64", 1).value(), 0.1);
  EXPECT_EQ(model.number_or("a.absent", 1).value(), 1);
  EXPECT_EQ(model.bool_or("a.bool", false).value(), true);
  EXPECT_EQ(model.bool_or("a.absent", true).value(), true);
  EXPECT_EQ(model.require_string("general.architecture").value(), "qwen3moe");
  EXPECT_EQ(model.string_or("a.empty", "x").value(), "");
  EXPECT_EQ(model.string_or("a.absent", "x").value(), "x");
  EXPECT_EQ(model.require_strings("a.strings").value()->size(), 3u);
  EXPECT_THAT(model.require_ints("a.i32s").value(), ElementsAre(1, -2, 3));
  EXPECT_THAT(model.require_ints("a.u8s").value(), ElementsAre(0, 255));
  EXPECT_THAT(model.require_ints("a.none").value(), ElementsAre());
}

TEST(Accessors, AbsentKeysAreNamed) {
  const Gguf model = parse(sample());
  expect_bad(model.require_uint("a.absent"), "a.absent", "missing");
  expect_bad(model.require_number("a.absent"), "a.absent", "missing");
  expect_bad(model.require_string("a.absent"), "a.absent", "missing");
  expect_bad(model.require_strings("a.absent"), "a.absent", "missing");
  expect_bad(model.require_ints("a.absent"), "a.absent", "missing");
}

TEST(Accessors, OtherTypesAreNeverReinterpreted) {
  const Gguf model =
      parse(sample().array<uint64_t>("a.large", U64, {1, std::numeric_limits<uint64_t>::max()}));
  expect_bad(model.require_uint("a.f32"), "'a.f32' at byte", "f32");
  expect_bad(model.require_uint("a.bool"), "a.bool", "bool");
  expect_bad(model.require_uint("a.i32s"), "a.i32s", "array of i32");
  expect_bad(model.require_uint("a.i8"), "a.i8", "-100");
  expect_bad(model.uint_or("a.i8", 3), "a.i8", "-100");
  expect_bad(model.uint_or("a.empty", 3), "a.empty", "string");
  expect_bad(model.require_number("a.u8"), "a.u8", "u8");
  expect_bad(model.number_or("a.empty", 1), "a.empty", "string");
  expect_bad(model.bool_or("a.u8", true), "a.u8", "u8");
  expect_bad(model.require_string("a.strings"), "a.strings", "array of string");
  expect_bad(model.string_or("a.bool", ""), "a.bool", "bool");
  expect_bad(model.require_strings("a.empty"), "a.empty", "string");
  expect_bad(model.require_strings("a.u8s"), "a.u8s", "array of u8");
  expect_bad(model.require_ints("a.u8"), "a.u8", "array");
  expect_bad(model.require_ints("a.f32s"), "a.f32s", "array of f32");
  expect_bad(model.require_ints("a.strings"), "a.strings", "array of string");
  expect_bad(model.require_ints("a.bools"), "a.bools", "array of bool");
  expect_bad(model.require_ints("a.large"), "a.large", "18446744073709551615");
}

TEST(Accessors, SurviveAMove) {
  Gguf model = parse(sample());
  const Gguf moved = std::move(model);
  EXPECT_EQ(moved.require_string("general.architecture").value(), "qwen3moe");
  EXPECT_EQ(moved.find_tensor("output_norm.weight"), &moved.tensors()[2]);
}

TEST(Reader, ReadsTheHeaderInFewPieces) {
  // A vocabulary of real size, before a tensor of 8 MiB that must not be read.
  constexpr uint64_t kTokens = 151936;
  Bytes tokens;
  tokens.u32(STRING).u64(kTokens);
  for (uint64_t i = 0; i < kTokens; ++i) tokens.string(fmt::format("token {}", i));
  Builder file;
  file.pair("tokenizer.ggml.tokens", ARRAY, tokens);
  file.string("tokenizer.chat_template", std::string(3 << 20, 'x'));  // longer than the buffer
  file.tensor("t", {2 << 20}, TENSOR_F32, 0).data(8 << 20);

  std::vector<std::unique_ptr<storage::Reader>> files = one_file(file.build());
  const auto& reader = static_cast<const MemoryReader&>(*files[0]);
  const auto model = Gguf::parse(std::move(files));
  ASSERT_TRUE(model) << model.error().message;
  const auto& read = *model->require_strings("tokenizer.ggml.tokens").value();
  ASSERT_EQ(read.size(), kTokens);
  for (uint64_t i = 0; i < kTokens; ++i) ASSERT_EQ(read[i], fmt::format("token {}", i));
  EXPECT_EQ(model->require_string("tokenizer.chat_template").value(), std::string(3 << 20, 'x'));
  EXPECT_LT(reader.reads, 30u);
  EXPECT_LT(reader.bytes_read, file.header().size() + (512 << 10));
}

TEST(Reader, DiskErrorsKeepTheirKindAndNameTheField) {
  const std::string bytes = sample().build();
  auto reader = std::make_unique<MemoryReader>(bytes);
  reader->fail_at = 100;
  std::vector<std::unique_ptr<storage::Reader>> files;
  files.push_back(std::move(reader));
  const auto model = Gguf::parse(std::move(files));
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().kind, ErrorKind::kIo);
  EXPECT_THAT(model.error().message, HasSubstr("reading"));
}

TEST(Messages, QuotedTextIsOneShortLine) {
  EXPECT_EQ(quote("a.b"), "'a.b'");
  EXPECT_EQ(quote(std::string_view("a\n\0\xff", 4)), "'a\\x0a\\x00\\xff'");
  EXPECT_LT(quote(std::string(1 << 16, 'x')).size(), 120u);
}

}  // namespace
}  // namespace sluice::gguf
