// SPDX-License-Identifier: Apache-2.0
// The property that a cache of experts stands on: logits do not depend on how much memory it has,
// to the bit, and what was in memory when a step began does not matter either.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "loaded.h"

namespace sluice::model {
namespace {

using residency::ArenaUse;
using residency::CacheOptions;
using residency::ExpertCache;
using test::ModelShape;
using test::TestModel;

// Sizes of experts differ between layers, as in mixes of quantisations.
TestModel mixed_sizes(ModelShape shape) {
  shape.experts = 24;
  shape.experts_used = 3;
  shape.layers = 4;
  TestModel model = test::random_model(shape);
  model.set_type(quant::Type::kQ8_0);
  model.tensor("blk.1.ffn_down_exps.weight").type = quant::Type::kQ4_0;
  model.tensor("blk.2.ffn_gate_exps.weight").type = quant::Type::kF16;
  return model;
}

struct Outcome {
  Logits prompt, tokens, second;
  residency::CacheStatistics statistics;
};

// What happens to the cache meanwhile: before each pass, and over and over on a thread of its own.
struct Meanwhile {
  std::function<void(ExpertCache&)> between;
  std::function<void(ExpertCache&)> alongside;
};

// A prompt in one batch, tokens one by one, a few together, and another prompt.
Outcome run_all(const TestModel& model, const ExpertOptions& options, int threads = 2,
                const Meanwhile& meanwhile = {}) {
  Loaded loaded(model, threads, 2, cpu::cpu_backend(), options);
  Sequence s = loaded.sequence();
  const auto between = [&](ExpertCache& cache) {
    if (meanwhile.between) meanwhile.between(cache);
  };
  const std::jthread other([&](const std::stop_token& stop) {
    while (meanwhile.alongside && !stop.stop_requested()) meanwhile.alongside(loaded->experts());
  });
  Outcome result;
  const Tokens prompt = some_tokens(60), more = some_tokens(30, 2);
  between(loaded->experts());
  result.prompt = loaded.run({{&s, prompt, true}});
  for (const int32_t token : more) {
    between(loaded->experts());
    const Logits row = loaded.run({{&s, {&token, 1}, true}});
    result.tokens.insert(result.tokens.end(), row.begin(), row.end());
  }
  const Tokens few = some_tokens(5, 3), last = some_tokens(40, 4);
  between(loaded->experts());
  result.second = loaded.run({{&s, few, true}});
  between(loaded->experts());
  const Logits end = loaded.run({{&s, last, true}});
  result.second.insert(result.second.end(), end.begin(), end.end());
  result.statistics = loaded->experts().statistics();
  return result;
}

bool same_bits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Budget : public testing::TestWithParam<ModelShape> {};

TEST_P(Budget, DoesNotChangeABit) {
  const TestModel model = mixed_sizes(GetParam());
  const Outcome full = run_all(model, {});
  Loaded probe(model);
  const uint64_t all = probe->experts().bytes();
  const int64_t experts = probe->experts().experts();
  uint64_t loads_before = UINT64_MAX;
  // From two tokens' experts of a layer, in every size class, to all.
  const uint64_t least = 3 * 2 * 3 * (all / static_cast<uint64_t>(experts));
  for (int step = 0; step < 10; ++step) {
    SCOPED_TRACE(step);
    ExpertOptions options;
    options.cache.bytes = least + (all - least) * static_cast<uint64_t>(step) / 9;
    for (const residency::Policy policy : residency::all_policies()) {
      options.cache.policy = policy;
      const Outcome capped = run_all(model, options);
      EXPECT_TRUE(same_bits(capped.prompt, full.prompt)) << residency::name_of(policy);
      EXPECT_TRUE(same_bits(capped.tokens, full.tokens)) << residency::name_of(policy);
      EXPECT_TRUE(same_bits(capped.second, full.second)) << residency::name_of(policy);
      EXPECT_EQ(capped.statistics.requests, full.statistics.requests);
      EXPECT_GE(capped.statistics.loads, full.statistics.loads);
      if (policy == CacheOptions{}.policy) {
        EXPECT_LE(capped.statistics.loads, loads_before + loads_before / 10);
        loads_before = capped.statistics.loads;
      }
    }
  }
  EXPECT_LE(loads_before, static_cast<uint64_t>(experts)) << "with room for all, each is read once";
}

// Memory comes and goes between the passes, or at any moment.
TEST_P(Budget, NorDoesShrinkingAndGrowing) {
  const TestModel model = mixed_sizes(GetParam());
  const Outcome full = run_all(model, {});
  const auto expect_same = [&](const Outcome& other) {
    EXPECT_TRUE(same_bits(other.prompt, full.prompt));
    EXPECT_TRUE(same_bits(other.tokens, full.tokens));
    EXPECT_TRUE(same_bits(other.second, full.second));
    EXPECT_EQ(other.statistics.requests, full.statistics.requests);
  };
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto resize = [&](ExpertCache& cache) {
      const ArenaUse use = cache.use();
      cache.resize(use.least + random() % (use.most - use.least + 1));
    };
    const Outcome between = run_all(model, {}, 2, {resize, nullptr});
    expect_same(between);
    EXPECT_GT(between.statistics.evictions, 0u);
    const auto fill = [](ExpertCache& cache) { cache.fill(); };
    expect_same(run_all(model, {}, 2, {fill, [&](ExpertCache& cache) {
                                         resize(cache);
                                         std::this_thread::sleep_for(
                                             std::chrono::microseconds(random() % 300));
                                       }}));
  }
}

TEST_P(Budget, NorDoThreadsOrTheWayOfReading) {
  const TestModel model = mixed_sizes(GetParam());
  const Outcome full = run_all(model, {});
  for (const int threads : {1, 3})
    for (const storage::ReadEngine engine :
         {storage::ReadEngine::kAuto, storage::ReadEngine::kPread})
      for (const storage::ReadMode mode :
           {storage::ReadMode::kAuto, storage::ReadMode::kBuffered}) {
        ExpertOptions options;
        options.cache.bytes = 800 << 10;
        options.cache.piece_bytes = 4096;
        options.reads.engine = engine;
        options.reads.mode = mode;
        const Outcome other = run_all(model, options, threads);
        EXPECT_TRUE(same_bits(other.prompt, full.prompt));
        EXPECT_TRUE(same_bits(other.tokens, full.tokens));
        EXPECT_TRUE(same_bits(other.second, full.second));
      }
}

ModelShape plain() {
  return {};
}

INSTANTIATE_TEST_SUITE_P(Architectures, Budget, testing::Values(plain(), test::hybrid()),
                         [](const auto& shape) { return shape.param.architecture; });

}  // namespace
}  // namespace sluice::model
