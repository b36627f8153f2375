// SPDX-License-Identifier: Apache-2.0
#include "engine/session_memory.h"

#include <gtest/gtest.h>

#include <limits>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

using model::CacheTypes;
using quant::Type;
using test::tiny_model;
using test::TinyEngine;

// What sessions take is what the plan says.
TEST(SessionMemory, IsWhatSessionsTake) {
  const std::pair<const char*, test::TestModel> models[] = {
      {"qwen3", tiny_model(1, "qwen3")},
      {"qwen3moe", tiny_model(1, "qwen3moe")},
      {"qwen3next", tiny_model(1, "qwen3next")},
      {"qwen3next with a draft block", test::drafting_model()}};
  for (const auto& [name, tiny] : models) {
    const std::string architecture = name;
    TinyEngine engine(tiny);
    for (const CacheTypes& types :
         {CacheTypes{Type::kF16, Type::kF16}, CacheTypes{Type::kF32, Type::kBF16},
          CacheTypes{Type::kQ8_0, Type::kQ4_0}, CacheTypes{Type::kQ5_1, Type::kIQ4_NL}})
      for (const int64_t positions : {1, 100, 128}) {
        const SessionMemory plan =
            session_memory(engine->model().config(), positions, types, CheckpointOptions{});
        auto session = Session::create(*engine, positions, types);
        ASSERT_TRUE(session) << session.error().message;
        EXPECT_EQ(session->bytes(), plan.cache + plan.states + plan.ahead)
            << architecture << " " << positions;
        EXPECT_EQ(plan.ahead > 0, architecture.ends_with("draft block"));
        session->keep_checkpoints({});
        EXPECT_EQ(session->checkpoints().limit(), plan.checkpoints);
        EXPECT_EQ(plan.checkpoints > 0, architecture.starts_with("qwen3next"));
        // With logits, as at the end of a prompt.
        ASSERT_TRUE(session->reuse(std::vector<int32_t>(static_cast<size_t>(positions), 7)));
        if (positions >= 16) {
          EXPECT_EQ(session->checkpoints().bytes(), plan.checkpoint);
        }
      }
  }
}

TEST(SessionMemory, OfThe80BModel) {
  model::Config config;
  config.layers = 48;
  config.kv_heads = 2;
  config.head_dim = 256;
  config.vocabulary = 151936;
  config.delta_net = {4, 16, 32, 128, 128};
  for (int n = 0; n < 48; ++n) config.recurrent.push_back((n + 1) % 4 != 0);
  const CheckpointOptions defaults;
  const SessionMemory f16 = session_memory(config, 262144, {}, defaults);
  EXPECT_EQ(f16.cache, uint64_t{6} << 30);
  EXPECT_EQ(f16.states, uint64_t{36} * (96 + 2048) * 1024);
  EXPECT_EQ(f16.checkpoint, f16.states + 104 + 4 * 151936);
  EXPECT_EQ(f16.checkpoints, 13);
  EXPECT_LE(f16.all_checkpoints(), defaults.bytes);
  const SessionMemory q8 = session_memory(config, 4096, {Type::kQ8_0, Type::kQ8_0}, defaults);
  EXPECT_EQ(q8.cache, uint64_t{4096} * 12 * 2 * 2 * 272);
}

TEST(SessionMemory, Limits) {
  TinyEngine engine(tiny_model(1, "qwen3next"));
  const model::Config& config = engine->model().config();
  const auto checkpoints = [&](const CheckpointOptions& options, int64_t positions = 128) {
    return session_memory(config, positions, {}, options).checkpoints;
  };
  const uint64_t one = session_memory(config, 128, {}, {}).checkpoint;
  EXPECT_EQ(checkpoints({5, uint64_t{1} << 30, 512}), 5);
  EXPECT_EQ(checkpoints({0, uint64_t{1} << 30, 512}), 0);
  EXPECT_EQ(checkpoints({32, 3 * one, 512}), 3);
  EXPECT_EQ(checkpoints({32, 3 * one - 1, 512}), 2);
  EXPECT_EQ(checkpoints({32, one - 1, 512}), 0);
  EXPECT_EQ(checkpoints({1000, std::numeric_limits<uint64_t>::max(), 512}, 50), 50);
  EXPECT_EQ(session_memory(config, std::numeric_limits<int64_t>::max(), {}, {}).cache,
            std::numeric_limits<uint64_t>::max());
}

}  // namespace
}  // namespace sluice::engine
