// SPDX-License-Identifier: Apache-2.0
#include "residency/replay.h"

#include <gtest/gtest.h>

#include <fstream>

#include "../temp_folder.h"

namespace sluice::residency {
namespace {

// One layer, one request for each step.
Trace single(std::vector<std::vector<int32_t>> steps, int32_t experts = 8) {
  Trace trace{1, experts, {}};
  for (std::vector<int32_t>& step : steps)
    trace.requests.push_back({trace.steps(), 0, std::move(step)});
  return trace;
}

TEST(Replay, LruKeepsWhatWasUsedLast) {
  // 0 and 1 come in; 0 is used again, so 2 replaces 1.
  const Trace trace = single({{0}, {1}, {0}, {2}, {0}, {1}});
  const HitCount count = replay_lru(trace, 2);
  EXPECT_EQ(count.requests, 6u);
  EXPECT_EQ(count.hits, 2u);
}

TEST(Replay, LruWithoutSlotsHitsNothingAndWithAllMissesEachExpertOnce) {
  const Trace trace = single({{0, 1}, {1, 2}, {0, 2}, {3, 0}});
  EXPECT_EQ(replay_lru(trace, 0).hits, 0u);
  EXPECT_EQ(replay_lru(trace, 8).hits, 8u - 4u);
}

TEST(Replay, LayersHaveSlotsOfTheirOwn) {
  Trace trace{2, 4, {}};
  trace.requests = {{0, 0, {0}}, {0, 1, {1}}, {1, 0, {0}}, {1, 1, {0}}};
  const HitCount count = replay_lru(trace, 1);
  EXPECT_EQ(count.hits, 1u);  // layer 0's second; layer 1 asked for another expert
  EXPECT_EQ(count.requests, 4u);
}

TEST(Replay, EarlyStepsFillButDoNotCount) {
  const Trace trace = single({{0, 1, 2}, {0}, {3}});
  const HitCount count = replay_lru(trace, 4, 1);
  EXPECT_EQ(count.requests, 2u);
  EXPECT_EQ(count.hits, 1u);
}

TEST(Replay, StaticHoldsTheMostUsedOfAnotherTrace) {
  const Trace chosen_on = single({{5, 6}, {5, 6}, {5, 7}});
  const Trace trace = single({{5}, {6}, {7}, {0}});
  EXPECT_EQ(replay_static(chosen_on, trace, 2).hits, 2u);
  EXPECT_EQ(replay_static(chosen_on, trace, 3).hits, 3u);
  EXPECT_EQ(replay_static(trace, chosen_on, 1).hits, 0u);  // of equals the lowest id, expert 0
  EXPECT_EQ(replay_static(chosen_on, trace, 8).hits, 4u);
}

TEST(Replay, PercentBecomesWholeSlots) {
  const Trace trace = single({}, 128);
  EXPECT_EQ(slots_of(trace, 12.5), 16);
  EXPECT_EQ(slots_of(trace, 40), 51);
  EXPECT_EQ(slots_of(trace, 0), 0);
}

TEST(Trace, WhatIsWrittenIsRead) {
  const test::TempFolder folder;
  const std::string path = folder.file("trace");
  auto writer = TraceWriter::create(path, 3, 16);
  ASSERT_TRUE(writer);
  // Three layers, of which the second is not one with experts.
  for (const int32_t expert : {4, 15}) {
    const int32_t ids[] = {0, expert};
    writer->record(0, ids);
    writer->record(2, {ids + 1, 1});
  }
  ASSERT_TRUE(writer->finish());
  const auto trace = read_trace(path);
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_EQ(trace->layers, 3);
  EXPECT_EQ(trace->experts, 16);
  EXPECT_EQ(trace->steps(), 2);
  ASSERT_EQ(trace->requests.size(), 4u);
  EXPECT_EQ(trace->requests[1].step, 0);
  EXPECT_EQ(trace->requests[1].layer, 2);
  EXPECT_EQ(trace->requests[2].step, 1);
  EXPECT_EQ(trace->requests[2].experts, (std::vector<int32_t>{0, 15}));
}

TEST(Trace, DamageIsNamedByLine) {
  const test::TempFolder folder;
  const std::string path = folder.file("trace");
  const std::string good = "sluice-trace 1 2 4\n0 0 1 2\n";
  const auto error_of = [&](const std::string& text) {
    std::ofstream(path) << text;
    const auto trace = read_trace(path);
    return trace ? std::string() : trace.error().message;
  };
  EXPECT_EQ(error_of(good), "");
  for (const char* bad : {"0 2 1", "0 0 4", "0 0 -1", "0 0", "0 0 1 ", "0 0 1x", "", "x"}) {
    const std::string message = error_of(good + bad + "\n");
    EXPECT_NE(message.find("line 3"), std::string::npos) << bad << ": " << message;
  }
  EXPECT_NE(error_of(good + "1 0 1\n0 1 1\n").find("line 4"), std::string::npos);  // steps go up
  for (const char* bad : {"", "hello\n", "sluice-trace 2 2 4\n", "sluice-trace 1 2\n"})
    EXPECT_NE(error_of(bad).find("no trace"), std::string::npos) << bad;
  const auto missing = read_trace(folder.file("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace sluice::residency
