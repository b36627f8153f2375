// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "residency/expert_cache.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using testing::HasSubstr;

class MemoryPlanTest : public testing::Test {
 protected:
  Result<MemoryPlan> plan(const MemoryRequest& request) const {
    return plan_memory("model.gguf", engine_->file(), engine_->model().config(), request);
  }
  MemoryRequest request(uint64_t budget, int64_t context = 0) const {
    MemoryRequest r;
    r.budget = budget;
    r.context = context;
    return r;
  }
  mutable test::TinyEngine engine_{test::tiny_model()};
};

TEST_F(MemoryPlanTest, WithMemoryForAllItAddsUp) {
  const auto all = plan(request(uint64_t{4} << 30));
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_TRUE(all->all_experts());
  EXPECT_EQ(all->context, engine_->model().config().context);
  EXPECT_EQ(all->total(), all->weights + all->cache + all->session + all->buffers);
  // The plan counts from the file what the cache counts from its table.
  EXPECT_EQ(all->experts, engine_->model().experts().bytes());
  EXPECT_EQ(engine_->plan().context, engine_->context());
}

TEST_F(MemoryPlanTest, LessMemoryMeansFewerExperts) {
  const auto all = plan(request(uint64_t{4} << 30));
  const uint64_t fixed = all->total() - all->cache;
  const auto half = plan(request(fixed + all->experts / 2, all->context));
  ASSERT_TRUE(half) << half.error().message;
  EXPECT_EQ(half->cache, all->experts / 2);
  EXPECT_EQ(half->total(), half->budget);
  EXPECT_THAT(describe(*half), HasSubstr("50 %"));
}

TEST_F(MemoryPlanTest, WhatCannotFitNamesWhatWould) {
  const auto refused = plan(request(uint64_t{1} << 20));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kTooLarge);
  EXPECT_THAT(refused.error().message, HasSubstr("model.gguf: 0.00 GiB of memory are too little"));
  EXPECT_THAT(refused.error().message, HasSubstr("--ram 0.1G"));
}

TEST_F(MemoryPlanTest, SeveralSessions) {
  MemoryRequest r = request(uint64_t{4} << 30);
  const auto one = plan(r);
  r.sessions = 3;
  const auto three = plan(r);
  ASSERT_TRUE(three) << three.error().message;
  EXPECT_EQ(three->session, 3 * one->session);
  EXPECT_EQ(three->sessions, 3);
  EXPECT_THAT(describe(*three), HasSubstr("3 contexts of 128"));
  // As many as fit beside all experts, and one at least.
  r.sessions = 0;
  EXPECT_EQ(plan(r)->sessions, 4);
  r.context = (uint64_t{2} << 30) / one->session * 128;  // half of the memory
  const auto long_ones = plan(r);
  ASSERT_TRUE(long_ones) << long_ones.error().message;
  EXPECT_EQ(long_ones->sessions, 1);
}

// The remedy that the message names works.
TEST_F(MemoryPlanTest, ALongContextGivesWay) {
  const auto all = plan(request(uint64_t{4} << 30));
  const int64_t context = int64_t{1} << 20;
  const auto refused = plan(request(all->total() + (16 << 20), context));
  ASSERT_FALSE(refused);
  const std::string& message = refused.error().message;
  const size_t at = message.find("-c ");
  ASSERT_NE(at, std::string::npos) << message;
  EXPECT_TRUE(plan(request(all->total() + (16 << 20), std::stoll(message.substr(at + 3)))));
}

}  // namespace
}  // namespace sluice::engine
