// SPDX-License-Identifier: Apache-2.0
#include "server/machine_feed.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using residency::Tier;

const std::chrono::steady_clock::time_point kStart{1000s};

class MachineFeedTest : public testing::Test {
 protected:
  MachineFeedTest() {
    now_.at = kStart;
    now_.census.tiers.assign(8, Tier::kDisk);
    now_.census.uses.assign(8, 0);
  }
  // A quarter of a second later.
  json next(bool all_tiers = false) {
    now_.at += 250ms;
    feed_.add(now_);
    return json::parse(feed_.event(all_tiers));
  }
  void use(size_t key) { ++now_.census.uses[key]; }

  MachineFeed feed_{kStart};
  engine::MachineSample now_;
};

TEST_F(MachineFeedTest, TheFirstEventHasEverythingAndNothingNew) {
  now_.census.tiers[2] = Tier::kMemory;
  now_.census.tiers[5] = Tier::kDevice;
  now_.census.uses[2] = 7;  // long ago
  now_.ram_bytes = 123;
  const json event = next(true);
  EXPECT_EQ(event["t"], 250);
  EXPECT_EQ(event["tiers"], "00100200");
  EXPECT_EQ(event["changes"], json::array());
  EXPECT_EQ(event["lit"], json::array());
  EXPECT_EQ(event["memory"], json({{"ram", 123}}));
  EXPECT_EQ(event["disk_rate"], 0);
  EXPECT_EQ(event["tokens_per_second"], 0);
  EXPECT_FALSE(event.contains("hits")) << "nothing was used";
  EXPECT_FALSE(event.contains("token"));
  EXPECT_FALSE(event.contains("link_rate")) << "without a device";
}

TEST_F(MachineFeedTest, LaterEventsHaveWhatChanged) {
  now_.census.tiers[2] = Tier::kMemory;
  next(true);
  now_.census.tiers[2] = Tier::kDisk;
  now_.census.tiers[7] = Tier::kDevice;
  use(2);
  use(6);
  const json event = next();
  EXPECT_FALSE(event.contains("tiers"));
  EXPECT_EQ(event["changes"], json::parse("[[2,0],[7,2]]"));
  EXPECT_EQ(event["lit"], json::parse("[2,6]"));
  EXPECT_EQ(next()["lit"], json::array());
}

TEST_F(MachineFeedTest, CountersOfUsesMayWrapAround) {
  now_.census.uses[3] = UINT32_MAX;
  next();
  use(3);
  EXPECT_EQ(next()["lit"], json::parse("[3]"));
}

TEST_F(MachineFeedTest, AfterAPauseNothingIsComparedWithBefore) {
  next();
  feed_.pause();
  use(1);
  now_.census.tiers[1] = Tier::kMemory;
  now_.sampled_tokens = 1000;
  now_.cache.bytes_read = 1 << 30;
  const json event = next(true);
  EXPECT_EQ(event["lit"], json::array());
  EXPECT_EQ(event["changes"], json::array());
  EXPECT_EQ(event["tiers"], "01000000");
  EXPECT_EQ(event["tokens_per_second"], 0);
  EXPECT_EQ(event["disk_rate"], 0);
}

TEST_F(MachineFeedTest, RatesAreOfTheLastTwoSeconds) {
  for (int n = 0; n < 20; ++n) {
    now_.sampled_tokens += 5;
    now_.cache.bytes_read += 1000;
    next();
  }
  json event = next();  // a quarter without any
  EXPECT_NEAR(event["tokens_per_second"].get<double>(), 7 * 5 / 2.0, 0.01);
  EXPECT_EQ(event["disk_rate"], 3500);
  for (int n = 0; n < 8; ++n) event = next();
  EXPECT_EQ(event["tokens_per_second"], 0);
  EXPECT_EQ(event["disk_rate"], 0);
}

TEST_F(MachineFeedTest, ABeginningIsNotAveragedWithTheSilenceBefore) {
  for (int n = 0; n < 12; ++n) next();
  now_.sampled_tokens += 5;
  EXPECT_NEAR(next()["tokens_per_second"].get<double>(), 20, 0.01);
  now_.sampled_tokens += 5;
  EXPECT_NEAR(next()["tokens_per_second"].get<double>(), 20, 0.01);
}

TEST_F(MachineFeedTest, SharesOfHitsStayWhileNothingIsUsed) {
  next();
  now_.cache.requests = 100;
  now_.cache.hits = 64;
  EXPECT_EQ(next()["hits"], json({{"ram", 0.64}}));
  for (int n = 0; n < 20; ++n) next();
  EXPECT_EQ(next()["hits"], json({{"ram", 0.64}}));
}

TEST_F(MachineFeedTest, WithADevice) {
  now_.device.emplace();
  now_.vram_bytes = 55;
  next();
  now_.cache.requests = 60;  // what the device had not
  now_.cache.hits = 30;
  now_.device->requests = 100;
  now_.device->hits = 40;
  now_.device->bytes_in = 300;
  now_.device->bytes_out = 200;
  now_.last_token = engine::TokenStep{10ms, 6ms, 2ms};
  const json event = next();
  EXPECT_EQ(event["hits"], json({{"vram", 0.4}, {"ram", 0.3}}));
  EXPECT_EQ(event["link_rate"], 2000);
  EXPECT_EQ(event["memory"], json({{"vram", 55}, {"ram", 0}}));
  EXPECT_EQ(event["token"], json({{"gpu_ms", 4.0}, {"cpu_ms", 4.0}, {"waiting_ms", 2.0}}));
}

TEST_F(MachineFeedTest, TheLastTokensTime) {
  now_.last_token = engine::TokenStep{10ms, 6ms, 2ms};
  EXPECT_EQ(next()["token"], json({{"attention_ms", 4.0}, {"cpu_ms", 4.0}, {"waiting_ms", 2.0}}));
}

TEST_F(MachineFeedTest, AModelWithoutExperts) {
  now_.census = {};
  now_.sampled_tokens = 3;
  next();
  const json event = next(true);
  EXPECT_EQ(event["tiers"], "");
  EXPECT_EQ(event["lit"], json::array());
}

}  // namespace
}  // namespace sluice::server
