// SPDX-License-Identifier: Apache-2.0
// Sizes of the published shapes, computed by hand.
#include "plan/work.h"

#include <gtest/gtest.h>

#include "made_up.h"

namespace sluice::plan {
namespace {

Work work(const std::string& shape, int64_t layers = 0) {
  const gguf::Gguf file = test::header_of(shape, layers);
  return work_of(file, *model::Config::read(file, {}));
}

int64_t weights(const std::vector<Product>& products) {
  int64_t sum = 0;
  for (const Product& product : products) sum += product.weights;
  return sum;
}

TEST(Work, Of30B) {
  const Work w = work("qwen3-30b-a3b");
  ASSERT_EQ(w.layers.size(), 48u);
  const LayerWork& layer = w.layers[5];
  // q 2048 x 4096, k and v 2048 x 512, output 4096 x 2048.
  EXPECT_EQ(weights(layer.dense), 2048 * (4096 + 512 + 512 + 4096));
  EXPECT_EQ(weights(layer.expert), 3 * 2048 * 768);
  EXPECT_EQ(layer.router.weights, 2048 * 128);
  EXPECT_EQ(layer.router.type, quant::Type::kF32);
  EXPECT_TRUE(layer.shared.empty());
  EXPECT_FALSE(layer.recurrent);
  EXPECT_EQ(w.output.weights, 2048 * 151936);
  // Gate and up in Q4_K: 144 bytes per 256; down in Q4_K or Q6_K.
  const uint64_t smaller = 3 * 2048 * 768 / 256 * 144;
  const uint64_t larger = 2 * 2048 * 768 / 256 * 144 + 2048 * 768 / 256 * 210;
  for (const LayerWork& one : w.layers)
    EXPECT_TRUE(one.expert_bytes() == smaller || one.expert_bytes() == larger);
  EXPECT_EQ(w.all_expert_bytes() / 128 * 8, w.expert_bytes());
  // 16.4 GiB of experts, of which a token reads 1046 MiB.
  EXPECT_NEAR(static_cast<double>(w.all_expert_bytes()) / (1 << 30), 16.36, 0.05);
  EXPECT_NEAR(static_cast<double>(w.expert_bytes()) / (1 << 20), 1046, 5);
}

TEST(Work, Of80B) {
  const Work w = work("qwen3-next-80b-a3b");
  EXPECT_TRUE(w.layers[0].recurrent);
  EXPECT_FALSE(w.layers[3].recurrent);
  EXPECT_EQ(weights(w.layers[0].shared), 3 * 2048 * 512);
  // q with gate 2048 x 8192, k and v 2048 x 512, output 4096 x 2048.
  EXPECT_EQ(weights(w.layers[3].dense), 2048 * (8192 + 512 + 512 + 4096));
  EXPECT_EQ(w.state_floats, 32 * 128 * 128);
}

// Of a prompt only the last row goes through the last layer, but for its keys and values.
TEST(Work, TheLastLayerIsLate) {
  const Work w = work("qwen3-30b-a3b", 4);
  EXPECT_TRUE(w.last_layer_late);
  int64_t always = 0;
  for (const Product& product : w.layers.back().dense)
    if (!product.late) always += product.weights;
  EXPECT_EQ(always, 2048 * (512 + 512));
  for (const Product& product : w.layers[2].dense) EXPECT_FALSE(product.late);
}

TEST(Work, TheEmbeddedModelsAreUnderstood) {
  for (const char* name : {"sluice-tiny", "sluice-hybrid"}) {
    const auto file = gguf::Gguf::open(fmt::format("{}/models/{}.gguf", SLUICE_ROOT, name));
    ASSERT_TRUE(file);
    model::Config config = *model::Config::read(*file, {});
    config.draft_layers = 0;
    const Work w = work_of(*file, config);
    EXPECT_EQ(w.experts, config.experts);
    EXPECT_GT(w.expert_bytes(), 0u);
    // All tensors but the embedding's copy, norms and what only guesses.
    EXPECT_LT(w.dense_bytes() + w.all_expert_bytes(), file->file_bytes());
    EXPECT_GT(w.dense_bytes() + w.all_expert_bytes(), file->file_bytes() / 2);
  }
}

}  // namespace
}  // namespace sluice::plan
