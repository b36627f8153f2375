// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "checks.h"

namespace sluice::golden {
namespace {

TEST(Qwen3MoeGolden, LogitsOfEveryPosition) {
  check_logits_of_every_position("qwen3moe-tiny");
}

TEST(Qwen3MoeGolden, HiddenStatesAfterEveryLayer) {
  check_hidden_states_after_every_layer("qwen3moe-tiny");
}

TEST(Qwen3MoeGolden, GreedyContinuation) {
  check_greedy_continuation("qwen3moe-tiny", 80);
}

TEST(Qwen3MoeGolden, BatchSizeDoesNotChangeTheAnswer) {
  for (const char* file : {"qwen3moe-tiny.bf16.gguf", "qwen3moe-tiny.Q4_K_M.gguf"})
    check_batch_size_does_not_change_the_answer("qwen3moe-tiny", file);
}

struct QuantisedBar {
  const char* type;
  double mean;  // of the engine to beat, on case "en"
};

class Qwen3MoeQuantised : public testing::TestWithParam<QuantisedBar> {};

TEST_P(Qwen3MoeQuantised, ErrorIsAtMostTheBar) {
  const std::string name = std::string("qwen3moe-tiny.") + GetParam().type;
  const auto engine = load(model_path(name + ".gguf"), quant::Type::kF32);
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
