// SPDX-License-Identifier: Apache-2.0
#include "gguf/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "builder.h"

namespace sluice::gguf {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::string read_all(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

std::vector<uint8_t> ramp(size_t bytes) {
  std::vector<uint8_t> out(bytes);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(i % 253);
  return out;
}

class WriterTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "writer_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ + "/model.gguf";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // begin() refuses, with this in its message, and leaves no file.
  void expect_refused(Writer& writer, std::vector<std::string> parts) {
    const Status status = writer.begin(path_);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage) << status.error().message;
    for (const std::string& text : parts) EXPECT_THAT(status.error().message, HasSubstr(text));
    EXPECT_TRUE(fs::is_empty(folder_));
  }

  std::string folder_, path_;
};

TEST_F(WriterTest, BytesAreThoseOfTheFormat) {
  Writer writer;
  writer.set_string("general.architecture", "x");
  writer.set_u32("a", 1);
  writer.set_f32("b", 0.5f);
  writer.set_bool("c", true);
  writer.set_strings("d", {"p", ""});
  writer.set_i32s("e", {-1, 2});
  writer.set_u32("a", 7);  // replaces, in place
  writer.add_tensor("t", quant::Type::kF32, {3});
  writer.add_tensor("u", quant::Type::kF16, {2, 2});
  ASSERT_TRUE(writer.begin(path_));
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_TRUE(fs::exists(path_ + ".part"));
  ASSERT_TRUE(writer.write(ramp(12)));
  ASSERT_TRUE(writer.write(ramp(8)));
  ASSERT_TRUE(writer.finish());
  EXPECT_FALSE(fs::exists(path_ + ".part"));

  Builder expected;
  expected.string("general.architecture", "x").u32("a", 7).number<float>("b", F32, 0.5f);
  expected.number<uint8_t>("c", BOOL, 1).strings("d", {"p", ""}).array<int32_t>("e", I32, {-1, 2});
  expected.tensor("t", {3}, TENSOR_F32, 0).tensor("u", {2, 2}, TENSOR_F16, 32);
  std::string data(64, '\0');
  for (size_t i = 0; i < 12; ++i) data[i] = static_cast<char>(i);
  for (size_t i = 0; i < 8; ++i) data[32 + i] = static_cast<char>(i);
  EXPECT_EQ(read_all(path_), expected.build() + data);
}

TEST_F(WriterTest, RoundTripKeepsEveryValue) {
  const std::string original = folder_ + "/original.gguf";
  std::ofstream(original, std::ios::binary) << sample().build();
  const auto source = Gguf::open(original);
  ASSERT_TRUE(source);

  Writer writer;
  for (const auto& [key, value] : source->metadata()) writer.set(key, value);
  for (const Tensor& tensor : source->tensors()) {
    writer.add_tensor(tensor.name, tensor.type,
                      {tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions});
  }
  ASSERT_TRUE(writer.begin(path_));
  for (const Tensor& tensor : source->tensors()) {
    std::vector<uint8_t> data(tensor.bytes);
    ASSERT_TRUE(source->read(tensor, data));
    // In uneven pieces.
    for (size_t at = 0; at < data.size();) {
      const size_t piece = std::min<size_t>(7 + at % 50, data.size() - at);
      ASSERT_TRUE(writer.write(std::span(data).subspan(at, piece)));
      at += piece;
    }
  }
  ASSERT_TRUE(writer.finish());

  const auto copy = Gguf::open(path_);
  ASSERT_TRUE(copy) << copy.error().message;
  // Same pairs, byte for byte: the sample's header up to its tensor infos.
  const std::string bytes = sample().build();
  const size_t infos = bytes.find("token_embd.weight") - 8;
  EXPECT_EQ(read_all(path_).substr(0, infos), bytes.substr(0, infos));
  ASSERT_EQ(copy->tensors().size(), source->tensors().size());
  for (size_t i = 0; i < copy->tensors().size(); ++i) {
    const Tensor& a = source->tensors()[i];
    const Tensor& b = copy->tensors()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.type, b.type);
    EXPECT_EQ(a.dimensions, b.dimensions);
    EXPECT_EQ(a.shape, b.shape);
    EXPECT_EQ(b.offset % copy->alignment(), 0u);
    std::vector<uint8_t> before(a.bytes), after(b.bytes);
    ASSERT_TRUE(source->read(a, before));
    ASSERT_TRUE(copy->read(b, after));
    EXPECT_EQ(before, after) << a.name;
  }
}

TEST_F(WriterTest, LargeTensorsAndOtherAlignments) {
  Writer writer;
  writer.set_u32("general.alignment", 4096);
  writer.add_tensor("big", quant::Type::kF32, {1 << 20});
  writer.add_tensor("small", quant::Type::kF32, {1});
  ASSERT_TRUE(writer.begin(path_));
  ASSERT_TRUE(writer.write(ramp(4 << 20)));
  ASSERT_TRUE(writer.write(ramp(4)));
  ASSERT_TRUE(writer.finish());
  const auto model = Gguf::open(path_);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->find_tensor("small")->offset % 4096, 0u);
  std::vector<uint8_t> out(4 << 20);
  ASSERT_TRUE(model->read(*model->find_tensor("big"), out));
  EXPECT_EQ(out, ramp(4 << 20));
}

TEST_F(WriterTest, NoTensors) {
  Writer writer;
  writer.set_string("a", "b");
  ASSERT_TRUE(writer.begin(path_));
  ASSERT_TRUE(writer.finish());
  EXPECT_EQ(read_all(path_), Builder().string("a", "b").build());
}

TEST_F(WriterTest, WritesPartsOfASplitModel) {
  for (uint32_t i = 0; i < 2; ++i) {
    Writer writer;
    writer.set("split.no", {ValueType::kU16, uint64_t{i}});
    writer.set("split.count", {ValueType::kU16, uint64_t{2}});
    writer.set("split.tensors.count", {ValueType::kI32, int64_t{1}});
    if (i == 1) writer.add_tensor("t", quant::Type::kF32, {1});
    ASSERT_TRUE(writer.begin(split_path(folder_ + "/m", i + 1, 2)));
    if (i == 1) {
      ASSERT_TRUE(writer.write(ramp(4)));
    }
    ASSERT_TRUE(writer.finish());
  }
  const auto model = Gguf::open(split_path(folder_ + "/m", 1, 2));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->find_tensor("t")->file, 1);
}

TEST_F(WriterTest, RefusesWhatTheReaderWould) {
  const auto refuse_tensor = [&](std::string name, std::vector<int64_t> shape, quant::Type type,
                                 std::string what) {
    Writer writer;
    writer.add_tensor(name, type, std::move(shape));
    expect_refused(writer, {"tensor '" + name, what});
  };
  using quant::Type;
  refuse_tensor("", {1}, Type::kF32, "name");
  refuse_tensor(std::string(65, 'n'), {1}, Type::kF32, "name");
  refuse_tensor("t", {}, Type::kF32, "0 dimensions");
  refuse_tensor("t", {1, 1, 1, 1, 1}, Type::kF32, "5 dimensions");
  refuse_tensor("t", {4, 0}, Type::kF32, "not positive");
  refuse_tensor("t", {-4}, Type::kF32, "not positive");
  refuse_tensor("t", {100}, Type::kQ4_K, "block");
  refuse_tensor("t", {int64_t{1} << 40, int64_t{1} << 40}, Type::kF32, "overflows");
  refuse_tensor("t", {1}, static_cast<Type>(19), "19");

  const auto refuse_value = [&](Value value) {
    Writer writer;
    writer.set("some.key", std::move(value));
    expect_refused(writer, {"some.key"});
  };
  refuse_value({ValueType::kU8, uint64_t{256}});
  refuse_value({ValueType::kI8, int64_t{-129}});
  refuse_value({ValueType::kU32, int64_t{1}});
  refuse_value({ValueType::kBool, uint64_t{1}});
  refuse_value({ValueType::kF32, 1e300});
  refuse_value({ValueType::kString, 1.0});
  refuse_value({ValueType::kArray, Array{ValueType::kU8, std::vector<uint64_t>{1, 256}}});
  refuse_value({ValueType::kArray, Array{ValueType::kArray, std::vector<uint64_t>{1}}});

  Writer twice;
  twice.add_tensor("t", Type::kF32, {1});
  twice.add_tensor("t", Type::kF32, {1});
  expect_refused(twice, {"tensor 't'", "twice"});
  Writer no_key;
  no_key.set_u32("", 1);
  expect_refused(no_key, {"key"});
  for (const uint32_t alignment : {0u, 3u, 1u << 31}) {
    Writer writer;
    writer.set_u32("general.alignment", alignment);
    expect_refused(writer, {"general.alignment"});
  }
}

TEST_F(WriterTest, PiecesMustFitTheTensors) {
  Writer writer;
  writer.add_tensor("t", quant::Type::kF32, {2});
  ASSERT_TRUE(writer.begin(path_));
  Status status = writer.write(ramp(9));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(status.error().message, HasSubstr("tensor 't'"));
  EXPECT_FALSE(writer.finish()) << "errors stay";
  EXPECT_FALSE(fs::exists(path_));

  Writer longer;
  longer.add_tensor("t", quant::Type::kF32, {2});
  ASSERT_TRUE(longer.begin(path_));
  ASSERT_TRUE(longer.write(ramp(8)));
  EXPECT_TRUE(longer.write({}));
  EXPECT_FALSE(longer.write(ramp(1)));
}

TEST_F(WriterTest, UnfinishedFilesDisappear) {
  std::ofstream(path_) << "old";
  {
    Writer writer;
    writer.add_tensor("t", quant::Type::kF32, {2});
    ASSERT_TRUE(writer.begin(path_));
    ASSERT_TRUE(writer.write(ramp(4)));
    const Status status = writer.finish();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(status.error().message, HasSubstr("4 of its 8 bytes"));
  }
  EXPECT_FALSE(fs::exists(path_ + ".part"));
  EXPECT_EQ(read_all(path_), "old");
}

TEST_F(WriterTest, FinishReplacesAndIsFinal) {
  std::ofstream(path_) << "old";
  Writer writer;
  ASSERT_TRUE(writer.begin(path_));
  EXPECT_EQ(read_all(path_), "old");
  ASSERT_TRUE(writer.finish());
  EXPECT_EQ(read_all(path_).substr(0, 4), "GGUF");
  EXPECT_FALSE(writer.finish());
  EXPECT_FALSE(writer.write(ramp(1)));
}

TEST_F(WriterTest, FoldersThatDoNotExist) {
  Writer writer;
  const Status status = writer.begin(folder_ + "/absent/model.gguf");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_THAT(status.error().message, HasSubstr("/absent/model.gguf"));
}

TEST_F(WriterTest, FullDiskIsTold) {
  fs::create_symlink("/dev/full", path_ + ".part");
  Writer writer;
  writer.add_tensor("t", quant::Type::kF32, {1 << 20});
  Status status = writer.begin(path_);
  if (status) status = writer.write(ramp(4 << 20));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_THAT(status.error().message, HasSubstr(path_));
  EXPECT_THAT(status.error().message, HasSubstr("No space left"));
  EXPECT_FALSE(writer.finish());
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(WriterTest, FullDiskAtTheLastFlushIsTold) {
  fs::create_symlink("/dev/full", path_ + ".part");
  Writer writer;  // so small that nothing is written before finish
  ASSERT_TRUE(writer.begin(path_));
  const Status status = writer.finish();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(WriterTest, SizeLimitIsTold) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1 << 20;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  Status status;
  {
    Writer writer;
    writer.add_tensor("t", quant::Type::kF32, {1 << 20});
    status = writer.begin(path_);
    if (status) status = writer.write(ramp(4 << 20));  // a short write, then EFBIG
    if (status) status = writer.finish();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_THAT(status.error().message, HasSubstr("after byte 1048576"));
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace sluice::gguf
