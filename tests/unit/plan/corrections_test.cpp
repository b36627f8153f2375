// SPDX-License-Identifier: Apache-2.0
#include "plan/corrections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "../temp_folder.h"
#include "storage/cache_folder.h"

namespace sluice::plan {
namespace {

using testing::HasSubstr;

TEST(Corrections, ASteadyErrorIsLearned) {
  Correction c;
  // Everything takes half as long again as the plan says.
  for (int i = 0; i < 20; ++i) c.learn(c.factor * 2.0, 3.0);
  EXPECT_NEAR(c.factor, 1.5, 0.01);
  EXPECT_LT(c.interval(1.4), 1.4);
  EXPECT_EQ(c.count, 20);
}

TEST(Corrections, OneOddRunChangesLittle) {
  Correction c;
  for (int i = 0; i < 10; ++i) c.learn(c.factor, 1.0);
  c.learn(c.factor, 1000.0);
  EXPECT_LT(c.factor, 1.25);
  for (int i = 0; i < 20; ++i) c.learn(c.factor, 1.0);
  EXPECT_NEAR(c.factor, 1, 0.01);
}

TEST(Corrections, StayInBounds) {
  Correction slow, fast;
  for (int i = 0; i < 1000; ++i) {
    slow.learn(1, 1e9);
    fast.learn(1e9, 1);
  }
  EXPECT_EQ(slow.factor, Correction::kMostFactor);
  EXPECT_EQ(fast.factor, Correction::kLeastFactor);
  EXPECT_TRUE(std::isfinite(slow.spread));
}

TEST(Corrections, WhatMakesNoSenseTeachesNothing) {
  Correction c;
  for (const double bad : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    c.learn(bad, 1);
    c.learn(1, bad);
  }
  EXPECT_EQ(c.count, 0);
  EXPECT_EQ(c.factor, 1);
  EXPECT_EQ(c.interval(1.3), 1.3) << "nothing was learned";
}

TEST(Corrections, AreRemembered) {
  Corrections c;
  c.identity = "one";
  c.of(Kind::kDisk) = {1.25, 0.1, 7};
  const auto read = parse_corrections(format_corrections(c), "c.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->identity, "one");
  EXPECT_EQ(read->of(Kind::kDisk).factor, 1.25);
  EXPECT_EQ(read->of(Kind::kDisk).count, 7);
  EXPECT_EQ(read->of(Kind::kDevice).factor, 1);
}

TEST(Corrections, DamagedFilesAreErrorsAndNothingIsTaken) {
  const auto error = [](const std::string& text) {
    const auto read = parse_corrections(text, "c.json");
    return read ? "" : read.error().message;
  };
  EXPECT_THAT(error("{"), HasSubstr("c.json: this is no JSON object"));
  EXPECT_THAT(error("[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(error(R"({"version": 2})"), HasSubstr("version must be 1"));
  EXPECT_THAT(error(R"({"version": 1})"), HasSubstr("identity is missing"));
  EXPECT_THAT(error(R"({"version": 1, "identity": "x"})"), HasSubstr("kinds is missing"));
  for (const char* entry : {"3", "{}", R"({"factor": 100, "spread": 0, "count": 1})",
                            R"({"factor": "1", "spread": 0, "count": 1})",
                            R"({"factor": 1, "spread": -1, "count": 1})"})
    EXPECT_THAT(
        error(fmt::format(R"({{"version": 1, "identity": "x", "kinds": {{"disk": {}}}}})", entry)),
        HasSubstr("kinds.disk"));

  const test::TempFolder folder;
  EXPECT_EQ(read_corrections(folder.path(), "one").of(Kind::kDisk).factor, 1);
  Corrections c;
  c.identity = "one";
  c.of(Kind::kDisk) = {2, 0.1, 7};
  ASSERT_TRUE(
      storage::replace_small_file(remembered_corrections(folder.path()), format_corrections(c)));
  EXPECT_EQ(read_corrections(folder.path(), "one").of(Kind::kDisk).factor, 2);
  EXPECT_EQ(read_corrections(folder.path(), "another").of(Kind::kDisk).factor, 1);
  std::ofstream(remembered_corrections(folder.path())) << "damaged";
  EXPECT_EQ(read_corrections(folder.path(), "one").of(Kind::kDisk).factor, 1);
}

}  // namespace
}  // namespace sluice::plan
