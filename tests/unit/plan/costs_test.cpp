// SPDX-License-Identifier: Apache-2.0
// Costs computed by hand.
#include "plan/costs.h"

#include <gtest/gtest.h>

#include "made_up.h"

namespace sluice::plan {
namespace {

constexpr Product kMatrix{quant::Type::kQ4_K, 1'000'000, 562'500};

TEST(Costs, TimePerWeightIsLinearBetweenRows) {
  const std::vector<machine::RowsRate> rates = {{1, 1e9}, {5, 2.5e9}, {10, 4e9}};
  EXPECT_DOUBLE_EQ(seconds_per_weight(rates, 1), 1e-9);
  EXPECT_DOUBLE_EQ(seconds_per_weight(rates, 5), 2e-9);
  EXPECT_DOUBLE_EQ(seconds_per_weight(rates, 3), 1.5e-9);
  EXPECT_DOUBLE_EQ(seconds_per_weight(rates, 10), 2.5e-9);
  EXPECT_DOUBLE_EQ(seconds_per_weight(rates, 40), 1e-8);  // 40 / 4e9
  EXPECT_DOUBLE_EQ(seconds_per_weight(rates, 0.5), 1e-9);
}

TEST(Costs, OfProducts) {
  const machine::Machine machine = test::made_up_machine();
  const Costs all(machine.processor.rates, &machine.processor, 4, kMatrix.bytes);
  EXPECT_NEAR(all.dense(kMatrix, 1), 1e-4, 1e-12);   // 10^6 / 10^10
  EXPECT_NEAR(all.dense(kMatrix, 64), 8e-4, 1e-12);  // 64 * 10^6 / (8 * 10^10)
  EXPECT_NEAR(all.dense(kMatrix, 128), 1.6e-3, 1e-12);
  Product fine = kMatrix;
  fine.fine = true;
  EXPECT_NEAR(all.dense(fine, 64), 1.6e-3, 1e-12) << "two rows for one";
  EXPECT_NEAR(all.expert({kMatrix, kMatrix, kMatrix}, 1), 3e-4, 1e-12);
}

TEST(Costs, FewerThreadsReadMemoryAsFastAsTheyCan) {
  const machine::Machine machine = test::made_up_machine();
  const Costs two(machine.processor.rates, &machine.processor, 2, 0);
  // 20 of 25 GB/s for one row; half of the products for many: 10^-4 / 0.8 + (8 - 1) * 10^-4 / 0.5.
  EXPECT_NEAR(two.dense(kMatrix, 1), 1e-4 / 0.8, 1e-12);
  EXPECT_NEAR(two.dense(kMatrix, 64), 1e-4 / 0.8 + 7e-4 / 0.5, 1e-12);
  const Costs more(machine.processor.rates, &machine.processor, 64, 0);
  EXPECT_NEAR(more.dense(kMatrix, 1), 1e-4, 1e-12) << "no more than there are";
}

TEST(Costs, SmallModelsComeFromTheCache) {
  machine::Machine machine = test::made_up_machine();
  machine.processor.last_level_cache = 32 << 20;
  const auto cost = [&](uint64_t working) {
    return Costs(machine.processor.rates, &machine.processor, 4, working).dense(kMatrix, 1);
  };
  EXPECT_NEAR(cost(16 << 20), 5e-5, 1e-12);
  EXPECT_NEAR(cost(64 << 20), 1e-4, 1e-12);
  EXPECT_NEAR(cost(32 << 20), 7.5e-5, 1e-12);
}

TEST(Costs, ATypeThatWasNotMeasuredIsReadLikeTheUsualOne) {
  machine::Machine machine = test::made_up_machine();
  machine.processor.rates.types.erase("Q8_0");
  const Costs costs(machine.processor.rates, &machine.processor, 4, 0);
  const Product q8{quant::Type::kQ8_0, 1'000'000, 1'062'500};
  EXPECT_NEAR(costs.dense(q8, 1), 1e-4 * 272 / 144, 1e-10);  // bytes of 256 weights
}

TEST(Costs, OfAttention) {
  const machine::Machine machine = test::made_up_machine();
  const Costs costs(machine.processor.rates, &machine.processor, 4, 0);
  Work work;
  work.heads = 32;
  work.kv_heads = 4;
  work.head_dim = 128;
  // One row at position 999 sees 1000 positions of 2 * 512 elements at 1.25e9 per second.
  EXPECT_NEAR(costs.attention(work, 1, 999), 1000.0 * 1024 / 1.25e9, 1e-9);
  // 100 rows from 0 on see 50.5 on average: 2 * 4096 * 100 * 50.5 products at 10^10.
  EXPECT_NEAR(costs.attention(work, 100, 0), 2.0 * 4096 * 100 * 50.5 / 1e10, 1e-9);
}

TEST(Costs, OfReads) {
  const machine::DiskTimes disk = test::made_up_machine().disks.front();
  EXPECT_NEAR(disk_seconds(disk, 10, 10 << 20), 0.010, 1e-9);
  EXPECT_NEAR(disk_seconds(disk, 10, 5 << 20), 0.005, 1e-9) << "smaller ones";
  EXPECT_NEAR(disk_seconds(disk, 55, 55 << 20), 0.055, 1e-9);
  EXPECT_NEAR(disk_seconds(disk, 1000, 1000 << 20), 1.0, 1e-9);
  EXPECT_NEAR(disk_seconds(disk, 1, 1 << 20), 0.001, 1e-9);
  EXPECT_EQ(disk_seconds(disk, 0, 0), 0);
}

}  // namespace
}  // namespace sluice::plan
