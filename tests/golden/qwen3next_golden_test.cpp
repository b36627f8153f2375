// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "checks.h"

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

}  // namespace
}  // namespace sluice::golden
