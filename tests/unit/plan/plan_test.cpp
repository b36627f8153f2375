// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "made_up.h"

namespace sluice::plan {
namespace {

using test::kGiB;
using testing::HasSubstr;

class PlanTest : public testing::Test {
 protected:
  PlanTest() : file_(test::header_of("qwen3-30b-a3b")) { settings_.model = "m.gguf"; }
  Planner planner() {
    auto planner = Planner::create(file_, settings_);
    EXPECT_TRUE(planner) << planner.error().message;
    return std::move(*planner);
  }
  Plan plan() {
    return planner().plan(machine_, &machine_.disks.front(), test::no_corrections(), settings_);
  }

  gguf::Gguf file_;
  Settings settings_;
  machine::Machine machine_ = test::made_up_machine();
};

// The engine's own plan: what is predicted is what load() would do.
TEST_F(PlanTest, MemoryIsTheEnginesPlan) {
  settings_.ram = 9 * kGiB;
  settings_.context = 8192;
  const Plan p = plan();
  ASSERT_TRUE(p.forecast) << p.refusal;
  engine::MemoryRequest request;
  request.budget = 9 * kGiB;
  request.context = 8192;
  const auto config = model::Config::read(file_, {});
  const auto engine = engine::plan_memory("m.gguf", file_, *config, request);
  ASSERT_TRUE(engine);
  EXPECT_EQ(p.forecast->memory.bytes, engine->total());
  EXPECT_EQ(p.forecast->placement.memory.cache, engine->cache);
  EXPECT_EQ(p.forecast->disk.bytes, engine->experts - engine->cache);
}

TEST_F(PlanTest, BytesOfATokenAddUp) {
  settings_.ram = 9 * kGiB;
  const Plan p = plan();
  ASSERT_TRUE(p.forecast);
  const Planner made = planner();
  const Forecast& f = *p.forecast;
  // All experts of a token are computed from memory, some after they came from the disk.
  EXPECT_NEAR(static_cast<double>(f.memory.per_token),
              static_cast<double>(made.work().dense_bytes() + made.work().expert_bytes()), 2);
  EXPECT_NEAR(static_cast<double>(f.disk.per_token),
              static_cast<double>(made.work().expert_bytes()) * f.shares.disk, 2);
  EXPECT_EQ(f.bound, Kind::kDisk);
}

TEST_F(PlanTest, MoreRamIsNeverSlower) {
  double generates = 0, reads = 0;
  for (uint64_t gib = 3; gib <= 24; ++gib) {
    settings_.ram = gib * kGiB;
    const Plan p = plan();
    ASSERT_TRUE(p.forecast) << p.refusal;
    EXPECT_GE(p.forecast->tg128.value, generates) << gib;
    EXPECT_GE(p.forecast->pp512.value, reads * 0.9999999) << gib;
    generates = p.forecast->tg128.value;
    reads = p.forecast->pp512.value;
  }
}

TEST_F(PlanTest, MoreVramIsNeverSlower) {
  machine_ = test::with_accelerator();
  settings_.context = 4096;
  double generates = 0;
  for (uint64_t gib = 3; gib <= 24; ++gib) {
    settings_.vram = gib * kGiB;
    const Plan p = plan();
    ASSERT_TRUE(p.forecast) << p.refusal;
    ASSERT_TRUE(p.forecast->placement.device);
    EXPECT_LE(p.forecast->device.bytes, gib * kGiB);
    EXPECT_GE(p.forecast->tg128.value, generates * 0.9999999) << gib;
    generates = p.forecast->tg128.value;
  }
}

TEST_F(PlanTest, EstimatesHaveIntervals) {
  settings_.ram = 9 * kGiB;
  const Plan p = plan();
  for (const Estimate& e : {p.forecast->tg128, p.forecast->pp512, p.forecast->pp2048,
                            p.forecast->first_token_30, p.forecast->first_token_512}) {
    EXPECT_GT(e.low, 0);
    EXPECT_LT(e.low, e.value);
    EXPECT_GT(e.high, e.value);
  }
  EXPECT_LT(p.forecast->first_token_30.value, p.forecast->first_token_512.value);
}

TEST_F(PlanTest, WhatWasLearnedMakesTheIntervalNarrower) {
  Corrections learned = test::no_corrections();
  for (Correction& c : learned.kinds) c = {1, 0.05, 30};
  settings_.ram = 9 * kGiB;
  const auto usual =
      planner().forecast(machine_, &machine_.disks.front(), test::no_corrections(), settings_);
  const auto known = planner().forecast(machine_, &machine_.disks.front(), learned, settings_);
  EXPECT_EQ(known->tg128.value, usual->tg128.value);
  EXPECT_GT(known->tg128.low, usual->tg128.low);
}

TEST_F(PlanTest, WhatWasLearnedIsSaid) {
  Corrections learned = test::no_corrections();
  learned.of(Kind::kDisk) = {1.25, 0.05, 7};
  settings_.ram = 9 * kGiB;
  const Plan p = planner().plan(machine_, &machine_.disks.front(), learned, settings_);
  EXPECT_THAT(p.notes, testing::Contains(HasSubstr("earlier runs here: disk x1.25 (7)")));
  for (const std::string& note : plan().notes) EXPECT_THAT(note, Not(HasSubstr("earlier runs")));
}

TEST_F(PlanTest, WhatHelpsIsSortedAndHolds) {
  settings_.ram = 9 * kGiB;
  const Plan p = plan();
  ASSERT_GE(p.advice.size(), 4u);
  for (size_t i = 1; i < p.advice.size(); ++i)
    EXPECT_GE(p.advice[i - 1].generation + p.advice[i - 1].prompt / 8,
              p.advice[i].generation + p.advice[i].prompt / 8);
  // The same by hand.
  const auto four = std::ranges::find(p.advice, "+4 GB RAM", &Advice::change);
  ASSERT_NE(four, p.advice.end());
  settings_.context = p.forecast->placement.memory.context;
  settings_.ram = 13 * kGiB;
  EXPECT_NEAR(plan().forecast->tg128.value / p.forecast->tg128.value, four->generation, 1e-9);
  for (const Advice& advice : p.advice) EXPECT_FALSE(advice.makes_it_fit);
}

TEST_F(PlanTest, WhatDoesNotFitSaysWhatWould) {
  settings_.ram = kGiB;
  const Plan p = plan();
  EXPECT_FALSE(p.forecast);
  EXPECT_THAT(p.refusal, HasSubstr("use --ram"));
  ASSERT_FALSE(p.advice.empty());
  for (const Advice& advice : p.advice) EXPECT_TRUE(advice.makes_it_fit);
  EXPECT_EQ(p.advice.front().change, "+4 GB RAM") << "the least that is enough";
  EXPECT_THAT(format_text(p, machine_), HasSubstr("fits       no: m.gguf"));
  const auto json = nlohmann::json::parse(format_json(p, machine_));
  EXPECT_EQ(json["fits"], false);
  EXPECT_FALSE(json.contains("tg128"));
}

TEST_F(PlanTest, AllInMemoryNeedsNoDisk) {
  settings_.ram = 20 * kGiB;
  settings_.context = 4096;
  const Plan p = plan();
  ASSERT_TRUE(p.forecast);
  EXPECT_EQ(p.forecast->disk.bytes, 0u);
  EXPECT_EQ(p.forecast->disk.per_token, 0u);
  EXPECT_EQ(p.forecast->shares.memory, 1);
  for (const Advice& advice : p.advice) EXPECT_THAT(advice.change, Not(HasSubstr("RAM")));
  EXPECT_THAT(format_text(p, machine_), HasSubstr("yes, all of it"));
}

TEST_F(PlanTest, FewerThreadsAreNoFaster) {
  settings_.ram = 20 * kGiB;
  settings_.context = 4096;
  const Plan four = plan();
  settings_.threads = 2;
  const Plan two = plan();
  EXPECT_LT(two.forecast->tg128.value, four.forecast->tg128.value);
  EXPECT_LT(two.forecast->pp512.value, four.forecast->pp512.value);
}

TEST_F(PlanTest, WithoutAGpuItIsNotAskedFor) {
  machine_ = test::with_accelerator();
  settings_.gpu_layers = 0;
  settings_.ram = 9 * kGiB;
  EXPECT_FALSE(plan().forecast->placement.device);
  settings_.gpu_layers = 99;
  settings_.vram = kGiB / 2;
  const Plan p = plan();
  EXPECT_FALSE(p.forecast);
  EXPECT_THAT(p.refusal, HasSubstr("VRAM"));
  settings_.gpu_layers = -1;  // else the CPU alone, and it is said
  ASSERT_TRUE(plan().forecast);
  EXPECT_THAT(plan().notes.front(), HasSubstr("VRAM"));
}

TEST_F(PlanTest, TextAndJsonSayTheSame) {
  machine_ = test::with_accelerator();
  settings_.ram = 9 * kGiB;
  const Plan p = plan();
  const std::string text = format_text(p, machine_);
  for (const char* title : {"model", "machine", "fits", "VRAM", "memory", "a token", "generates",
                            "prompts", "first", "helps"})
    EXPECT_THAT(text, HasSubstr(fmt::format("{:<10} ", title)));
  const auto json = nlohmann::json::parse(format_json(p, machine_));
  EXPECT_EQ(json["tg128"]["value"], p.forecast->tg128.value);
  EXPECT_EQ(json["tiers"]["memory"]["bytes"], p.forecast->memory.bytes);
  EXPECT_EQ(json["advice"].size(), p.advice.size());
  EXPECT_EQ(json["model"]["experts"], 128);
  for (size_t i = 0, end; i < text.size(); i = end + 1) {
    end = text.find('\n', i);
    EXPECT_LT(end, std::string::npos) << "a line without an end";
  }
}

TEST_F(PlanTest, TheHybridShapeToo) {
  const gguf::Gguf file = test::header_of("qwen3-next-80b-a3b");
  settings_.ram = 11 * kGiB;
  const auto made = Planner::create(file, settings_);
  ASSERT_TRUE(made);
  const auto f = made->forecast(machine_, nullptr, test::no_corrections(), settings_);
  ASSERT_TRUE(f) << f.error().message;
  EXPECT_GT(f->disk.bytes, 30 * kGiB);
  EXPECT_EQ(f->bound, Kind::kDisk);
  // 10 experts of 1.9 MB in 48 layers, the share that the cache misses.
  EXPECT_NEAR(static_cast<double>(f->disk.per_token), 914e6 * f->shares.disk, 2e7);
}

}  // namespace
}  // namespace sluice::plan
