// SPDX-License-Identifier: Apache-2.0
#include "plan/hit_rates.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace sluice::plan {
namespace {

TEST(HitRates, AreThoseOfTheExperiment) {
  EXPECT_NEAR(hit_rate(0.25, 128, 8), 0.814, 1e-9);
  EXPECT_NEAR(hit_rate(0.25, 512, 10), 0.824, 1e-9);
  EXPECT_NEAR(hit_rate(0.4, 128, 8), 0.909, 1e-9);
  // Half-way between 0.25 and 0.4.
  EXPECT_NEAR(hit_rate(0.325, 128, 8), (0.814 + 0.909) / 2, 1e-9);
  // 256 experts: half-way between the two.
  EXPECT_NEAR(hit_rate(0.25, 256, 8), (0.814 + 0.824) / 2, 1e-9);
}

TEST(HitRates, RiseFromNothingToAll) {
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{8, 2},   {16, 4},   {64, 6},   {128, 8},
                                                           {256, 8}, {512, 10}, {1024, 8}, {4, 4}};
  for (const auto& [experts, used] : shapes) {
    double before = 0;
    for (double held = 0; held <= 1.0001; held += 0.01) {
      const double rate = hit_rate(held, experts, used);
      EXPECT_GE(rate, before - 1e-12) << experts << " " << held;
      EXPECT_LE(rate, 1);
      before = rate;
    }
    EXPECT_EQ(hit_rate(0, experts, used), 0);
    EXPECT_EQ(hit_rate(1, experts, used), 1);
  }
}

TEST(HitRates, WhereATokenUsesAllExpertsItFindsWhatIsHeld) {
  EXPECT_NEAR(hit_rate(0.3, 4, 4), 0.3, 1e-9);
}

TEST(HitRates, BatchesUseMoreExpertsTheLargerTheyAre) {
  EXPECT_NEAR(distinct_experts(1, 128, 8), 8, 1e-9);
  double before = 0;
  for (int64_t rows = 1; rows <= 4096; rows *= 2) {
    const double distinct = distinct_experts(rows, 128, 8);
    EXPECT_GT(distinct, before);
    EXPECT_LE(distinct, 128);
    EXPECT_LE(distinct, static_cast<double>(rows) * 8);
    before = distinct;
  }
}

TEST(HitRates, LargeBatchesFindWhatIsHeld) {
  EXPECT_NEAR(batch_hit_rate(0.3, 100000, 128, 8), 0.3, 0.01);
  EXPECT_GT(batch_hit_rate(0.3, 16, 128, 8), batch_hit_rate(0.3, 512, 128, 8));
  EXPECT_EQ(batch_hit_rate(1, 16, 128, 8), 1);
  EXPECT_EQ(batch_hit_rate(0, 16, 128, 8), 0);
}

}  // namespace
}  // namespace sluice::plan
