// SPDX-License-Identifier: Apache-2.0
// Loading: what is found wrong with files and options, and what a file recommends.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::TempFolder;
using test::TestModel;
using test::tiny_model;
using test::TinyEngine;
using testing::HasSubstr;

class EngineTest : public testing::Test {
 protected:
  Result<std::unique_ptr<Engine>> load(const TestModel& model, EngineOptions options = {}) {
    options.model_path = model.write(folder_.path());
    options.threads = 1;
    return Engine::load(options);
  }

  void expect_error(const TestModel& model, ErrorKind kind, std::vector<std::string> parts,
                    const EngineOptions& options = {}) {
    const auto engine = load(model, options);
    ASSERT_FALSE(engine) << parts[0];
    EXPECT_EQ(engine.error().kind, kind) << engine.error().message;
    for (const std::string& part : parts) EXPECT_THAT(engine.error().message, HasSubstr(part));
  }

  Result<SamplingParams> sampling(const TestModel& model) {
    const auto file = gguf::Gguf::open(model.write(folder_.path()));
    if (!file) return fail(file.error());
    return default_sampling(*file);
  }

  TempFolder folder_;
};

TEST_F(EngineTest, LoadsAndTellsWhatItIs) {
  const auto engine = load(tiny_model());
  ASSERT_TRUE(engine) << engine.error().message;
  EXPECT_EQ((*engine)->context(), 128);
  EXPECT_EQ((*engine)->tokenizer().size(), test::kTokens);
  EXPECT_EQ((*engine)->model().config().vocabulary, test::kRows);
  EXPECT_THAT((*engine)->backend().describe(), HasSubstr("1 thread"));
  EXPECT_TRUE((*engine)->chat_template());
}

TEST_F(EngineTest, MissingFilesAndOtherFiles) {
  EngineOptions options;
  options.model_path = folder_.file("none.gguf");
  auto engine = Engine::load(options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(engine.error().message, HasSubstr("none.gguf"));
  options.model_path = folder_.path();
  engine = Engine::load(options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().kind, ErrorKind::kBadFile);
}

TEST_F(EngineTest, ContextUpToTheModels) {
  for (const int64_t context : {1, 100, 128}) {
    EngineOptions options;
    options.context = context;
    const auto engine = load(tiny_model(), options);
    ASSERT_TRUE(engine) << engine.error().message;
    EXPECT_EQ((*engine)->context(), context);
  }
  EngineOptions options;
  options.context = 129;
  expect_error(tiny_model(), ErrorKind::kUsage, {"-c 129", "128", "--rope-scale 2"}, options);
  options.context = 1025;
  expect_error(tiny_model(), ErrorKind::kUsage, {"-c 1025", "128", "--rope-scale 9"}, options);
  // Extended as the message says.
  options.rope.scaling = model::RopeScaling::kYarn;
  options.rope.factor = 9;
  const auto engine = load(tiny_model(), options);
  ASSERT_TRUE(engine) << engine.error().message;
  EXPECT_EQ((*engine)->context(), 1025);
}

TEST_F(EngineTest, OptionsOutOfRangeAreErrors) {
  EngineOptions options;
  options.isa = "mmx";
  expect_error(tiny_model(), ErrorKind::kUsage, {"--isa mmx"}, options);
  options = {};
  for (const int64_t ubatch : {0, -5}) {
    options.ubatch = ubatch;
    expect_error(tiny_model(), ErrorKind::kUsage, {"-ub", std::to_string(ubatch)}, options);
  }
  options = {};
  options.context = -1;
  expect_error(tiny_model(), ErrorKind::kUsage, {"-c -1"}, options);
}

TEST_F(EngineTest, ASmallestFactorStillLoads) {
  EngineOptions options;
  options.rope.scaling = model::RopeScaling::kLinear;
  options.rope.factor = 1e-3;
  ASSERT_TRUE(load(tiny_model(), options));
  options.context = 10;
  expect_error(tiny_model(), ErrorKind::kUsage, {"-c 10"}, options);
}

TEST_F(EngineTest, UnknownArchitecture) {
  TestModel model = tiny_model();
  model.set("general.architecture", std::string("mamba9"));
  expect_error(model, ErrorKind::kUnsupported, {"mamba9", "qwen3moe"});
}

TEST_F(EngineTest, MoreTokensThanRows) {
  TestModel model = tiny_model();
  for (const char* name : {"token_embd.weight", "output.weight"}) {
    auto& tensor = model.tensor(name);
    tensor.shape[1] = test::kTokens - 1;
    tensor.values.resize(static_cast<size_t>(tensor.shape[0] * tensor.shape[1]));
  }
  expect_error(model, ErrorKind::kBadFile, {"tokenizer.ggml.tokens", "267", "266"});
}

TEST_F(EngineTest, VocabularyErrors) {
  for (const char* key :
       {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    TestModel model = tiny_model();
    model.remove_key(key);
    expect_error(model, ErrorKind::kBadFile, {key, "model.gguf"});
  }
  TestModel model = tiny_model();
  model.set("tokenizer.ggml.model", std::string("llama"));
  expect_error(model, ErrorKind::kUnsupported, {"llama", "model.gguf"});
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    model = tiny_model();
    model.set(key, static_cast<uint32_t>(test::kTokens));
    expect_error(model, ErrorKind::kBadFile, {key, "267"});
    model.set(key, 0xffffffffu);  // "none"
    EXPECT_TRUE(load(model));
  }
}

TEST_F(EngineTest, ChatTemplateOfTheFileOrOfTheOptions) {
  TestModel model = tiny_model();
  model.remove_key("tokenizer.chat_template");
  auto engine = load(model);
  ASSERT_TRUE(engine) << engine.error().message;
  auto found = (*engine)->chat_template();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(found.error().message, HasSubstr("tokenizer.chat_template"));

  // One that cannot be parsed hurts only those who chat.
  model.set("tokenizer.chat_template", std::string("{% for %}"));
  engine = load(model);
  ASSERT_TRUE(engine) << engine.error().message;
  found = (*engine)->chat_template();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kBadFile);

  EngineOptions options;
  options.chat_template = "{{ messages[0].content }}";
  engine = load(model, options);
  ASSERT_TRUE(engine) << engine.error().message;
  found = (*engine)->chat_template();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ((*found)->source(), "{{ messages[0].content }}");
  options.chat_template = "{% for %}";
  expect_error(tiny_model(), ErrorKind::kBadFile, {""}, options);
}

TEST_F(EngineTest, SamplingDefaultsWithoutRecommendations) {
  const auto params = sampling(tiny_model());
  ASSERT_TRUE(params) << params.error().message;
  const SamplingParams defaults;
  EXPECT_EQ(params->temperature, defaults.temperature);
  EXPECT_EQ(params->top_k, defaults.top_k);
  EXPECT_EQ(params->top_p, defaults.top_p);
  EXPECT_EQ(params->sequence, defaults.sequence);
}

TEST_F(EngineTest, TheFilesRecommendationsOverlayTheDefaults) {
  TestModel model = tiny_model();
  model.set("general.sampling.temp", 0.7f);
  model.set("general.sampling.top_k", gguf::Value{gguf::ValueType::kI32, int64_t{20}});
  model.set("general.sampling.top_p", 0.8f);
  model.set("general.sampling.min_p", 0.0f);
  model.set("general.sampling.xtc_probability", 0.1f);
  model.set("general.sampling.xtc_threshold", 0.2f);
  model.set("general.sampling.penalty_last_n", gguf::Value{gguf::ValueType::kI32, int64_t{-1}});
  model.set("general.sampling.penalty_repeat", uint32_t{2});
  model.set("general.sampling.mirostat", 2.0f);  // as some converters write it
  model.set("general.sampling.mirostat_tau", 4.0f);
  model.set("general.sampling.mirostat_eta", 0.5f);
  model.set("general.sampling.sequence", std::string("top_k;temperature"));
  const auto engine = load(model);
  ASSERT_TRUE(engine) << engine.error().message;
  const SamplingParams& params = (*engine)->default_sampling();
  EXPECT_EQ(params.temperature, 0.7f);
  EXPECT_EQ(params.top_k, 20);
  EXPECT_EQ(params.top_p, 0.8f);
  EXPECT_EQ(params.min_p, 0.0f);
  EXPECT_EQ(params.xtc_probability, 0.1f);
  EXPECT_EQ(params.xtc_threshold, 0.2f);
  EXPECT_EQ(params.repeat_last_n, -1);
  EXPECT_EQ(params.repeat_penalty, 2);
  EXPECT_EQ(params.mirostat, 2);
  EXPECT_EQ(params.mirostat_tau, 4.0f);
  EXPECT_EQ(params.mirostat_eta, 0.5f);
  EXPECT_EQ(params.sequence, "kt");
  EXPECT_EQ(params.typical_p, SamplingParams{}.typical_p);  // not recommended
}

TEST_F(EngineTest, BadRecommendationsAreNamed) {
  TestModel model = tiny_model();
  model.set("general.sampling.temp", std::string("hot"));
  expect_error(model, ErrorKind::kBadFile, {"general.sampling.temp"});
  model = tiny_model();
  model.set("general.sampling.top_k", 1e20f);
  expect_error(model, ErrorKind::kBadFile, {"general.sampling.top_k"});
  model = tiny_model();
  model.set("general.sampling.sequence", std::string("top_k;magic"));
  expect_error(model, ErrorKind::kBadFile, {"general.sampling.sequence", "magic", "model.gguf"});
}

TEST_F(EngineTest, MakeSamplerChecksItsParameters) {
  const auto engine = load(tiny_model());
  ASSERT_TRUE(engine);
  SamplingParams params;
  EXPECT_TRUE((*engine)->make_sampler(params));
  params.logit_bias = {{static_cast<int32_t>(test::kRows), 1.0f}};
  const auto sampler = (*engine)->make_sampler(params);
  ASSERT_FALSE(sampler);
  EXPECT_EQ(sampler.error().kind, ErrorKind::kUsage);
}

// Whatever the logits: rows without text are never drawn.
TEST_F(EngineTest, SamplersBanRowsWithoutText) {
  const auto engine = load(tiny_model());
  ASSERT_TRUE(engine);
  SamplingParams params;
  params.temperature = 0;
  auto sampler = (*engine)->make_sampler(params);
  ASSERT_TRUE(sampler);
  std::vector<float> logits(static_cast<size_t>(test::kRows));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i);
  EXPECT_EQ(sampler->sample(logits), test::kUnusedRow - 1);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i);
  params.ignore_eos = true;
  params.logit_bias = {{test::kToolCall, -1000.0f}};
  sampler = (*engine)->make_sampler(params);
  ASSERT_TRUE(sampler);
  EXPECT_EQ(sampler->sample(logits), test::kTurnStart);
}

}  // namespace
}  // namespace sluice::engine
