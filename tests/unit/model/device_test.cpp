// SPDX-License-Identifier: Apache-2.0
// A model beside an accelerator: experts in its memory, in the host's, and on the disk.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "late_device.h"
#include "loaded.h"

namespace sluice::model {
namespace {

using test::ModelShape;
using test::TestModel;

struct Outcome {
  Logits prompt, tokens, second;
  residency::DeviceTierStatistics tier;
  int64_t residents = 0;
};

// A prompt, tokens one by one, and a second prompt. Keys and values are kept in half precision,
// where another order of additions before can move one by a step: differences up to 1e-4.
Outcome run_all(Loaded& loaded) {
  Sequence s = loaded.sequence();
  Outcome result;
  const Tokens prompt = some_tokens(60), more = some_tokens(40, 2), last = some_tokens(40, 4);
  result.prompt = loaded.run({{&s, prompt, true}});
  for (const int32_t token : more) {
    const Logits row = loaded.run({{&s, {&token, 1}, true}});
    result.tokens.insert(result.tokens.end(), row.begin(), row.end());
  }
  result.second = loaded.run({{&s, last, true}});
  if (const residency::DeviceTier* tier = loaded->device_experts()) {
    result.tier = tier->statistics();
    result.residents = tier->residents();
  }
  return result;
}

double difference(const Logits& a, const Logits& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return worst / scale;
}

bool same_bits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Of floats: where activations are quantised, another order of additions can move one by a step.
TestModel mixed_sizes(ModelShape shape) {
  shape.experts = 24;
  shape.experts_used = 3;
  shape.layers = 4;
  TestModel model = test::random_model(shape);
  model.set_type(quant::Type::kF32);
  model.tensor("blk.1.ffn_down_exps.weight").type = quant::Type::kF16;
  return model;
}

class Device : public testing::TestWithParam<ModelShape> {
 protected:
  ExpertOptions options(double on_device, double in_memory, Misses misses) const {
    ExpertOptions o;
    o.device.bytes = static_cast<uint64_t>(on_device * static_cast<double>(all_));
    o.device.step_moves = 8;
    o.cache.bytes = std::max(least_, static_cast<uint64_t>(in_memory * static_cast<double>(all_)));
    o.misses = misses;
    return o;
  }

  const TestModel model_ = mixed_sizes(GetParam());
  Loaded cpu_{model_};
  const Outcome truth_ = run_all(cpu_);
  const uint64_t all_ = cpu_->experts().bytes();
  const uint64_t least_ = residency::SlotArena::least_bytes(cpu_->experts().table(), 3);
};

TEST_P(Device, GivesTheAnswerWhereverTheExpertsAre) {
  for (const Misses misses : {Misses::kOnHost, Misses::kCopied, Misses::kMeasured})
    for (const double on_device : {0.0, 0.2, 0.6, 1.0})
      for (const double in_memory : {0.2, 0.5, 1.0}) {
        SCOPED_TRACE(testing::Message() << static_cast<int>(misses) << ": " << on_device
                                        << " on the device, " << in_memory << " in memory");
        Loaded loaded(model_, 2, 1, test::late_device(), options(on_device, in_memory, misses));
        const Outcome outcome = run_all(loaded);
        EXPECT_LT(difference(outcome.prompt, truth_.prompt), 1e-4);
        EXPECT_LT(difference(outcome.tokens, truth_.tokens), 1e-4);
        EXPECT_LT(difference(outcome.second, truth_.second), 1e-4);
        // One that was never used does not come, and a move may be under way.
        EXPECT_GE(outcome.residents, loaded->device_experts()->slots() - 2);
        if (on_device > 0 && on_device < 1) {
          EXPECT_GT(outcome.tier.hits, 0u);
        }
      }
}

TEST_P(Device, PromptsHaveTheSameBitsWhateverIsOnTheDevice) {
  Logits first;
  for (const double on_device : {0.0, 0.3, 0.7, 1.0}) {
    Loaded loaded(model_, 2, 1, test::late_device(), options(on_device, 0.4, Misses::kCopied));
    Sequence a = loaded.sequence(), b = loaded.sequence();
    const Tokens prompt = some_tokens(60);
    const Logits cold = loaded.run({{&a, prompt, true}});
    const Logits warm = loaded.run({{&b, prompt, true}});
    EXPECT_TRUE(same_bits(cold, warm));
    if (first.empty()) first = cold;
    EXPECT_TRUE(same_bits(cold, first)) << on_device;
  }
}

TEST_P(Device, SwapsWhatIsUsedMoreForWhatIsUsedLess) {
  Loaded loaded(model_, 2, 1, test::late_device(), options(0.3, 1.0, Misses::kOnHost));
  const Outcome outcome = run_all(loaded);
  EXPECT_GT(outcome.tier.departures, 0u);
  // Exclusive: an expert is in one tier, and none is lost once all are in one.
  const int64_t experts = loaded->experts().experts();
  EXPECT_LT(outcome.residents, experts);
  Sequence s = loaded.sequence();
  const uint64_t loads = loaded->experts().statistics().loads;
  for (const int32_t token : some_tokens(60, 9)) loaded.run({{&s, {&token, 1}, true}});
  EXPECT_EQ(loaded->experts().statistics().loads, loads) << "nothing is read again";
}

TEST_P(Device, FillsItselfWhereAllFit) {
  Loaded loaded(model_, 2, 1, test::late_device(), options(1.1, 0.2, Misses::kCopied));
  residency::DeviceTier& tier = *loaded->device_experts();
  ASSERT_TRUE(tier.fill());
  EXPECT_TRUE(tier.holds_all());
  const uint64_t loads = loaded->experts().statistics().loads;
  EXPECT_EQ(loads, static_cast<uint64_t>(loaded->experts().experts())) << "each is read once";
  const Outcome outcome = run_all(loaded);
  EXPECT_EQ(loaded->experts().statistics().loads, loads);
  EXPECT_EQ(outcome.tier.hits, outcome.tier.requests);
  EXPECT_LT(difference(outcome.tokens, truth_.tokens), 1e-4);
}

// Of four layers: one that stays away, one that stays, and two that come and go.
TEST_P(Device, LayersStayWhereTheyAreWanted) {
  using residency::ExpertPlace;
  ExpertOptions o = options(0.4, 1.0, Misses::kOnHost);
  o.device.places.assign(cpu_->experts().table().layers.size(), ExpertPlace::kAnywhere);
  o.device.places[0] = ExpertPlace::kAway;
  o.device.places[2] = ExpertPlace::kPinned;
  Loaded loaded(model_, 2, 1, test::late_device(), o);
  residency::DeviceTier& tier = *loaded->device_experts();
  ASSERT_TRUE(tier.fill(false));
  EXPECT_EQ(tier.residents(), 24) << "the pinned layer and nothing else";
  const Outcome outcome = run_all(loaded);
  EXPECT_LT(difference(outcome.tokens, truth_.tokens), 1e-4);
  EXPECT_GT(outcome.tier.departures, 0u) << "the others still come and go";
  EXPECT_GT(outcome.residents, 24);
  for (int32_t expert = 0; expert < 24; ++expert) {
    EXPECT_FALSE(tier.find(0, expert)) << expert;
    EXPECT_TRUE(tier.find(2, expert)) << expert;
  }
  o.device.bytes =
      residency::DeviceTier::pinned_bytes(cpu_->experts().table(), o.device.places) - 1;
  EXPECT_THROW(Loaded(model_, 2, 1, test::late_device(), o), std::runtime_error);
}

TEST_P(Device, ACensusFindsEveryExpertInOneTier) {
  Loaded loaded(model_, 2, 1, test::late_device(), options(0.3, 1.0, Misses::kOnHost));
  Sequence s = loaded.sequence();
  for (const int32_t token : some_tokens(30, 7)) loaded.run({{&s, {&token, 1}, true}});
  const residency::DeviceTier& tier = *loaded->device_experts();
  residency::Census census;
  loaded->experts().take_census(census);
  const auto on_device =
      std::count(census.tiers.begin(), census.tiers.end(), residency::Tier::kDevice);
  // One that leaves is still there until its copy has ended.
  EXPECT_GT(on_device, 0);
  EXPECT_LE(std::abs(on_device - tier.residents()), 8);
  const std::vector<uint32_t> by_host = census.uses;
  tier.add_uses(census.uses);
  uint64_t host = 0, all = 0;
  for (const uint32_t uses : by_host) host += uses;
  for (const uint32_t uses : census.uses) all += uses;
  EXPECT_EQ(all - host, tier.statistics().hits);
  EXPECT_EQ(all, tier.statistics().requests) << "each use counts in one tier";
}

INSTANTIATE_TEST_SUITE_P(Architectures, Device, testing::Values(ModelShape{}, test::hybrid()),
                         [](const auto& shape) { return shape.param.architecture; });

}  // namespace
}  // namespace sluice::model
