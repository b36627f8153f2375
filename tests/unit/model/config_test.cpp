// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "../temp_folder.h"
#include "model/registry.h"
#include "test_model.h"

namespace sluice::model {
namespace {

using test::ModelShape;
using test::random_model;
using test::TestModel;
using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  Result<Config> read(const TestModel& model, const RopeOverride& rope = {}) {
    auto file = gguf::Gguf::open(model.write(folder_.path()));
    if (!file) throw std::runtime_error(file.error().message);
    return Config::read(*file, rope);
  }

  void expect_error(const TestModel& model, ErrorKind kind, const std::string& names) {
    const auto config = read(model);
    ASSERT_FALSE(config) << names;
    EXPECT_EQ(config.error().kind, kind) << config.error().message;
    EXPECT_THAT(config.error().message, HasSubstr(names));
    EXPECT_THAT(config.error().message, HasSubstr("model.gguf"));
  }

  test::TempFolder folder_;
};

TEST_F(ConfigTest, ReadsAMixture) {
  const auto config = read(random_model({}));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->architecture, "qwen3moe");
  EXPECT_EQ(config->name, "tiny");
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->context, 256);
  EXPECT_EQ(config->dim, 64);
  EXPECT_EQ(config->heads, 4);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 32);
  EXPECT_EQ(config->vocabulary, 100);
  EXPECT_EQ(config->eps, 1e-6f);
  EXPECT_EQ(config->experts, 6);
  EXPECT_EQ(config->experts_used, 2);
  EXPECT_EQ(config->expert_hidden, 32);
  EXPECT_EQ(config->rope.freq_base, 1e6);
  EXPECT_EQ(config->rope.dims, 32);
  EXPECT_EQ(config->rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(config->attention_layers(), 2);
  EXPECT_EQ(config->recurrent_floats(), 0);
}

TEST_F(ConfigTest, ReadsADenseModel) {
  ModelShape shape;
  shape.architecture = "qwen3";
  const auto config = read(random_model(shape));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->experts, 0);
  EXPECT_EQ(config->hidden, 96);
}

TEST_F(ConfigTest, ReadsAHybrid) {
  ModelShape shape = test::hybrid();
  shape.layers = 5;
  const auto config = read(random_model(shape));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->recurrent, (std::vector<bool>{true, false, true, false, true}));
  EXPECT_TRUE(config->attention_gate);
  EXPECT_EQ(config->shared_expert_hidden, 32);
  EXPECT_EQ(config->rope.dims, 8);
  EXPECT_EQ(config->delta_net.conv_taps, 4);
  EXPECT_EQ(config->delta_net.key_heads, 2);
  EXPECT_EQ(config->delta_net.value_heads, 4);
  EXPECT_EQ(config->delta_net.key_dim, 16);
  EXPECT_EQ(config->delta_net.value_dim, 32);
  EXPECT_EQ(config->delta_net.channels(), 2 * 2 * 16 + 4 * 32);
  EXPECT_EQ(config->attention_layers(), 2);
  EXPECT_EQ(config->recurrent_floats(), 3 * (3 * 192 + 4 * 16 * 32));
}

TEST_F(ConfigTest, EveryWrongNumberOfAHybridIsNamed) {
  for (const char* key : {"ssm.conv_kernel", "ssm.state_size", "ssm.group_count",
                          "ssm.time_step_rank", "ssm.inner_size"}) {
    const std::string name = std::string("qwen3next.") + key;
    TestModel model = random_model(test::hybrid());
    model.remove_key(name);
    expect_error(model, ErrorKind::kBadFile, name);
    for (const uint32_t value : {0u, 0xffffffffu}) {
      model.set(name, value);
      expect_error(model, ErrorKind::kBadFile, name);
    }
  }
  const auto expect_wrong = [&](const char* key, uint32_t value, ErrorKind kind) {
    TestModel model = random_model(test::hybrid());
    model.set(std::string("qwen3next.") + key, value);
    expect_error(model, kind, std::string("qwen3next.") + key);
  };
  expect_wrong("ssm.time_step_rank", 3, ErrorKind::kBadFile);   // 2 key heads
  expect_wrong("ssm.inner_size", 130, ErrorKind::kBadFile);     // 4 value heads
  expect_wrong("ssm.inner_size", 64, ErrorKind::kUnsupported);  // heads of 16
  expect_wrong("nextn_predict_layers", 2, ErrorKind::kBadFile);
  expect_wrong("full_attention_interval", 0, ErrorKind::kBadFile);
  expect_wrong("attention.recurrent_layers", 1, ErrorKind::kBadFile);
  TestModel model = random_model(test::hybrid());
  model.set("qwen3next.attention.recurrent_layers", std::vector<bool>{true});
  expect_error(model, ErrorKind::kBadFile, "qwen3next.attention.recurrent_layers");
}

TEST_F(ConfigTest, DefaultsOfAbsentKeys) {
  ModelShape shape;
  shape.heads = shape.kv_heads = 2;  // 64 / 2 = 32
  TestModel model = random_model(shape);
  for (const char* key : {"qwen3moe.attention.head_count_kv", "qwen3moe.attention.key_length",
                          "qwen3moe.attention.value_length", "qwen3moe.rope.freq_base",
                          "general.name", "qwen3moe.feed_forward_length"})
    model.remove_key(key);
  const auto config = read(model);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 32);
  EXPECT_EQ(config->rope.freq_base, 10000);
  EXPECT_EQ(config->name, "");
}

TEST_F(ConfigTest, EveryMissingKeyIsNamed) {
  for (const char* key : {"qwen3moe.block_count", "qwen3moe.context_length",
                          "qwen3moe.embedding_length", "qwen3moe.attention.head_count",
                          "qwen3moe.attention.layer_norm_rms_epsilon", "qwen3moe.expert_used_count",
                          "qwen3moe.expert_feed_forward_length", "general.architecture"}) {
    TestModel model = random_model({});
    model.remove_key(key);
    expect_error(model, ErrorKind::kBadFile, key);
  }
  ModelShape dense;
  dense.architecture = "qwen3";
  TestModel model = random_model(dense);
  model.remove_key("qwen3.feed_forward_length");
  expect_error(model, ErrorKind::kBadFile, "qwen3.feed_forward_length");
}

TEST_F(ConfigTest, EveryNumberOutOfRangeIsNamed) {
  const std::vector<std::pair<const char*, std::vector<uint32_t>>> cases = {
      {"block_count", {0, 513, 0xffffffff}},
      {"context_length", {0, 0xffffffff}},
      {"embedding_length", {0, 0xffffffff}},
      {"attention.head_count", {0, 5000, 3}},
      {"attention.head_count_kv", {0, 5000, 3}},
      {"attention.key_length", {0, 1, 1000}},
      {"attention.value_length", {0, 1000}},
      {"rope.dimension_count", {0, 1, 7, 33, 34}},
      {"expert_count", {1025, 0xffffffff}},
      {"expert_used_count", {0, 7}},
      {"expert_feed_forward_length", {0, 0xffffffff}},
      {"rope.scaling.original_context_length", {0}},
  };
  for (const auto& [key, values] : cases)
    for (const uint32_t value : values) {
      SCOPED_TRACE(testing::Message() << key << " = " << value);
      TestModel model = random_model({});
      model.set(std::string("qwen3moe.") + key, value);
      // 3 heads over 2 or 2 over 3 name both counts.
      expect_error(model, ErrorKind::kBadFile, value == 3 ? "head_count" : key);
    }
}

TEST_F(ConfigTest, NumbersMustBePositiveAndFinite) {
  for (const char* key :
       {"attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scaling.factor",
        "rope.scaling.attn_factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"})
    for (const float value : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()}) {
      SCOPED_TRACE(testing::Message() << key << " = " << value);
      TestModel model = random_model({});
      model.set(std::string("qwen3moe.") + key, value);
      expect_error(model, ErrorKind::kBadFile, key);
    }
}

TEST_F(ConfigTest, WrongTypesAreNamed) {
  for (const char* key : {"qwen3moe.block_count", "qwen3moe.rope.freq_base",
                          "qwen3moe.attention.head_count", "qwen3moe.expert_count"}) {
    TestModel model = random_model({});
    model.set(key, std::string("many"));
    expect_error(model, ErrorKind::kBadFile, key);
  }
  TestModel model = random_model({});
  model.set("general.architecture", uint32_t{3});
  expect_error(model, ErrorKind::kBadFile, "general.architecture");
}

TEST_F(ConfigTest, HeadsOfDifferentSizesAreUnsupported) {
  TestModel model = random_model({});
  model.set("qwen3moe.attention.value_length", uint32_t{16});
  expect_error(model, ErrorKind::kUnsupported, "value_length");
  model.set("qwen3moe.attention.key_length", uint32_t{33});
  model.set("qwen3moe.attention.value_length", uint32_t{33});
  expect_error(model, ErrorKind::kUnsupported, "key_length");
}

TEST_F(ConfigTest, UnknownArchitectureNamesThoseThatRun) {
  TestModel model = random_model({});
  model.set("general.architecture", std::string("mamba9"));
  const auto config = read(model);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(config.error().message, HasSubstr("mamba9"));
  EXPECT_THAT(config.error().message, HasSubstr(architecture_names()));
  EXPECT_THAT(architecture_names(), HasSubstr("qwen3moe"));
  EXPECT_EQ(find_architecture("mamba9"), nullptr);
  EXPECT_EQ(find_architecture(""), nullptr);
  EXPECT_NE(find_architecture("qwen3moe"), nullptr);
}

TEST_F(ConfigTest, AFileWithoutEmbeddingIsNoModel) {
  TestModel model = random_model({});
  model.remove_tensor("token_embd.weight");
  expect_error(model, ErrorKind::kBadFile, "token_embd.weight");
}

TEST_F(ConfigTest, ReadsRopeScaling) {
  TestModel model = random_model({});
  model.set("qwen3moe.rope.dimension_count", uint32_t{16});
  model.set("qwen3moe.rope.scaling.type", std::string("yarn"));
  model.set("qwen3moe.rope.scaling.factor", 4.0f);
  model.set("qwen3moe.rope.scaling.original_context_length", uint32_t{64});
  model.set("qwen3moe.rope.scaling.attn_factor", 0.5f);
  model.set("qwen3moe.rope.scaling.yarn_beta_fast", 16.0f);
  model.set("qwen3moe.rope.scaling.yarn_beta_slow", 2.0f);
  auto config = read(model);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->rope.dims, 16);
  EXPECT_EQ(config->rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(config->rope.factor, 4);
  EXPECT_EQ(config->rope.original_context, 64);
  EXPECT_EQ(config->rope.attention_factor, 0.5);
  EXPECT_EQ(config->rope.beta_fast, 16);
  EXPECT_EQ(config->rope.beta_slow, 2);
  EXPECT_EQ(config->context, 256);  // what the file says is what the model does

  model.set("qwen3moe.rope.scaling.type", std::string("linear"));
  config = read(model);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->rope.scaling, RopeScaling::kLinear);
  model.set("qwen3moe.rope.scaling.type", std::string("longrope"));
  expect_error(model, ErrorKind::kUnsupported, "rope.scaling.type");
}

TEST_F(ConfigTest, OverridesWinAndExtendTheContext) {
  const TestModel model = random_model({});
  auto config = read(model, {RopeScaling::kYarn, 4.0, 5e5, {}});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(config->rope.factor, 4);
  EXPECT_EQ(config->rope.freq_base, 5e5);
  EXPECT_EQ(config->rope.original_context, 256);
  EXPECT_EQ(config->context, 1024);
  EXPECT_EQ(config->trained_context, 256);

  config = read(model, {RopeScaling::kYarn, 2.5, {}, 100});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->rope.original_context, 100);
  EXPECT_EQ(config->context, 640);

  config = read(model, {{}, 4.0, {}, {}});  // a factor without scaling changes nothing
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->context, 256);
}

// A factor below 1 shortens the context, never to nothing.
TEST_F(ConfigTest, ATinyFactorLeavesAPosition) {
  const auto config = read(random_model({}), {RopeScaling::kLinear, 1e-3, {}, {}});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_GE(config->context, 1);
}

}  // namespace
}  // namespace sluice::model
