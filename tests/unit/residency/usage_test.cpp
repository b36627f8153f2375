// SPDX-License-Identifier: Apache-2.0
// What is remembered of earlier runs: written and read again, and nothing believed that is damaged.
#include "residency/usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "../temp_folder.h"

namespace sluice::residency {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kModel = 0x0123456789abcdef;

Usage some_usage(size_t experts) {
  Usage usage{kModel, {}};
  std::mt19937 random(7);
  for (size_t i = 0; i < experts; ++i) usage.heat.push_back(random() % 1000);
  return usage;
}

TEST(UsageTest, WhatIsWrittenIsRead) {
  const test::TempFolder folder;
  for (const size_t experts : {size_t{1}, size_t{128}, size_t{1000}}) {
    const Usage usage = some_usage(experts);
    const std::string path = usage_path(folder.path(), kModel);
    ASSERT_TRUE(write_usage(path, usage));
    const auto read = read_usage(path, kModel, experts);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->heat, usage.heat);
    EXPECT_EQ(read->model, kModel);
  }
}

TEST(UsageTest, NoFileIsNoUsage) {
  const test::TempFolder folder;
  const auto read = read_usage(usage_path(folder.path(), kModel), kModel, 10);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_THAT(read->heat, IsEmpty());
  EXPECT_THAT(read->hottest(5), IsEmpty());
}

TEST(UsageTest, EarlierRunsCountHalf) {
  Usage usage{kModel, {}};
  usage.add_run(std::vector<uint32_t>{8, 0, 1});
  EXPECT_THAT(usage.heat, ElementsAre(8, 0, 1));
  usage.add_run(std::vector<uint32_t>{1, 2, 0});
  EXPECT_THAT(usage.heat, ElementsAre(5, 2, 0));
  for (int i = 0; i < 100; ++i) usage.add_run(std::vector<uint32_t>{UINT32_MAX, 0, 0});
  EXPECT_TRUE(parse_usage(format_usage(usage), kModel, 3)) << "numbers stay in their range";
}

TEST(UsageTest, TheHottestInTheirOrder) {
  const Usage usage{kModel, {5, 0, 9, 1, 9, 0, 2}};
  EXPECT_THAT(usage.hottest(2), ElementsAre(2, 4));
  EXPECT_THAT(usage.hottest(3), ElementsAre(0, 2, 4));
  EXPECT_THAT(usage.hottest(100), ElementsAre(0, 2, 3, 4, 6)) << "never used: not hot";
  EXPECT_THAT(usage.hottest(0), IsEmpty());
}

TEST(UsageTest, AnotherModelIsRefused) {
  const std::string text = format_usage(some_usage(20));
  ASSERT_TRUE(parse_usage(text, kModel, 20));
  for (const auto& [model, experts] : {std::pair(kModel + 1, size_t{20}), {kModel, size_t{21}}}) {
    const auto other = parse_usage(text, model, experts);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().kind, ErrorKind::kBadFile);
    EXPECT_THAT(other.error().message, HasSubstr("another model"));
  }
}

TEST(UsageTest, NoDamageIsBelieved) {
  const std::string good = format_usage(some_usage(50));
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_usage(good.substr(0, n), kModel, 50));
  // The line end behind the last number is under the checksum too.
  for (size_t byte = 0; byte < good.size(); ++byte)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[byte] = static_cast<char>(bad[byte] ^ (1 << bit));
      const auto read = parse_usage(bad, kModel, 50);
      // Letters of hexadecimal numbers may change their case.
      if (read) {
        EXPECT_EQ(read->heat, some_usage(50).heat) << byte << "." << bit;
      }
    }
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string noise(random() % 400, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    EXPECT_FALSE(parse_usage(noise, kModel, 50));
    EXPECT_FALSE(parse_usage("sluice-usage 1 " + noise, kModel, 50));
  }
}

TEST(UsageTest, AMessageNamesTheFile) {
  const test::TempFolder folder;
  const std::string path = usage_path(folder.path(), kModel);
  Usage other = some_usage(10);
  other.model = 5;
  ASSERT_TRUE(write_usage(path, other));
  const auto read = read_usage(path, kModel, 10);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr(path));
}

}  // namespace
}  // namespace sluice::residency
