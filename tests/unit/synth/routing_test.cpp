// SPDX-License-Identifier: Apache-2.0
// Published hit rates of caches of experts, on models that write their own text.
#include <gtest/gtest.h>

#include <array>

#include "../temp_folder.h"
#include "engine/generate.h"
#include "model/registry.h"
#include "residency/replay.h"
#include "synth/random.h"
#include "synth/synth.h"

namespace sluice::synth {
namespace {

using residency::Trace;

constexpr double kTolerance = 0.06;
constexpr int64_t kTokens = 256;

class RoutingTest : public testing::Test {
 protected:
  // The real shape where routing is concerned, narrower where it is not.
  void load(Routing routing, int64_t experts, int64_t used, const char* shape = "qwen3-30b-a3b",
            int64_t layers = 2) {
    SynthOptions options;
    ASSERT_TRUE(find_shape(shape, options.shape));
    options.shape.layers = layers;
    options.shape.dim = 512;
    options.shape.expert_hidden = 32;
    options.shape.vocabulary = 8192;
    options.shape.experts = experts;
    options.shape.experts_used = used;
    options.mix = gguf::find_mix("Q4_K_M");
    options.routing = routing;
    options.threads = 2;
    ASSERT_TRUE(write_model(options, folder_.file("m.gguf")));
    engine::EngineOptions engine_options;
    engine_options.model_path = folder_.file("m.gguf");
    engine_options.threads = 2;
    engine_options.context = 512;
    auto engine = engine::Engine::load(engine_options);
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
  }

  Trace record(const std::function<Status(engine::Session&)>& run) {
    const std::string path = folder_.file("trace");
    const model::Config& config = engine_->model().config();
    auto writer = residency::TraceWriter::create(path, static_cast<int32_t>(config.layers),
                                                 static_cast<int32_t>(config.experts));
    EXPECT_TRUE(writer);
    engine_->model().experts().record_to(&*writer);
    auto session = engine::Session::create(*engine_);
    EXPECT_TRUE(session);
    EXPECT_TRUE(run(*session));
    engine_->model().experts().record_to(static_cast<residency::TraceWriter*>(nullptr));
    EXPECT_TRUE(writer->finish());
    auto trace = residency::read_trace(path);
    EXPECT_TRUE(trace);
    return trace ? std::move(*trace) : Trace{};
  }

  // Step 0 reads the prompt.
  Trace text(const std::string& prompt, uint64_t seed) {
    return record([&](engine::Session& session) -> Status {
      engine::SamplingParams params;
      params.temperature = 0.8f;
      params.top_k = 0;
      params.top_p = 1;
      params.min_p = 0;
      params.seed = seed;
      SLUICE_ASSIGN(engine::Sampler sampler, engine_->make_sampler(params));
      engine::GenerateOptions options;
      options.max_tokens = kTokens;
      const auto tokens = engine_->tokenizer().encode(prompt, text::SpecialTokens::kText);
      SLUICE_ASSIGN(const auto result,
                    engine::generate(session, sampler, tokens, options, [](std::string_view) {}));
      EXPECT_EQ(result.generated_tokens, kTokens);
      return {};
    });
  }

  static double lru(const std::vector<Trace>& traces, double percent) {
    double sum = 0;
    for (const Trace& trace : traces)
      sum += residency::replay_lru(trace, residency::slots_of(trace, percent), 1).rate();
    return sum / static_cast<double>(traces.size());
  }

  // A set chosen on one text, on another.
  static double transfer(const std::vector<Trace>& traces, double percent) {
    double sum = 0;
    for (size_t i = 0; i < traces.size(); ++i)
      sum += residency::replay_static(traces[i], traces[(i + 1) % traces.size()],
                                      residency::slots_of(traces[i], percent), 1)
                 .rate();
    return sum / static_cast<double>(traces.size());
  }

  std::vector<Trace> texts() {
    std::vector<Trace> traces;
    uint64_t seed = 1;
    for (const char* prompt : {"The quick brown fox jumps over the lazy dog.",
                               "Why do rivers meander?", "def f(x): return x * x + 17"})
      traces.push_back(text(prompt, seed++));
    return traces;
  }

  test::TempFolder folder_;
  std::unique_ptr<engine::Engine> engine_;
};

TEST_F(RoutingTest, TextOf128Experts) {
  load(Routing::kText, 128, 8);
  const std::vector<Trace> traces = texts();
  EXPECT_EQ(traces[0].requests.back().experts.size(), 8u);
  EXPECT_NEAR(lru(traces, 12.5), 0.53, kTolerance);
  EXPECT_NEAR(lru(traces, 25), 0.76, kTolerance);
  EXPECT_NEAR(lru(traces, 40), 0.92, kTolerance);
  EXPECT_LT(transfer(traces, 40), 0.72);
}

TEST_F(RoutingTest, TextOf512Experts) {
  load(Routing::kText, 512, 10);
  const std::vector<Trace> traces = texts();
  EXPECT_NEAR(lru(traces, 12.5), 0.67, kTolerance);
  EXPECT_NEAR(lru(traces, 25), 0.81, kTolerance);
}

TEST_F(RoutingTest, TextOfTheHybridArchitecture) {
  if (!model::find_architecture("qwen3next")) GTEST_SKIP() << "not yet run by this program";
  load(Routing::kText, 512, 10, "qwen3-next-80b-a3b", 4);
  const std::vector<Trace> traces = texts();
  EXPECT_NEAR(lru(traces, 12.5), 0.67, kTolerance);
  EXPECT_NEAR(lru(traces, 25), 0.81, kTolerance);
  EXPECT_LT(transfer(traces, 40), 0.72);
}

TEST_F(RoutingTest, StaticPreferenceServesRandomTokens) {
  for (const auto& [experts, used, wanted] :
       {std::tuple(128, 8, 0.79), std::tuple(512, 10, 0.85)}) {
    load(Routing::kStatic, experts, used);
    const Trace trace = record([](engine::Session& session) -> Status {
      Random random(5);
      for (int64_t i = 0; i < kTokens; ++i) {
        const text::Token token = static_cast<text::Token>(random.below(8192));
        SLUICE_TRY(session.feed({&token, 1}));
      }
      return {};
    });
    EXPECT_NEAR(lru({trace}, 25), wanted, kTolerance) << experts;
  }
}

}  // namespace
}  // namespace sluice::synth
