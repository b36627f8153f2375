// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "../unit/temp_folder.h"
#include "checks.h"
#include "gguf/quantize.h"

namespace sluice::golden {
namespace {

TEST(Qwen3NextGolden, LogitsOfEveryPosition) {
  check_logits_of_every_position("qwen3next-tiny");
}

TEST(Qwen3NextGolden, HiddenStatesAfterEveryLayer) {
  check_hidden_states_after_every_layer("qwen3next-tiny");
}

TEST(Qwen3NextGolden, GreedyContinuation) {
  check_greedy_continuation("qwen3next-tiny", 80);
}

TEST(Qwen3NextGolden, BatchSizeDoesNotChangeTheAnswer) {
  check_batch_size_does_not_change_the_answer("qwen3next-tiny", "qwen3next-tiny.bf16.gguf");
}

// Quantised here, and compared with what the blocks stand for: only the rounding of activations is
// left.
TEST(Qwen3NextGolden, QuantisedWeights) {
  const test::TempFolder folder;
  const auto quantise = [&](const std::string& from, const char* mix) {
    const std::string to = folder.path() + "/" + mix + ".gguf";
    auto file = gguf::Gguf::open(from);
    EXPECT_TRUE(file && gguf::quantize_file(*file, to, *gguf::find_mix(mix), 2));
    return to;
  };
  for (const char* mix : {"Q4_K_M", "MXFP4_MOE"}) {
    const std::string path = quantise(model_path("qwen3next-tiny.bf16.gguf"), mix);
    const auto engine = load(path, quant::Type::kF32);
    const auto exact = load(quantise(path, "F32"), quant::Type::kF32);
    const auto vocabulary = static_cast<size_t>(engine->model().config().vocabulary);
    for (const Case& c : read_cases("qwen3next-tiny")) {
      const auto errors =
          row_errors(run(*engine, c.tokens).logits, run(*exact, c.tokens).logits, vocabulary);
      printf("%s %s: mean %.4f median %.4f\n", mix, c.name.c_str(), mean(errors),
             quantile(errors, 0.5));
      EXPECT_LE(quantile(errors, 0.5), 0.02) << mix << " " << c.name;
    }
  }
}

}  // namespace
}  // namespace sluice::golden
