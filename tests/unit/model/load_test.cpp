// SPDX-License-Identifier: Apache-2.0
// What a file may lack or hold instead, and what is said about it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../temp_folder.h"
#include "compute/cpu/cpu_backend.h"
#include "model/registry.h"
#include "test_model.h"

namespace sluice::model {
namespace {

using test::ModelShape;
using test::random_model;
using test::TestModel;
using test::TestTensor;
using testing::HasSubstr;

class LoadTest : public testing::Test {
 protected:
  LoadTest() : backend_(std::move(*compute::Backend::open(cpu::cpu_backend(), {1, ""}))) {}

  Result<std::unique_ptr<Model>> load(const TestModel& model) {
    auto file = gguf::Gguf::open(model.write(folder_.path()));
    if (!file) throw std::runtime_error(file.error().message);
    return load_model(*file, {}, backend_);
  }

  void expect_error(const TestModel& model, ErrorKind kind, std::vector<std::string> parts) {
    const auto loaded = load(model);
    ASSERT_FALSE(loaded) << parts[0];
    EXPECT_EQ(loaded.error().kind, kind) << loaded.error().message;
    for (const std::string& part : parts) EXPECT_THAT(loaded.error().message, HasSubstr(part));
  }

  test::TempFolder folder_;
  compute::Backend backend_;
};

ModelShape dense() {
  ModelShape shape;
  shape.architecture = "qwen3";
  return shape;
}

std::vector<std::string> names(const TestModel& model) {
  std::vector<std::string> out;
  for (const TestTensor& tensor : model.tensors) out.push_back(tensor.name);
  return out;
}

TEST_F(LoadTest, WholeModelsLoad) {
  for (const ModelShape& shape : {ModelShape{}, dense(), test::hybrid(), test::drafting()}) {
    const TestModel model = random_model(shape);
    const auto loaded = load(model);
    ASSERT_TRUE(loaded) << loaded.error().message;
    uint64_t bytes = 0;
    for (const TestTensor& tensor : model.tensors) bytes += tensor.values.size() * sizeof(float);
    EXPECT_EQ((*loaded)->weight_bytes(), bytes);
    EXPECT_EQ((*loaded)->config().architecture, shape.architecture);
  }
}

TEST_F(LoadTest, EveryMissingTensorIsNamed) {
  for (const ModelShape& shape : {ModelShape{}, dense(), test::hybrid(), test::drafting()})
    for (const std::string& name : names(random_model(shape))) {
      // Tied models lack the first; the second makes the block, and the third may be the model's.
      if (name == "output.weight" || name.find("nextn.eh_proj") != std::string::npos ||
          name.find("nextn.shared_head_norm") != std::string::npos)
        continue;
      SCOPED_TRACE(name);
      TestModel model = random_model(shape);
      model.remove_tensor(name);
      expect_error(model, ErrorKind::kBadFile, {name, "missing", "model.gguf"});
    }
}

TEST_F(LoadTest, EveryWrongShapeIsNamed) {
  for (const ModelShape& shape : {ModelShape{}, dense(), test::hybrid(), test::drafting()})
    for (const std::string& name : names(random_model(shape))) {
      SCOPED_TRACE(name);
      TestModel model = random_model(shape);
      TestTensor& tensor = model.tensor(name);
      const std::string right = std::to_string(tensor.shape[0]);
      tensor.shape[0] += 32;
      tensor.values.resize(static_cast<size_t>(tensor.rows() + 1) * 4096);
      int64_t elements = 1;
      for (const int64_t n : tensor.shape) elements *= n;
      tensor.values.resize(static_cast<size_t>(elements));
      expect_error(model, ErrorKind::kBadFile,
                   {name, "shape", right, std::to_string(tensor.shape[0])});
    }
}

TEST_F(LoadTest, TheNumberOfRowsAndExpertsCountsToo) {
  for (const char* name :
       {"blk.1.attn_v.weight", "blk.0.ffn_gate_inp.weight", "blk.1.ffn_down_exps.weight",
        "blk.0.ffn_up_exps.weight", "output.weight"}) {
    TestModel model = random_model({});
    TestTensor& tensor = model.tensor(name);
    const size_t slice = tensor.values.size() / static_cast<size_t>(tensor.shape.back());
    tensor.shape.back() -= 1;
    tensor.values.resize(tensor.values.size() - slice);
    expect_error(model, ErrorKind::kBadFile, {name, "shape"});
  }
}

// Each count of the metadata that tensors depend on: the first tensor that contradicts it is named.
TEST_F(LoadTest, MetadataThatTensorsContradict) {
  const struct {
    const char* key;
    uint32_t value;
    const char* tensor;
  } cases[] = {
      {"ssm.conv_kernel", 3, "blk.0.ssm_conv1d.weight"},
      {"ssm.state_size", 32, "blk.0.attn_qkv.weight"},
      {"ssm.group_count", 1, "blk.0.attn_qkv.weight"},
      {"ssm.group_count", 4, "blk.0.attn_qkv.weight"},
      {"ssm.time_step_rank", 2, "blk.0.ssm_ba.weight"},
      {"ssm.inner_size", 256, "blk.0.attn_qkv.weight"},
      {"attention.head_count", 8, "blk.1.attn_q.weight"},
      {"attention.head_count_kv", 1, "blk.1.attn_k.weight"},
      {"attention.key_length", 64, nullptr},  // values of another length
      {"expert_count", 8, "blk.0.ffn_gate_inp.weight"},
      {"expert_feed_forward_length", 64, "blk.0.ffn_gate_exps.weight"},
      {"expert_shared_feed_forward_length", 64, "blk.0.ffn_gate_shexp.weight"},
      {"embedding_length", 128, "token_embd.weight"},
      {"block_count", 3, "blk.2.attn_norm.weight"},
      {"full_attention_interval", 3, "blk.1.attn_qkv.weight"},
      {"full_attention_interval", 1, "blk.0.attn_q.weight"},
  };
  for (const auto& [key, value, tensor] : cases) {
    SCOPED_TRACE(key);
    TestModel model = random_model(test::hybrid());
    model.set(std::string("qwen3next.") + key, value);
    if (tensor)
      expect_error(model, ErrorKind::kBadFile, {tensor, "model.gguf"});
    else
      expect_error(model, ErrorKind::kUnsupported, {key, "value_length"});
  }
  // Listed layer kinds that the tensors are not of.
  TestModel model = random_model(test::hybrid());
  model.set("qwen3next.attention.recurrent_layers", std::vector<bool>{false, true});
  expect_error(model, ErrorKind::kBadFile, {"blk.0.attn_q.weight", "missing"});
  // The joint tensor of older files.
  model = random_model(test::hybrid());
  model.tensors.push_back({"blk.0.ssm_in.weight", {64, 300}, std::vector<float>(64 * 300)});
  expect_error(model, ErrorKind::kBadFile, {"blk.0.ssm_in.weight", "{64, 300}", "{64, 320}"});
}

TEST_F(LoadTest, FusedTensorsHaveTheirOwnShapes) {
  TestModel model = random_model({});
  TestTensor joint{"blk.1.attn_qkv.weight", {64, 255}, std::vector<float>(64 * 255)};
  model.tensors.push_back(joint);
  expect_error(model, ErrorKind::kBadFile, {"blk.1.attn_qkv.weight", "{64, 255}", "{64, 256}"});
  model.remove_tensor("blk.1.attn_qkv.weight");
  TestTensor stack{"blk.0.ffn_gate_up_exps.weight", {64, 63, 6}, std::vector<float>(64 * 63 * 6)};
  model.tensors.push_back(stack);
  expect_error(model, ErrorKind::kBadFile,
               {"blk.0.ffn_gate_up_exps.weight", "{64, 63, 6}", "{64, 64, 6}"});
}

TEST_F(LoadTest, VectorsMayHaveAnyFloatType) {
  for (const auto type : {quant::Type::kF16, quant::Type::kBF16}) {
    TestModel model = random_model({});
    model.tensor("blk.0.attn_norm.weight").type = type;
    model.tensor("blk.1.attn_q_norm.weight").type = type;
    EXPECT_TRUE(load(model));
  }
  TestModel model = random_model({});
  model.tensor("blk.0.ffn_norm.weight").type = quant::Type::kQ8_0;
  expect_error(model, ErrorKind::kUnsupported, {"blk.0.ffn_norm.weight", "Q8_0"});
}

TEST_F(LoadTest, AMixtureWithoutExpertsIsAnError) {
  TestModel model = random_model({});
  model.set("qwen3moe.expert_count", uint32_t{0});
  expect_error(model, ErrorKind::kBadFile, {"qwen3moe.expert_count"});
}

TEST_F(LoadTest, UnknownArchitecture) {
  TestModel model = random_model({});
  model.set("general.architecture", std::string("mamba9"));
  expect_error(model, ErrorKind::kUnsupported, {"mamba9"});
}

}  // namespace
}  // namespace sluice::model
