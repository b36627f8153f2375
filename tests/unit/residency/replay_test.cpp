// SPDX-License-Identifier: Apache-2.0
#include "residency/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "../temp_folder.h"

namespace sluice::residency {
namespace {

// One layer, one request for each step.
Trace single(std::vector<std::vector<int32_t>> steps, int32_t experts = 8) {
  Trace trace{1, experts, {}};
  for (std::vector<int32_t>& step : steps) {
    ExpertRequest request;
    request.step = trace.steps();
    request.experts = std::move(step);
    trace.requests.push_back(std::move(request));
  }
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
  trace.requests = {{0, 0, {0}, Use::kToken, {}},
                    {0, 1, {1}, Use::kToken, {}},
                    {1, 0, {0}, Use::kToken, {}},
                    {1, 1, {0}, Use::kToken, {}}};
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

TEST(Replay, OnePoolIsSharedByTheLayers) {
  Trace trace{2, 4, {}};
  for (int64_t step = 0; step < 10; ++step)
    trace.requests.push_back({step, 0, {0, 1}, Use::kToken, {}});
  trace.requests.push_back({10, 1, {0}, Use::kToken, {}});
  const ReplayCount count = replay(trace, one_pool(2, 2), Policy::kLru);
  EXPECT_EQ(count.token.hits, 18u);
  EXPECT_EQ(count.token.requests, 21u);
  EXPECT_EQ(count.scan.requests, 0u);
  EXPECT_EQ(count.misses(), 3u);
}

TEST(Replay, TheExpertsOfARequestStayUntilItEnds) {
  // 0 is the oldest when 2 comes, but asked for together with it.
  EXPECT_EQ(replay(single({{0}, {1}, {0, 2}, {0}}), one_pool(1, 2), Policy::kLru).token.hits, 2u);
  // Larger than the pool: served in rounds, the last of which stays.
  const Trace wide = single({{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}});
  for (const Policy policy : all_policies())
    EXPECT_EQ(replay(wide, one_pool(1, 2), policy).token.hits, 2u) << name_of(policy);
  EXPECT_EQ(replay_optimum(wide, one_pool(1, 2)).token.hits, 2u);
  EXPECT_EQ(replay(wide, one_pool(1, 0), Policy::kLru).misses(), 10u);
}

TEST(Replay, OptimumDropsWhatIsNeededLast) {
  //                             in     drops 2   hit  drops 0 or 1      hit
  const Trace trace = single({{0}, {1}, {2}, {3}, {0}, {1}, {3}, {0}, {1}});
  const ReplayCount best = replay_optimum(trace, one_pool(1, 3));
  EXPECT_EQ(best.misses(), 4u);
  EXPECT_EQ(replay(trace, one_pool(1, 3), Policy::kLru).misses(), 6u);
}

// Every choice of victims, for short traces.
uint64_t fewest_misses(const Trace& trace, size_t at, std::vector<int32_t> held, size_t slots) {
  if (at == trace.requests.size()) return 0;
  const int32_t expert = trace.requests[at].experts[0];
  if (std::find(held.begin(), held.end(), expert) != held.end())
    return fewest_misses(trace, at + 1, held, slots);
  if (held.size() < slots) {
    held.push_back(expert);
    return 1 + fewest_misses(trace, at + 1, std::move(held), slots);
  }
  uint64_t best = UINT64_MAX;
  for (size_t i = 0; i < held.size(); ++i) {
    std::vector<int32_t> next = held;
    next[i] = expert;
    best = std::min(best, 1 + fewest_misses(trace, at + 1, std::move(next), slots));
  }
  return best;
}

TEST(Replay, OptimumIsTheOptimum) {
  std::mt19937 random(5);
  for (int run = 0; run < 60; ++run) {
    std::vector<std::vector<int32_t>> steps;
    for (int i = 0; i < 13; ++i) steps.push_back({static_cast<int32_t>(random() % 6)});
    const Trace trace = single(std::move(steps));
    for (const size_t slots : {1, 2, 3, 4})
      EXPECT_EQ(replay_optimum(trace, one_pool(1, static_cast<int64_t>(slots))).misses(),
                fewest_misses(trace, 0, {}, slots));
  }
}

TEST(Replay, ScansAreCountedApartAndResisted) {
  Trace trace = single({{0, 1}, {0, 1}, {2, 3, 4, 5}, {0, 1}});
  trace.requests[2].use = Use::kScan;
  const Pools pools = one_pool(1, 4);
  const ReplayCount plain = replay(trace, pools, Policy::kLru);
  EXPECT_EQ(plain.token.hits, 2u);
  EXPECT_EQ(plain.scan.requests, 4u);
  // Its own experts stay while it is served, so that one of the four pushes out 0 or 1.
  for (const Policy policy : {Policy::kScanLru, Policy::kLfru})
    EXPECT_GT(replay(trace, one_pool(1, 5), policy).token.hits, plain.token.hits)
        << name_of(policy);
  trace.requests[2].lasting = {0, 0, 1, 0};
  trace.requests.push_back({4, 0, {4}, Use::kToken, {}});
  const ReplayCount lasting = replay(trace, one_pool(1, 5), Policy::kScanLru);
  EXPECT_GE(lasting.token.hits, 4u);  // 4 was used like a token's
}

TEST(Replay, PoolsBySizeShareTheBytes) {
  const std::vector<uint64_t> sizes = {100, 300, 0, 100, 300};
  const Pools pools = pools_by_size(sizes, 8, 3200);  // half of 2 * 8 * 100 + 2 * 8 * 300
  ASSERT_EQ(pools.pools.size(), 2u);
  EXPECT_EQ(pools.pool_of_layer, (std::vector<int32_t>{0, 1, -1, 0, 1}));
  EXPECT_EQ(pools.pools[0].slots, 8);
  EXPECT_EQ(pools.pools[1].slots, 8);
  EXPECT_EQ(pools.slots(), 16);
  EXPECT_EQ(pools_by_size(sizes, 8, UINT64_MAX).slots(), 32);
  EXPECT_EQ(pools_by_size(sizes, 8, 0).slots(), 0);
  const Pools largest = pool_of_largest(sizes, 3200);
  ASSERT_EQ(largest.pools.size(), 1u);
  EXPECT_EQ(largest.slots(), 10);
  EXPECT_EQ(pool_of_largest(std::vector<uint64_t>{}, 3200).slots(), 0);
}

TEST(Replay, MissesReadTheBytesOfTheirLayer) {
  Trace trace{2, 4, {}};
  trace.requests = {{0, 0, {0, 1}, Use::kToken, {}},
                    {0, 1, {2}, Use::kToken, {}},
                    {1, 0, {0, 3}, Use::kToken, {}},
                    {1, 1, {2}, Use::kToken, {}}};
  const std::vector<uint64_t> sizes = {100, 300};
  const Pools pools = pools_by_size(sizes, 4, 1600);
  EXPECT_EQ(replay(trace, pools, Policy::kLru).bytes_read, 600u);
  EXPECT_EQ(replay_optimum(trace, pools).bytes_read, 600u);
  EXPECT_EQ(replay(trace, pools, Policy::kLru, 1).bytes_read, 100u);
  EXPECT_EQ(replay(trace, pools, Policy::kLru, 1).token.requests, 3u);
}

// Traces of models with calibrated routing, see tests/data/traces/README.md.
TEST(Replay, TheDefaultHitsAtLeastAsOftenAsLruOnCalibratedTraces) {
  for (const char* name : {"128-experts", "512-experts"}) {
    const auto trace = read_trace(std::string(SLUICE_TEST_DATA "/data/traces/") + name + ".trace");
    ASSERT_TRUE(trace) << trace.error().message;
    // Beyond this nearly all misses are first uses, which no policy changes.
    for (const double percent : {12.5, 25.0, 40.0, 60.0}) {
      SCOPED_TRACE(testing::Message() << name << " " << percent << " %");
      const Pools pools = one_pool(trace->layers, slots_of(*trace, percent) * trace->layers);
      const ReplayCount lru = replay(*trace, pools, Policy::kLru);
      const ReplayCount chosen = replay(*trace, pools, kDefaultPolicy);
      const ReplayCount best = replay_optimum(*trace, pools);
      EXPECT_LT(chosen.misses(), lru.misses());
      EXPECT_GT(chosen.token.hits, lru.token.hits);
      for (const Policy policy : all_policies())
        EXPECT_LE(best.misses(), replay(*trace, pools, policy).misses()) << name_of(policy);
    }
  }
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

TEST(Trace, ScansAndWhatLastsOfThem) {
  const test::TempFolder folder;
  const std::string path = folder.file("trace");
  auto writer = TraceWriter::create(path, 1, 16);
  ASSERT_TRUE(writer);
  const int32_t ids[] = {1, 4, 15};
  const uint8_t lasting[] = {0, 1, 1};
  writer->record(0, ids, Use::kScan, lasting);
  writer->record(0, ids, Use::kScan);
  writer->record(0, ids, Use::kToken, lasting);  // tokens' experts all last
  ASSERT_TRUE(writer->finish());
  const auto trace = read_trace(path);
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->requests.size(), 3u);
  for (const ExpertRequest& request : trace->requests)
    EXPECT_EQ(request.experts, (std::vector<int32_t>{1, 4, 15}));
  const auto uses = [&](size_t i) {
    const ExpertRequest& request = trace->requests[i];
    return std::vector<Use>{request.use_of(0), request.use_of(1), request.use_of(2)};
  };
  EXPECT_EQ(uses(0), (std::vector<Use>{Use::kScan, Use::kToken, Use::kToken}));
  EXPECT_EQ(uses(1), (std::vector<Use>{Use::kScan, Use::kScan, Use::kScan}));
  EXPECT_EQ(uses(2), (std::vector<Use>{Use::kToken, Use::kToken, Use::kToken}));
  EXPECT_EQ(trace->requests[2].use, Use::kToken);
}

TEST(Trace, Version1HasTokensOnly) {
  const test::TempFolder folder;
  std::ofstream(folder.file("trace")) << "sluice-trace 1 2 8\n0 0 1 2\n0 1 7\n1 0 3\n";
  const auto trace = read_trace(folder.file("trace"));
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->requests.size(), 3u);
  EXPECT_EQ(trace->requests[0].experts, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(trace->requests[0].use, Use::kToken);
  EXPECT_EQ(trace->steps(), 2);
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
  for (const char* bad : {"0 2 1", "0 0 4", "0 0 -1", "0 0", "0 0 1 ", "0 0 1x", "", "x", "0 0 1+",
                          "0 0 t 1", "0 0 2 1", "0 0 1 1"}) {
    const std::string message = error_of(good + bad + "\n");
    EXPECT_NE(message.find("line 3"), std::string::npos) << bad << ": " << message;
  }
  const std::string second = "sluice-trace 2 2 4\n0 0 t 1 2\n";
  EXPECT_EQ(error_of(second + "1 0 s 1+ 3\n"), "");
  for (const char* bad : {"0 1 1", "0 1 x 1", "0 1 t", "0 1 t ", "0 1 s", "0 1 ts 1", "0 1 t 1+",
                          "0 1 s 1++", "0 1 s +1", "0 1 s 1 +", "0 1 s 4", "0 1 s 2 1"}) {
    const std::string message = error_of(second + bad + "\n");
    EXPECT_NE(message.find("line 3"), std::string::npos) << bad << ": " << message;
  }
  EXPECT_NE(error_of(good + "1 0 1\n0 1 1\n").find("line 4"), std::string::npos);  // steps go up
  for (const char* bad :
       {"", "hello\n", "sluice-trace 3 2 4\n", "sluice-trace 0 2 4\n", "sluice-trace 1 2\n"})
    EXPECT_NE(error_of(bad).find("no trace"), std::string::npos) << bad;
  const auto missing = read_trace(folder.file("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace sluice::residency
