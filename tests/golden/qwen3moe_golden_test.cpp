// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/session.h"
#include "reference.h"

namespace sluice::golden {
namespace {

using engine::Engine;
using engine::EngineOptions;
using engine::Session;

std::unique_ptr<Engine> load(const std::string& file, quant::Type cache, int64_t ubatch = 512) {
  EngineOptions options;
  options.model_path = model_path(file);
  options.cache = {cache, cache};
  options.threads = 2;
  options.ubatch = ubatch;
  auto engine = Engine::load(options);
  if (!engine) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

struct Run {
  std::vector<float> logits;
  std::vector<std::vector<float>> hidden;  // by stage
};

Run run(Engine& engine, const std::vector<int32_t>& tokens) {
  auto session = Session::create(engine);
  if (!session) throw std::runtime_error(session.error().message);
  Run out;
  out.hidden.resize(static_cast<size_t>(engine.model().config().layers) + 1);
  const auto dim = static_cast<size_t>(engine.model().config().dim);
  const Status status = session->feed_all_logits(
      tokens,
      [&](std::span<const float> rows) -> Status {
        out.logits.insert(out.logits.end(), rows.begin(), rows.end());
        return {};
      },
      [&](int64_t stage, const float* x, int64_t rows) {
        auto& to = out.hidden.at(static_cast<size_t>(stage));
        to.insert(to.end(), x, x + static_cast<size_t>(rows) * dim);
      });
  if (!status) throw std::runtime_error(status.error().message);
  return out;
}

TEST(Qwen3MoeGolden, LogitsOfEveryPosition) {
  const auto engine = load("qwen3moe-tiny.bf16.gguf", quant::Type::kF32);
  const auto vocabulary = static_cast<size_t>(engine->model().config().vocabulary);
  for (const Case& c : read_cases("qwen3moe-tiny")) {
    SCOPED_TRACE(c.name);
    const auto errors =
        row_errors(run(*engine, c.tokens).logits,
                   read_floats("qwen3moe-tiny." + c.name + ".logits.f32"), vocabulary);
    EXPECT_LE(quantile(errors, 0.5), 2e-3);
    EXPECT_LE(quantile(errors, 0.9), 5e-3);
    RecordProperty(c.name + "_median", std::to_string(quantile(errors, 0.5)));
  }
}

TEST(Qwen3MoeGolden, HiddenStatesAfterEveryLayer) {
  const auto engine = load("qwen3moe-tiny.bf16.gguf", quant::Type::kF32);
  const auto dim = static_cast<size_t>(engine->model().config().dim);
  for (const Case& c : read_cases("qwen3moe-tiny")) {
    const auto hidden = run(*engine, c.tokens).hidden;
    const auto expected = read_floats("qwen3moe-tiny." + c.name + ".hidden.f32");
    const size_t stage_size = c.tokens.size() * dim;
    ASSERT_EQ(expected.size(), stage_size * hidden.size());
    for (size_t stage = 0; stage < hidden.size(); ++stage) {
      SCOPED_TRACE(c.name + " stage " + std::to_string(stage));
      ASSERT_EQ(hidden[stage].size(), stage_size);
      const auto from = expected.begin() + static_cast<std::ptrdiff_t>(stage * stage_size);
      const auto errors =
          row_errors(hidden[stage], {from, from + static_cast<std::ptrdiff_t>(stage_size)}, dim);
      EXPECT_LE(quantile(errors, 0.5), 2e-3);
      EXPECT_LE(quantile(errors, 0.9), 5e-3);
    }
  }
}

// Every step follows the reference's path, so one near-tie does not hide the steps after it.
TEST(Qwen3MoeGolden, GreedyContinuation) {
  const auto engine = load("qwen3moe-tiny.bf16.gguf", quant::Type::kF32);
  int compared = 0;
  for (const Case& c : read_cases("qwen3moe-tiny")) {
    auto session = Session::create(*engine);
    ASSERT_TRUE(session && session->feed(c.tokens));
    for (size_t i = 0; i < c.greedy.size(); ++i) {
      const auto logits = session->logits();
      const auto best =
          static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (c.margins[i] > 0.02f) {
        EXPECT_EQ(best, c.greedy[i]) << c.name << " step " << i << ", margin " << c.margins[i];
        ++compared;
      }
      ASSERT_TRUE(session->feed({&c.greedy[i], 1}));
    }
  }
  EXPECT_GE(compared, 80);
}

// A prompt read in any pieces leaves the same bits behind as the whole one.
TEST(Qwen3MoeGolden, BatchSizeDoesNotChangeTheAnswer) {
  const auto cases = read_cases("qwen3moe-tiny");
  for (const char* file : {"qwen3moe-tiny.bf16.gguf", "qwen3moe-tiny.Q4_K_M.gguf"}) {
    const auto whole = load(file, quant::Type::kF16);
    const auto pieces = load(file, quant::Type::kF16, 7);
    for (const Case& c : cases)
      EXPECT_EQ(run(*whole, c.tokens).logits, run(*pieces, c.tokens).logits)
          << file << " " << c.name;
  }
}

struct QuantisedBar {
  const char* type;
  double mean;  // of the engine to beat, on case "en"
};

class Qwen3MoeQuantised : public testing::TestWithParam<QuantisedBar> {};

TEST_P(Qwen3MoeQuantised, ErrorIsAtMostTheBar) {
  const std::string name = std::string("qwen3moe-tiny.") + GetParam().type;
  const auto engine = load(name + ".gguf", quant::Type::kF32);
  const auto vocabulary = static_cast<size_t>(engine->model().config().vocabulary);
  for (const Case& c : read_cases("qwen3moe-tiny")) {
    if (c.name == "chat") continue;  // no reference for it
    const auto errors = row_errors(run(*engine, c.tokens).logits,
                                   read_floats(name + "." + c.name + ".logits.f32"), vocabulary);
    printf("%s %s: mean %.4f median %.4f (bar %.4f)\n", GetParam().type, c.name.c_str(),
           mean(errors), quantile(errors, 0.5), GetParam().mean);
    if (c.name == "en") {
      EXPECT_LE(mean(errors), GetParam().mean);
    }
    // The bar was taken on one text; another one must not be out of its order.
    EXPECT_LE(quantile(errors, 0.5), 1.5 * GetParam().mean) << c.name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Files, Qwen3MoeQuantised,
    testing::Values(QuantisedBar{"Q4_K_M", 0.0217}, QuantisedBar{"Q2_K", 0.0377},
                    QuantisedBar{"Q3_K_M", 0.0196}, QuantisedBar{"Q5_K_M", 0.0220},
                    QuantisedBar{"Q6_K", 0.0175}, QuantisedBar{"IQ4_XS", 0.0177},
                    QuantisedBar{"IQ3_S", 0.0343}, QuantisedBar{"MXFP4_MOE", 0.0159}),
    [](const auto& bar) { return std::string(bar.param.type); });

}  // namespace
}  // namespace sluice::golden
