// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>

#include "../temp_folder.h"
#include "engine/session.h"
#include "synth/synth.h"
#include "synth/vocabulary.h"

namespace sluice::synth {
namespace {

SynthOptions small(const char* mix = "Q4_K_M") {
  SynthOptions options;
  EXPECT_TRUE(find_shape("qwen3-30b-a3b", options.shape));
  options.shape.layers = 2;
  options.shape.dim = 512;
  options.shape.expert_hidden = 32;
  options.shape.experts = 16;
  options.shape.vocabulary = 1024;
  options.mix = gguf::find_mix(mix);
  options.threads = 2;
  return options;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What tensors of each type the plan has.
std::map<std::string, int> types_of(const char* shape_name, int64_t layers) {
  Shape shape;
  EXPECT_TRUE(find_shape(shape_name, shape));
  shape.layers = layers;
  std::map<std::string, int> count;
  for (const TensorPlan& tensor : plan_tensors(shape, *gguf::find_mix("Q4_K_M")))
    ++count[std::string(quant::traits(tensor.type).name)];
  return count;
}

TEST(Synth, TensorTypesAreThoseOfThePublishedFiles) {
  EXPECT_EQ(types_of("qwen3-30b-a3b", 48),
            (std::map<std::string, int>{{"F32", 241}, {"Q4_K", 289}, {"Q6_K", 49}}));
  EXPECT_EQ(types_of("qwen3-next-80b-a3b", 48),
            (std::map<std::string, int>{
                {"BF16", 48}, {"F32", 313}, {"Q4_K", 269}, {"Q5_K", 132}, {"Q6_K", 81}}));
}

TEST(Synth, BytesAreThoseOfThePublishedFiles) {
  SynthOptions options;
  options.mix = gguf::find_mix("Q4_K_M");
  constexpr double kGiB = 1 << 30;
  ASSERT_TRUE(find_shape("qwen3-30b-a3b", options.shape));
  EXPECT_NEAR(static_cast<double>(tensor_bytes(options)) / kGiB, 17.277, 0.001);
  ASSERT_TRUE(find_shape("qwen3-next-80b-a3b", options.shape));
  EXPECT_NEAR(static_cast<double>(tensor_bytes(options)) / kGiB, 45.169, 0.001);
}

TEST(Synth, SameSeedSameBytesWhateverTheThreads) {
  const test::TempFolder folder;
  SynthOptions options = small();
  ASSERT_TRUE(write_model(options, folder.file("a")));
  options.threads = 1;
  ASSERT_TRUE(write_model(options, folder.file("b")));
  options.seed = 1;
  ASSERT_TRUE(write_model(options, folder.file("c")));
  const std::string a = bytes_of(folder.file("a"));
  EXPECT_GT(a.size(), tensor_bytes(options));
  EXPECT_TRUE(a == bytes_of(folder.file("b")));
  EXPECT_FALSE(a == bytes_of(folder.file("c")));
}

TEST(Synth, EveryMixLoadsAndGivesSaneActivations) {
  const test::TempFolder folder;
  for (const char* mix :
       {"F16", "Q8_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q6_K", "IQ4_XS", "MXFP4_MOE"}) {
    const std::string path = folder.file(mix);
    ASSERT_TRUE(write_model(small(mix), path));
    engine::EngineOptions engine_options;
    engine_options.model_path = path;
    engine_options.threads = 1;
    engine_options.context = 64;
    const auto engine = engine::Engine::load(engine_options);
    ASSERT_TRUE(engine) << engine.error().message;
    auto session = engine::Session::create(**engine);
    ASSERT_TRUE(session);
    const int64_t dim = (*engine)->model().config().dim;
    std::vector<text::Token> tokens;
    for (text::Token t = 300; t < 332; ++t) tokens.push_back(t);
    std::vector<float> logits;
    const auto keep = [&](std::span<const float> rows) -> Status {
      logits.assign(rows.begin(), rows.end());
      return {};
    };
    const auto observe = [&](int64_t stage, const float* x, int64_t rows) {
      double squares = 0;
      for (int64_t i = 0; i < rows * dim; ++i) squares += double{x[i]} * double{x[i]};
      const double rms = std::sqrt(squares / static_cast<double>(rows * dim));
      EXPECT_TRUE(rms > 0.7 && rms < 1.8) << mix << " stage " << stage << ": " << rms;
    };
    ASSERT_TRUE(session->feed_all_logits(tokens, keep, observe));
    double squares = 0;
    for (const float v : logits) squares += double{v} * double{v};
    const double deviation = std::sqrt(squares / static_cast<double>(logits.size()));
    EXPECT_TRUE(deviation > 1 && deviation < 3) << mix << ": " << deviation;
  }
}

TEST(Synth, VocabularyIsComplete) {
  for (const int64_t size : {kLeastVocabulary, int64_t{5000}, int64_t{151936}}) {
    const Vocabulary v = make_vocabulary(size);
    EXPECT_EQ(static_cast<int64_t>(v.tokens.size()), size);
    EXPECT_EQ(v.tokens.size(), v.kinds.size());
    EXPECT_EQ(static_cast<int64_t>(v.merges.size()) + 256, v.ordinary);
    text::TokenizerSpec spec;
    spec.model = "gpt2";
    spec.pre_tokenizer = "qwen2";
    spec.tokens = v.tokens;
    spec.kinds = v.kinds;
    spec.merges = v.merges;
    const auto tokenizer = text::Tokenizer::create(std::move(spec));
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    const std::string text = "bako dilu, \xc3\xa9t\xc3\xa9!";
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, text::SpecialTokens::kText), false), text);
  }
}

TEST(Synth, ImpossibleSizesAreNamed) {
  const test::TempFolder folder;
  const auto message_of = [&](auto change) {
    SynthOptions options = small();
    change(options.shape);
    const Status status = write_model(options, folder.file("m"));
    return status ? std::string() : status.error().message;
  };
  EXPECT_NE(message_of([](Shape& s) { s.dim = 256; }).find("--embedding"), std::string::npos);
  EXPECT_NE(message_of([](Shape& s) { s.dim = 520; }).find("--embedding"), std::string::npos);
  EXPECT_NE(message_of([](Shape& s) { s.expert_hidden = 33; }).find("--expert-ffn"),
            std::string::npos);
  EXPECT_NE(message_of([](Shape& s) { s.experts_used = 17; }).find("--experts-used"),
            std::string::npos);
  // A peta-byte is told before anything is written.
  const std::string full = message_of([](Shape& s) {
    s.expert_hidden = 1 << 20;
    s.dim = 1 << 20;
    s.experts = 1024;
  });
  EXPECT_NE(full.find("GiB free"), std::string::npos) << full;
  EXPECT_FALSE(std::ifstream(folder.file("m")).good());
  EXPECT_FALSE(std::ifstream(folder.file("m.part")).good());
}

TEST(Synth, CancelLeavesNothing) {
  const test::TempFolder folder;
  const std::atomic<bool> cancel{true};
  const Status status = write_model(small(), folder.file("m"), nullptr, &cancel);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
  EXPECT_FALSE(std::ifstream(folder.file("m")).good());
  EXPECT_FALSE(std::ifstream(folder.file("m.part")).good());
}

}  // namespace
}  // namespace sluice::synth
