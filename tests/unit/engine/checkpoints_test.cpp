// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoints.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

namespace sluice::engine {
namespace {

Checkpoints::Entry entry(int64_t position, bool turn = false, size_t logits = 0) {
  auto memory = model::Snapshot::create({}, 8);
  if (!memory) throw std::runtime_error(memory.error().message);
  return {position, turn, std::make_shared<const model::Snapshot>(std::move(*memory)),
          std::vector<float>(logits, 1.0f)};
}

void add(Checkpoints& checkpoints, int64_t position, bool turn = false) {
  checkpoints.make_room(position);
  checkpoints.add(entry(position, turn));
}

std::vector<int64_t> positions(const Checkpoints& checkpoints) {
  std::vector<int64_t> out;
  for (const auto& one : checkpoints.entries()) out.push_back(one.position);
  return out;
}

using Positions = std::vector<int64_t>;

TEST(Checkpoints, KeepsNoneWithoutALimit) {
  Checkpoints none;
  EXPECT_EQ(none.limit(), 0);
  EXPECT_FALSE(none.due(100000));
  EXPECT_EQ(none.nearest(100000), nullptr);
  EXPECT_EQ(none.newest(), 0);
  none.truncate(0);
  EXPECT_DEATH(none.add(entry(1)), "no room");
}

TEST(Checkpoints, AreDueAStepBehindTheLast) {
  Checkpoints checkpoints(4, 100);
  EXPECT_FALSE(checkpoints.due(0));
  EXPECT_FALSE(checkpoints.due(99));
  EXPECT_TRUE(checkpoints.due(100));
  add(checkpoints, 130);
  EXPECT_FALSE(checkpoints.due(229));
  EXPECT_TRUE(checkpoints.due(230));
  checkpoints.truncate(100);
  EXPECT_TRUE(checkpoints.due(100));

  Checkpoints always(4, 0);
  EXPECT_FALSE(always.due(0));
  EXPECT_TRUE(always.due(1));
  add(always, 1);
  EXPECT_FALSE(always.due(1));
  EXPECT_FALSE(Checkpoints(4, -1).due(100000));
}

TEST(Checkpoints, TheNearestIsTheLastBefore) {
  Checkpoints checkpoints(4, 100);
  for (const int64_t position : {100, 200, 350}) add(checkpoints, position);
  EXPECT_EQ(checkpoints.nearest(99), nullptr);
  EXPECT_EQ(checkpoints.nearest(100)->position, 100);
  EXPECT_EQ(checkpoints.nearest(349)->position, 200);
  EXPECT_EQ(checkpoints.nearest(100000)->position, 350);
  checkpoints.truncate(349);
  EXPECT_EQ(positions(checkpoints), (Positions{100, 200}));
  EXPECT_EQ(checkpoints.newest(), 200);
  EXPECT_DEATH(checkpoints.add(entry(200)), "before the newest");
}

TEST(Checkpoints, BytesAreThoseOfMemoryAndLogits) {
  Checkpoints checkpoints(4, 100);
  checkpoints.add(entry(100));
  const uint64_t one = sizeof(model::SnapshotHeader) + 8;
  EXPECT_EQ(checkpoints.bytes(), one);
  checkpoints.add(entry(200, true, 10));
  EXPECT_EQ(checkpoints.bytes(), 2 * one + 40);
  checkpoints.truncate(150);
  EXPECT_EQ(checkpoints.bytes(), one);
}

TEST(Checkpoints, TheNewestMayTurnOutToBeATurn) {
  Checkpoints checkpoints(4, 100);
  checkpoints.add(entry(100));
  checkpoints.mark_turn({});
  EXPECT_TRUE(checkpoints.entries()[0].turn);
  EXPECT_TRUE(checkpoints.entries()[0].logits.empty());
  const std::vector<float> logits{1, 2};
  checkpoints.mark_turn(logits);
  EXPECT_EQ(checkpoints.entries()[0].logits, logits);
  checkpoints.mark_turn({});
  EXPECT_EQ(checkpoints.entries()[0].logits, logits);
}

// How much more than what follows a change has to be read again, at worst over all places of it.
double worst_excess(const Checkpoints& checkpoints, int64_t end) {
  double worst = 0;
  for (int64_t change = 0; change < end; change += 37) {
    const auto* from = checkpoints.nearest(change);
    const int64_t more = change - (from ? from->position : 0);
    worst =
        std::max(worst, static_cast<double>(more - 512) / static_cast<double>(end - change + 256));
  }
  return worst;
}

TEST(Checkpoints, ThinOutExponentially) {
  for (const auto& [limit, most] : {std::pair{6, 4.0}, {13, 1.0}, {32, 0.34}}) {
    Checkpoints checkpoints(limit, 512);
    double worst = 0;
    for (int64_t end = 512; end <= 128 * 1024; end += 512) {
      add(checkpoints, end);
      EXPECT_LE(checkpoints.entries().size(), static_cast<size_t>(limit));
      EXPECT_EQ(checkpoints.newest(), end);
      worst = std::max(worst, worst_excess(checkpoints, end + 511));
    }
    printf("%d checkpoints: worst excess %.2f\n", limit, worst);
    EXPECT_LE(worst, most) << limit;
  }
}

TEST(Checkpoints, TheNewestTurnsStay) {
  Checkpoints checkpoints(10, 512);
  std::mt19937 random(1);
  Positions turns;
  int64_t position = 0;
  for (int i = 0; i < 300; ++i) {
    position += 1 + random() % 600;
    const bool turn = random() % 4 == 0;
    add(checkpoints, position, turn);
    if (turn) turns.push_back(position);
    const Positions kept = positions(checkpoints);
    EXPECT_LE(kept.size(), 10u);
    for (size_t j = turns.size() - std::min<size_t>(turns.size(), 4); j < turns.size(); ++j)
      EXPECT_TRUE(std::ranges::find(kept, turns[j]) != kept.end()) << turns[j];
  }
}

TEST(Checkpoints, SmallLimits) {
  for (const int64_t limit : {1, 2, 3}) {
    Checkpoints checkpoints(limit, 512);
    for (int64_t position = 10; position < 1000; position += 10) {
      add(checkpoints, position, true);
      EXPECT_EQ(checkpoints.newest(), position);
      EXPECT_LE(static_cast<int64_t>(checkpoints.entries().size()), limit);
    }
  }
}

}  // namespace
}  // namespace sluice::engine
