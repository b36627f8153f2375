// SPDX-License-Identifier: Apache-2.0
#include "engine/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/description.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::tiny_model;
using test::TinyEngine;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

// A clock that ticks once when it is read, and the phases that were told.
class BenchTestCase : public testing::Test {
 protected:
  BenchTestCase() {
    options_.repetitions = 3;
    options_.clock = [this] { return now_ += 7; };
    options_.progress = [this](BenchPhase phase, int repetition) {
      phases_.emplace_back(phase, repetition);
    };
  }

  Bench bench(int64_t capacity = 200) {
    auto created = Bench::create(*engine_, capacity, {});
    EXPECT_TRUE(created) << created.error().message;
    return std::move(*created);
  }

  TinyEngine engine_{tiny_model()};
  BenchOptions options_;
  uint64_t now_ = 0;
  std::vector<std::pair<BenchPhase, int>> phases_;
};

TEST_F(BenchTestCase, TimesEveryRepetitionAndNothingElse) {
  Bench b = bench();
  const auto samples = b.run({5, 3, 10}, options_);
  ASSERT_TRUE(samples) << samples.error().message;
  // The clock is read twice a repetition: at its start and at its end.
  EXPECT_THAT(*samples, ElementsAre(7u, 7u, 7u));
  EXPECT_EQ(now_, 6u * 7);
}

TEST_F(BenchTestCase, WarmUpDepthAndRepetitionsInOrder) {
  Bench b = bench();
  options_.repetitions = 2;
  ASSERT_TRUE(b.run({5, 3, 10}, options_));
  using P = BenchPhase;
  EXPECT_THAT(phases_, ElementsAre(std::pair(P::kDepth, 0), std::pair(P::kWarmupPrompt, 0),
                                   std::pair(P::kWarmupGeneration, 0), std::pair(P::kPrompt, 1),
                                   std::pair(P::kGeneration, 1), std::pair(P::kPrompt, 2),
                                   std::pair(P::kGeneration, 2)));
  phases_.clear();
  options_.warmup = false;
  options_.repetitions = 1;
  ASSERT_TRUE(b.run({0, 3, 0}, options_));
  EXPECT_THAT(phases_, ElementsAre(std::pair(P::kGeneration, 1)));
}

// Depth is told when it is read: once for all tests at it, and again after one at another.
TEST_F(BenchTestCase, DepthIsReadOnce) {
  Bench b = bench();
  const auto depths_read = [&](const BenchTest& test) {
    phases_.clear();
    EXPECT_TRUE(b.run(test, options_));
    return std::ranges::count(phases_, BenchPhase::kDepth, &std::pair<BenchPhase, int>::first);
  };
  EXPECT_EQ(depths_read({5, 0, 20}), 1);
  EXPECT_EQ(depths_read({0, 3, 20}), 0);
  EXPECT_EQ(depths_read({0, 3, 30}), 1);
  EXPECT_EQ(depths_read({0, 3, 0}), 0);
  EXPECT_EQ(depths_read({0, 3, 30}), 1);
}

TEST_F(BenchTestCase, UsesTheWholeCapacityBeyondTheTrainedContext) {
  // The model was trained for 128 positions.
  Bench b = bench(150);
  EXPECT_TRUE(b.run({100, 30, 20}, options_));
  const auto over = b.run({100, 30, 21}, options_);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().kind, ErrorKind::kTooLarge);
}

TEST_F(BenchTestCase, BatchesLargerAndSmallerThanThePrompt) {
  Bench b = bench();
  for (const int64_t batch : {1, 3, 64})
    for (const int64_t ubatch : {1, 2, 64}) {
      options_.batch = batch;
      options_.ubatch = ubatch;
      EXPECT_TRUE(b.run({7, 0, 0}, options_));
    }
}

TEST_F(BenchTestCase, RefusesWhatCannotBeMeasured) {
  Bench b = bench();
  for (const BenchTest& test : {BenchTest{0, 0, 10}, BenchTest{-1, 3, 0}, BenchTest{1, 1, -1}}) {
    const auto samples = b.run(test, options_);
    ASSERT_FALSE(samples);
    EXPECT_EQ(samples.error().kind, ErrorKind::kUsage);
  }
  options_.repetitions = 0;
  EXPECT_FALSE(b.run({1, 0, 0}, options_));
  EXPECT_EQ(now_, 0u);
}

TEST(StatisticsTest, MeanAndSampleDeviation) {
  const std::vector<double> samples = {2, 4, 4, 4, 5, 5, 7, 9};
  EXPECT_THAT(statistics(samples).mean, DoubleNear(5, 1e-12));
  EXPECT_THAT(statistics(samples).deviation, DoubleNear(2.13808993529939517, 1e-12));
  EXPECT_EQ(statistics(std::vector<double>{3}).mean, 3);
  EXPECT_EQ(statistics(std::vector<double>{3}).deviation, 0);
  EXPECT_EQ(statistics({}).mean, 0);
}

class DescriptionTest : public testing::Test {
 protected:
  std::string name() {
    const auto file = gguf::Gguf::open(model_.write(folder_.path()));
    EXPECT_TRUE(file) << file.error().message;
    return describe(*file).name;
  }
  test::TestModel model_ = tiny_model();
  test::TempFolder folder_;
};

TEST_F(DescriptionTest, FileTypeAsItIsNamed) {
  model_.set("general.file_type", uint32_t{15});
  EXPECT_EQ(name(), "qwen3moe ?B Q4_K - Medium");
  model_.set("general.file_type", uint32_t{7});
  EXPECT_EQ(name(), "qwen3moe ?B Q8_0");
  model_.set("general.file_type", uint32_t{999});
  EXPECT_EQ(name(), "qwen3moe ?B unknown, may not work");
}

TEST_F(DescriptionTest, FileTypeGuessedFromTheTensors) {
  EXPECT_EQ(name(), "qwen3moe ?B (guessed) all F32");
}

TEST_F(DescriptionTest, PublishedSizes) {
  model_.set("general.file_type", uint32_t{18});
  model_.set("qwen3moe.block_count", uint32_t{48});
  EXPECT_EQ(name(), "qwen3moe 30B.A3B Q6_K");
  model_.set("qwen3moe.block_count", uint32_t{94});
  EXPECT_EQ(name(), "qwen3moe 235B.A22B Q6_K");
}

TEST_F(DescriptionTest, BytesAndParametersOfAllTensors) {
  uint64_t elements = 0;
  for (const test::TestTensor& tensor : model_.tensors) elements += tensor.values.size();
  const auto file = gguf::Gguf::open(model_.write(folder_.path()));
  ASSERT_TRUE(file);
  EXPECT_EQ(describe(*file).parameters, elements);
  EXPECT_EQ(describe(*file).bytes, elements * 4);
}

}  // namespace
}  // namespace sluice::engine
