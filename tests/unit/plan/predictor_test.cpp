// SPDX-License-Identifier: Apache-2.0
#include "plan/predictor.h"

#include <gtest/gtest.h>

#include "made_up.h"
#include "plan/hit_rates.h"

namespace sluice::plan {
namespace {

constexpr int64_t kDense = 8'000'000, kPart = 1'000'000;

// Two layers of 16 experts, 4 used, and nothing else.
Work small_work() {
  Work work;
  LayerWork layer;
  layer.dense = {{quant::Type::kQ4_K, kDense, kDense}};
  layer.expert = {3, {quant::Type::kQ4_K, kPart, kPart}};
  work.layers = {layer, layer};
  work.experts = 16;
  work.used = 4;
  work.dim = 1;
  work.heads = work.kv_heads = 1;
  work.head_dim = 1;
  return work;
}

engine::Placement placement(uint64_t held_of_ten) {
  engine::Placement placement;
  placement.memory.experts = 1000;
  placement.memory.cache = 100 * held_of_ten;
  return placement;
}

class PredictorTest : public testing::Test {
 protected:
  PredictorTest() {
    machine_.processor.rates.operation_seconds = 0;
    machine_.processor.rates.norm_floats = 1e15;
    machine_.processor.rates.attention_row = 1e15;
    machine_.processor.rates.attention_batch = 1e15;
  }
  Predictor predictor(const engine::Placement& placement, PredictorOptions options = {}) {
    return {work_, machine_, placement, &machine_.disks.front(), corrections_, options};
  }

  Work work_ = small_work();
  machine::Machine machine_ = test::made_up_machine();
  Corrections corrections_ = test::no_corrections();
};

TEST_F(PredictorTest, ATokenWithAllInMemory) {
  const engine::Placement all = placement(10);
  const StepTime step = predictor(all).token(0);
  // Two layers of (8 + 4 * 3) * 10^6 products at 10^10 per second.
  EXPECT_NEAR(step.total, 2 * 20e6 / 1e10, 1e-9);
  EXPECT_NEAR(step.processor, step.total, 1e-12);
  EXPECT_EQ(step.disk, 0);
  EXPECT_EQ(step.device, 0);
  EXPECT_EQ(step.bound(false), Kind::kDecode);
}

TEST_F(PredictorTest, ATokenWithNothingInMemory) {
  const engine::Placement none = placement(0);
  const Predictor p = predictor(none);
  EXPECT_EQ(p.shares().disk, 1);
  // Each layer: 0.8 ms of products, then 12 reads of 10^6 bytes, of which the measured size takes
  // 1 ms: 12 * 10^6 / 2^20 ms. The last expert, 0.3 ms, comes behind the reads.
  const double disk = 12 * 0.001 * 1e6 / (1 << 20);
  EXPECT_NEAR(p.token(0).total, 2 * (8e-4 + disk + 3e-4), 1e-6);
  EXPECT_NEAR(p.token(0).disk, 2 * (disk + 3e-4 - 4 * 3e-4), 1e-6);
  EXPECT_EQ(p.token(0).bound(false), Kind::kDisk);
}

TEST_F(PredictorTest, MoreMemoryIsNeverSlower) {
  double token = 1e9, prompt = 1e9;
  for (uint64_t held = 0; held <= 10; ++held) {
    const engine::Placement p = placement(held);
    EXPECT_LE(predictor(p).token(0).total, token) << held;
    EXPECT_LE(predictor(p).prompt(100, 0).total, prompt * 1.0000001) << held;
    token = predictor(p).token(0).total;
    prompt = predictor(p).prompt(100, 0).total;
  }
}

TEST_F(PredictorTest, AFasterDiskOrProcessorIsNeverSlower) {
  const engine::Placement half = placement(5);
  const double token = predictor(half).token(0).total;
  const double prompt = predictor(half).prompt(64, 0).total;
  for (machine::ReadsTime& time : machine_.disks.front().times) time.seconds /= 3;
  EXPECT_LT(predictor(half).token(0).total, token);
  EXPECT_LT(predictor(half).prompt(64, 0).total, prompt);
  const double before = predictor(half).token(0).total;
  machine_.processor.rates.types = test::rates_of(3e10).types;
  EXPECT_LT(predictor(half).token(0).total, before);
}

TEST_F(PredictorTest, APromptOfOneBatch) {
  const engine::Placement all = placement(10);
  work_.experts = 4;  // each row uses all four
  const StepTime step = predictor(all).prompt(64, 0);
  // 64 rows of every product at 8 * 10^10 per second.
  EXPECT_NEAR(step.total, 2 * 64 * 20e6 / 8e10, 1e-6);
  EXPECT_EQ(step.bound(true), Kind::kPrefill);
}

TEST_F(PredictorTest, PromptsAreReadInBatches) {
  const engine::Placement all = placement(10);
  const double in_one = predictor(all, {.ubatch = 512}).prompt(512, 0).total;
  const double in_eight = predictor(all, {.ubatch = 64}).prompt(512, 0).total;
  EXPECT_GT(in_eight, in_one);
  EXPECT_NEAR(in_eight, 8 * predictor(all).prompt(64, 0).total, 1e-9);
  EXPECT_NEAR(predictor(all).prompt(1, 0).total, predictor(all).token(0).total, 1e-12);
}

TEST_F(PredictorTest, LongerPromptsTakeLonger) {
  const engine::Placement half = placement(5);
  double before = 0;
  for (int64_t tokens = 1; tokens < 3000; tokens += 113) {
    const double seconds = predictor(half).prompt(tokens, 0).total;
    EXPECT_GT(seconds, before) << tokens;
    before = seconds;
  }
}

TEST_F(PredictorTest, CorrectionsStretchTheirKind) {
  const engine::Placement none = placement(0);
  const StepTime before = predictor(none).token(0);
  corrections_.of(Kind::kDisk).factor = 2;
  const StepTime slow_disk = predictor(none).token(0);
  EXPECT_NEAR(slow_disk.total - before.total, 2 * 12 * 0.001 * 1e6 / (1 << 20), 1e-6);
  EXPECT_NEAR(slow_disk.processor, before.processor, 1e-12);
  corrections_.of(Kind::kDisk).factor = 1;
  corrections_.of(Kind::kDecode).factor = 2;
  EXPECT_NEAR(predictor(none).token(0).processor, 2 * before.processor, 1e-9);
  corrections_.of(Kind::kDecode).factor = 1;
  corrections_.of(Kind::kPrefill).factor = 3;
  EXPECT_NEAR(predictor(none).token(0).total, before.total, 1e-12);
}

class DevicePredictorTest : public PredictorTest {
 protected:
  DevicePredictorTest() {
    machine_ = test::with_accelerator();
    for (auto* rates : {&machine_.processor.rates, &machine_.accelerator->rates}) {
      rates->operation_seconds = 0;
      rates->norm_floats = rates->attention_row = rates->attention_batch = 1e15;
    }
  }
  engine::Placement on_device(uint64_t held_of_ten, uint64_t memory_of_ten = 10) {
    engine::Placement p = placement(memory_of_ten - std::min(memory_of_ten, held_of_ten));
    p.device.emplace();
    p.device->experts = 1000;
    p.device->cache = 100 * held_of_ten;
    p.memory.elsewhere = p.device->cache;
    return p;
  }
};

TEST_F(DevicePredictorTest, ATokenWithAllInItsMemory) {
  const engine::Placement all = on_device(10);
  const Predictor p = predictor(all);
  EXPECT_EQ(p.shares().device, 1);
  // Two layers of 20 * 10^6 products at 10^11, a router's answer each, and the logits'.
  EXPECT_NEAR(p.token(0).total, 2 * (20e6 / 1e11 + 1e-5) + 1e-5, 1e-9);
  EXPECT_EQ(p.token(0).processor, 0);
  EXPECT_EQ(p.token(0).bound(false), Kind::kDevice);
}

TEST_F(DevicePredictorTest, SharesAddUp) {
  for (uint64_t device = 0; device <= 10; ++device)
    for (uint64_t memory = device; memory <= 10; ++memory) {
      const engine::Placement p = on_device(device, memory);
      const Shares shares = predictor(p).shares();
      EXPECT_NEAR(shares.device + shares.memory + shares.disk, 1, 1e-9);
      EXPECT_GE(shares.memory, -1e-12);
      EXPECT_GE(shares.disk, 0);
    }
}

// Both processors work at the same time: a token takes the longer of the two.
TEST_F(DevicePredictorTest, MoreOfItsMemoryIsNeverSlower) {
  double token = 1e9, prompt = 1e9;
  for (uint64_t device = 0; device <= 10; ++device) {
    const engine::Placement p = on_device(device);
    EXPECT_LE(predictor(p).token(0).total, token * 1.0000001) << device;
    EXPECT_LE(predictor(p).prompt(256, 0).total, prompt * 1.0000001) << device;
    token = predictor(p).token(0).total;
    prompt = predictor(p).prompt(256, 0).total;
  }
}

TEST_F(DevicePredictorTest, ManyRowsComeToTheDeviceOverTheLink) {
  const engine::Placement none = on_device(0);
  machine_.accelerator->to_device = 1e9;
  const double slow_link = predictor(none).prompt(512, 0).total;
  machine_.accelerator->to_device *= 10;
  EXPECT_LT(predictor(none).prompt(512, 0).total, slow_link);
}

TEST(Predictor, AUsualDiskIsSane) {
  EXPECT_NEAR(usual_disk().bytes_per_second(), 2e9, 2e8);
}

}  // namespace
}  // namespace sluice::plan
