// SPDX-License-Identifier: Apache-2.0
// Rewriting whole files.
#include "gguf/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "../model/test_model.h"
#include "../temp_folder.h"

namespace sluice::gguf {
namespace {

using quant::Type;
using test::ModelShape;
using test::random_model;
using test::TestModel;
using test::TestTensor;
using testing::HasSubstr;
namespace fs = std::filesystem;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class QuantizeTest : public testing::Test {
 protected:
  QuantizeTest() {
    ModelShape shape;
    shape.dim = 256;
    shape.expert_hidden = 256;
    shape.experts = 3;
    shape.head_dim = 64;
    source_ = random_model(shape);
    source_.set("some.list", std::vector<int32_t>{1, -2, 3});
    source_.set("general.file_type", uint32_t{32});
    source_.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "c"});
  }

  Gguf open(const std::string& path) {
    auto file = Gguf::open(path);
    if (!file) throw std::runtime_error(file.error().message);
    return std::move(*file);
  }

  Status run(const std::string& from, const std::string& to, const std::string& mix,
             int threads = 2) {
    return quantize_file(open(from), to, *find_mix(mix), threads);
  }

  std::vector<float> decoded(const Gguf& file, const std::string& name) {
    const Tensor* tensor = file.find_tensor(name);
    if (!tensor) throw std::runtime_error("no tensor " + name);
    std::vector<uint8_t> bytes(tensor->bytes);
    EXPECT_TRUE(file.read(*tensor, bytes));
    std::vector<float> values(static_cast<size_t>(tensor->elements()));
    quant::traits(tensor->type).decode(bytes.data(), tensor->elements(), values.data());
    return values;
  }

  double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
    EXPECT_EQ(actual.size(), expected.size());
    double error = 0;
    double norm = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      error += std::pow(double{actual[i]} - expected[i], 2);
      norm += std::pow(double{expected[i]}, 2);
    }
    return std::sqrt(error / norm);
  }

  test::TempFolder folder_;
  TestModel source_;
};

// Relative root mean square error of a uniform distribution in each type.
const std::map<Type, double> kErrors = {
    {Type::kF32, 0},      {Type::kF16, 5e-4},   {Type::kBF16, 4e-3},  {Type::kQ8_0, 5e-3},
    {Type::kQ4_0, 0.09},  {Type::kQ4_1, 0.08},  {Type::kQ5_0, 0.05},  {Type::kQ5_1, 0.04},
    {Type::kQ2_K, 0.35},  {Type::kQ3_K, 0.19},  {Type::kQ4_K, 0.08},  {Type::kQ5_K, 0.04},
    {Type::kQ6_K, 0.025}, {Type::kIQ4_NL, 0.1}, {Type::kIQ4_XS, 0.1}, {Type::kMXFP4, 0.16}};

TEST_F(QuantizeTest, EveryMixKeepsWhatItCan) {
  for (TestTensor& tensor : source_.tensors)
    if (tensor.shape.size() > 1) tensor.type = Type::kBF16;
  const std::string from = source_.write(folder_.path());
  const Gguf before = open(from);
  for (const char* name : {"F32",    "F16",    "BF16",   "Q8_0",   "Q4_0",   "Q4_1",     "Q5_0",
                           "Q5_1",   "Q2_K",   "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S",   "Q4_K_M",
                           "Q5_K_S", "Q5_K_M", "Q6_K",   "IQ4_NL", "IQ4_XS", "MXFP4_MOE"}) {
    SCOPED_TRACE(name);
    const std::string to = folder_.file("out.gguf");
    const Status status = run(from, to, name);
    ASSERT_TRUE(status) << status.error().message;
    const Gguf after = open(to);
    ASSERT_EQ(after.tensors().size(), before.tensors().size());
    for (size_t i = 0; i < after.tensors().size(); ++i) {
      const Tensor& tensor = after.tensors()[i];
      ASSERT_EQ(tensor.name, before.tensors()[i].name);
      EXPECT_EQ(tensor.shape, before.tensors()[i].shape);
      EXPECT_EQ(tensor.type, mix_type(*find_mix(name), {2, true}, tensor.name,
                                      {tensor.shape.data(), static_cast<size_t>(tensor.dimensions)},
                                      before.tensors()[i].type));
      const double error =
          relative_error(decoded(after, tensor.name), decoded(before, tensor.name));
      EXPECT_LE(error, kErrors.at(tensor.type)) << tensor.name;
    }
    EXPECT_EQ(after.require_uint("general.file_type").value(), find_mix(name)->file_type);
  }
}

TEST_F(QuantizeTest, MetadataStays) {
  const std::string from = source_.write(folder_.path());
  ASSERT_TRUE(run(from, folder_.file("out.gguf"), "Q8_0"));
  const Gguf before = open(from), after = open(folder_.file("out.gguf"));
  EXPECT_EQ(after.metadata().size(), before.metadata().size() + 1);
  for (const auto& [key, value] : before.metadata()) {
    const Value* kept = after.find(key);
    ASSERT_NE(kept, nullptr) << key;
    EXPECT_EQ(kept->type, value.type) << key;
    if (key != "general.file_type") {
      EXPECT_EQ(describe(*kept), describe(value)) << key;
    }
  }
  EXPECT_EQ(after.require_uint("general.file_type").value(), 7u);
  EXPECT_EQ(after.require_uint("general.quantization_version").value(), 2u);
  EXPECT_EQ(after.require_ints("some.list").value(), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(*after.require_strings("tokenizer.ggml.tokens").value(),
            (std::vector<std::string>{"a", "", "c"}));
  // A float type says nothing of quantisation.
  ASSERT_TRUE(run(from, folder_.file("f16.gguf"), "F16"));
  EXPECT_EQ(open(folder_.file("f16.gguf")).find("general.quantization_version"), nullptr);
}

TEST_F(QuantizeTest, SplitInputBecomesOneFile) {
  ASSERT_TRUE(run(source_.write(folder_.path()), folder_.file("a.gguf"), "Q4_K_M"));
  const std::string first = source_.write(folder_.path(), "split", 4);
  ASSERT_EQ(open(first).files().size(), 4u);
  ASSERT_TRUE(run(first, folder_.file("b.gguf"), "Q4_K_M"));
  const Gguf out = open(folder_.file("b.gguf"));
  for (const auto& [key, value] : out.metadata()) EXPECT_FALSE(key.starts_with("split.")) << key;
  EXPECT_TRUE(read_all(folder_.file("a.gguf")) == read_all(folder_.file("b.gguf")));
}

TEST_F(QuantizeTest, AnyNumberOfThreadsGivesTheSameBytes) {
  const std::string from = source_.write(folder_.path());
  ASSERT_TRUE(run(from, folder_.file("one.gguf"), "Q5_K_M", 1));
  for (const int threads : {2, 5}) {
    ASSERT_TRUE(run(from, folder_.file("many.gguf"), "Q5_K_M", threads));
    EXPECT_TRUE(read_all(folder_.file("one.gguf")) == read_all(folder_.file("many.gguf")));
  }
}

TEST_F(QuantizeTest, QuantisedSourcesAreDecodedFirst) {
  source_.set_type(Type::kQ6_K);
  const std::string from = source_.write(folder_.path());
  ASSERT_TRUE(run(from, folder_.file("out.gguf"), "Q4_0"));
  const Gguf before = open(from), after = open(folder_.file("out.gguf"));
  const std::string name = "blk.1.attn_q.weight";
  EXPECT_EQ(after.find_tensor(name)->type, Type::kQ4_0);
  EXPECT_LE(relative_error(decoded(after, name), decoded(before, name)), 0.09);
  // Tensors of the wanted type already are copied bit for bit.
  ASSERT_TRUE(run(from, folder_.file("same.gguf"), "Q6_K"));
  const Gguf same = open(folder_.file("same.gguf"));
  for (const Tensor& tensor : same.tensors())
    EXPECT_EQ(decoded(same, tensor.name), decoded(before, tensor.name)) << tensor.name;
}

TEST_F(QuantizeTest, ProgressNamesEveryTensor) {
  const Gguf file = open(source_.write(folder_.path()));
  std::vector<std::string> names;
  ASSERT_TRUE(quantize_file(file, folder_.file("out.gguf"), *find_mix("Q4_K_M"), 1,
                            [&](const Tensor& tensor, Type type, size_t done) {
                              EXPECT_EQ(done, names.size());
                              EXPECT_TRUE(type == Type::kQ4_K || type == Type::kQ6_K ||
                                          type == Type::kF32);
                              names.push_back(tensor.name);
                            }));
  ASSERT_EQ(names.size(), source_.tensors.size());
  EXPECT_EQ(names[3], source_.tensors[3].name);
}

TEST_F(QuantizeTest, AFileMayReplaceItself) {
  const std::string path = source_.write(folder_.path());
  const auto values = decoded(open(path), "blk.0.attn_k.weight");
  ASSERT_TRUE(run(path, path, "Q8_0"));
  const Gguf after = open(path);
  EXPECT_EQ(after.find_tensor("blk.0.attn_k.weight")->type, Type::kQ8_0);
  EXPECT_LE(relative_error(decoded(after, "blk.0.attn_k.weight"), values), 5e-3);
}

// Larger than what is held in memory at once.
TEST_F(QuantizeTest, TensorsOfSeveralPieces) {
  TestModel model;
  model.set("general.architecture", std::string("qwen3"));
  model.set("qwen3.block_count", uint32_t{1});
  constexpr int64_t kCols = 8192, kRows = 4100;  // 64 MiB of F16 are 4096 rows
  TestTensor large{"blk.0.attn_q.weight", {kCols, kRows}, {}, Type::kF16};
  large.values.resize(static_cast<size_t>(kCols * kRows));
  for (const int64_t row : {0, 1, 4095, 4096, 4097, 4099})
    for (int64_t c = 0; c < kCols; ++c)
      large.values[static_cast<size_t>(row * kCols + c)] =
          static_cast<float>((row * 31 + c * 7) % 255 - 127);
  model.tensors.push_back(std::move(large));
  const std::string from = model.write(folder_.path());
  ASSERT_TRUE(run(from, folder_.file("out.gguf"), "Q8_0"));
  const auto values = decoded(open(folder_.file("out.gguf")), "blk.0.attn_q.weight");
  double worst = 0;
  for (size_t i = 0; i < values.size(); ++i)
    worst = std::max(worst, std::abs(double{values[i]} - model.tensors[0].values[i]));
  EXPECT_LE(worst, 0.6);
}

TEST_F(QuantizeTest, ValuesThatAreNoNumbersAreRefused) {
  for (const float value :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()})
    for (const Type type : {Type::kF32, Type::kBF16, Type::kF16}) {
      TestModel model = source_;
      TestTensor& tensor = model.tensor("blk.1.ffn_up_exps.weight");
      tensor.type = type;
      tensor.values[70000] = value;
      const std::string from = model.write(folder_.path());
      const Status status = run(from, folder_.file("out.gguf"), "Q4_K_M");
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
      EXPECT_THAT(status.error().message, HasSubstr("blk.1.ffn_up_exps.weight"));
      EXPECT_THAT(status.error().message, HasSubstr("model.gguf"));
      EXPECT_FALSE(fs::exists(folder_.file("out.gguf")));
      EXPECT_FALSE(fs::exists(folder_.file("out.gguf.part")));
    }
}

TEST_F(QuantizeTest, FilesThatAreNoModelsAreRefused) {
  for (const char* key : {"general.architecture", "qwen3moe.block_count"}) {
    TestModel model = source_;
    model.remove_key(key);
    const Status status = run(model.write(folder_.path()), folder_.file("out.gguf"), "Q8_0");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
    EXPECT_THAT(status.error().message, HasSubstr(key));
    EXPECT_FALSE(fs::exists(folder_.file("out.gguf")));
  }
}

TEST_F(QuantizeTest, AFolderThatIsNotThere) {
  const Status status = run(source_.write(folder_.path()), folder_.file("none/out.gguf"), "Q8_0");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_THAT(status.error().message, HasSubstr("none/out.gguf"));
}

// A device or a pipe is not replaced by a file.
TEST_F(QuantizeTest, OnlyRegularFilesAreReplaced) {
  const std::string from = source_.write(folder_.path());
  const std::string pipe = folder_.file("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  fs::create_directory(folder_.file("folder"));
  for (const std::string& to : {pipe, folder_.file("folder")}) {
    const Status status = run(from, to, "Q8_0");
    ASSERT_FALSE(status) << to;
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(status.error().message, HasSubstr(to));
    EXPECT_FALSE(fs::exists(to + ".part"));
  }
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_TRUE(fs::is_directory(folder_.file("folder")));
}

// A limit on file sizes stands in for a full disk.
TEST_F(QuantizeTest, AFullDiskIsAnErrorAndLeavesNothing) {
  const std::string from = source_.write(folder_.path());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {rlim_t{100}, rlim_t{100'000}, rlim_t{500'000}}) {
    const rlimit small{limit, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const Status status = run(from, folder_.file("out.gguf"), "Q8_0");
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(status) << limit;
    EXPECT_EQ(status.error().kind, ErrorKind::kIo);
    EXPECT_THAT(status.error().message, HasSubstr("out.gguf"));
    EXPECT_FALSE(fs::exists(folder_.file("out.gguf")));
    EXPECT_FALSE(fs::exists(folder_.file("out.gguf.part")));
  }
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace sluice::gguf
