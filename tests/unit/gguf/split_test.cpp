// SPDX-License-Identifier: Apache-2.0
#include "gguf/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "builder.h"
#include "gguf/gguf.h"
#include "memory_reader.h"

namespace sluice::gguf {
namespace {

using testing::HasSubstr;

TEST(SplitName, IsPrefixNumberAndCount) {
  const auto name = parse_split_name("dir-00001-of-00003.gguf/m-00002-of-00004.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->prefix, "dir-00001-of-00003.gguf/m");
  EXPECT_EQ(name->number, 2u);
  EXPECT_EQ(name->count, 4u);
  EXPECT_EQ(split_path("a/m", 3, 12), "a/m-00003-of-00012.gguf");
  EXPECT_TRUE(parse_split_name("-00001-of-00001.gguf"));
  for (const char* other :
       {"", "m.gguf", "m-0001-of-0004.gguf", "m-00000-of-00004.gguf", "m-00005-of-00004.gguf",
        "m-00001-of-00004.bin", "m-00001_of_00004.gguf", "m-0000x-of-00004.gguf",
        "m_00001-of-00004.gguf", "00001-of-00004.gguf", "m-00001-of-00004.gguf.part"}) {
    EXPECT_FALSE(parse_split_name(other)) << other;
  }
}

// Part `index` of a model of three: metadata only, then two parts with tensors.
Builder part(uint16_t index, uint16_t count = 3, int32_t total = 3) {
  Builder file;
  if (index == 0) file.string("general.architecture", "qwen3moe");
  file.split(index, count, total);
  if (index == 1) {
    file.tensor("a", {8}, TENSOR_F32, 0).tensor("b", {8}, TENSOR_F32, 32).data(64);
  } else if (index == 2) {
    file.tensor("c", {4}, TENSOR_F32, 0).data(16);
  }
  return file;
}

class SplitTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "split_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    for (uint16_t i = 0; i < 3; ++i) put(i, part(i));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(uint64_t number, uint64_t count = 3) const {
    return split_path(folder_ + "/model", number, count);
  }
  void put(uint64_t index, const Builder& file) { put(path(index + 1), file); }
  void put(const std::string& at, const Builder& file) {
    std::ofstream(at, std::ios::binary) << file.build();
  }
  void expect_error(const std::string& given, ErrorKind kind, std::vector<std::string> parts) {
    const auto model = Gguf::open(given);
    ASSERT_FALSE(model);
    EXPECT_EQ(model.error().kind, kind) << model.error().message;
    for (const std::string& text : parts) EXPECT_THAT(model.error().message, HasSubstr(text));
  }

  std::string folder_;
};

TEST_F(SplitTest, PartsMakeOneModel) {
  const auto model = Gguf::open(path(1));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->files().size(), 3u);
  EXPECT_EQ(model->files()[2]->name(), path(3));
  EXPECT_EQ(model->require_string("general.architecture").value(), "qwen3moe");
  ASSERT_EQ(model->tensors().size(), 3u);
  uint64_t bytes = 0;
  for (uint64_t i = 1; i <= 3; ++i) bytes += std::filesystem::file_size(path(i));
  EXPECT_EQ(model->file_bytes(), bytes);

  const Tensor* tensor = model->find_tensor("c");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->file, 2);
  EXPECT_EQ(tensor->offset, (part(2).header().size() + 31) / 32 * 32);
  std::vector<uint8_t> out(16);
  ASSERT_TRUE(model->read(*tensor, out));
  EXPECT_EQ(out[15], 15);
  EXPECT_EQ(model->find_tensor("b")->file, 1);
}

TEST_F(SplitTest, LaterPartSaysWhichFileToGive) {
  expect_error(path(2), ErrorKind::kUsage, {path(2), "split.no", "part 2 of 3", path(1)});
}

TEST_F(SplitTest, MissingPart) {
  std::filesystem::remove(path(2));
  expect_error(path(1), ErrorKind::kNotFound, {path(2), "part 2 of 3"});
}

TEST_F(SplitTest, RenamedFirstPart) {
  std::filesystem::rename(path(1), folder_ + "/model.gguf");
  expect_error(folder_ + "/model.gguf", ErrorKind::kBadFile,
               {"split.count", "-00001-of-00003.gguf"});
  std::filesystem::rename(folder_ + "/model.gguf", path(1, 4));
  expect_error(path(1, 4), ErrorKind::kBadFile, {"split.count", "-00001-of-00003.gguf"});
}

TEST_F(SplitTest, PartsInTheWrongOrder) {
  put(1, part(2));
  put(2, part(1));
  expect_error(path(1), ErrorKind::kBadFile, {path(2), "split.no"});
}

TEST_F(SplitTest, PartOfAModelWithMoreParts) {
  put(2, part(2, 4));
  expect_error(path(1), ErrorKind::kBadFile, {path(3), "split.count", "says 4"});
}

TEST_F(SplitTest, PartWithoutSplitKeys) {
  put(2, sample());
  expect_error(path(1), ErrorKind::kBadFile, {path(3), "split.no", "missing"});
}

TEST_F(SplitTest, WrongTotal) {
  put(0, part(0, 3, 4));
  expect_error(path(1), ErrorKind::kBadFile, {path(1), "split.tensors.count", "promises 4"});
}

TEST_F(SplitTest, TensorInTwoParts) {
  put(2, Builder().split(2, 3, 3).tensor("a", {4}, TENSOR_F32, 0).data(16));
  expect_error(path(1), ErrorKind::kBadFile, {path(3), "tensor 'a'", "part 2"});
}

TEST_F(SplitTest, DamageInALaterPartNamesIt) {
  std::filesystem::resize_file(path(3), std::filesystem::file_size(path(3)) - 1);
  expect_error(path(1), ErrorKind::kBadFile, {path(3), "tensor 'c'", "cut short"});
}

TEST_F(SplitTest, AnyIntegerTypeIsAccepted) {
  put(0, Builder()
             .u32("split.no", 0)
             .number<int64_t>("split.count", I64, 3)
             .number<uint64_t>("split.tensors.count", U64, 3));
  const auto model = Gguf::open(path(1));
  EXPECT_TRUE(model) << model.error().message;
}

// Files whose bytes are fixed; the comparison with another reader uses them too.
TEST(SplitParse, StoredFiles) {
  const auto model = Gguf::open(SLUICE_TEST_DATA "/data/gguf/split-00001-of-00003.gguf");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->require_string("general.name").value(), "split in three");
  ASSERT_EQ(model->tensors().size(), 3u);
  EXPECT_EQ(model->find_tensor("output.weight")->file, 2);
}

TEST(SplitParse, NumberOfFilesMustMatch) {
  auto files = storage::one_file(part(0).build(), "p1");
  files.push_back(std::make_unique<storage::MemoryReader>(part(1).build(), "p2"));
  const auto model = Gguf::parse(std::move(files));
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().kind, ErrorKind::kBadFile);
  EXPECT_THAT(model.error().message, HasSubstr("split.count"));
}

TEST(OpenErrors, AreThoseOfTheFile) {
  const auto absent = Gguf::open("/nonexistent/model.gguf");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::kNotFound);
  const auto folder = Gguf::open(testing::TempDir());
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().kind, ErrorKind::kBadFile);
}

}  // namespace
}  // namespace sluice::gguf
