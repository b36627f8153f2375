// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_policy.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace sluice::engine {
namespace {

// A text of which each guess behind right ones is right with probability `right`, on a machine
// where a step takes 1, and `cost` more for every guess.
struct World {
  double right;
  double cost;
};

class DraftPolicyTest : public testing::Test {
 protected:
  // Makes steps until `tokens` are there; returns how many were made with each number of guesses.
  std::map<int64_t, int> run(DraftPolicy& policy, const World& world, int64_t tokens) {
    std::map<int64_t, int> steps;
    for (int64_t made = 0; made < tokens;) {
      const int64_t guesses = policy.next();
      int64_t gained = 1;
      while (gained <= guesses && uniform_(random_) < world.right) ++gained;
      const double seconds = 1 + world.cost * static_cast<double>(guesses);
      policy.record(guesses, gained, seconds);
      made += gained;
      time_ += seconds;
      ++steps[guesses];
    }
    return steps;
  }

  static double share(const std::map<int64_t, int>& steps, int64_t guesses) {
    int all = 0;
    for (const auto& [n, count] : steps) all += count;
    const auto found = steps.find(guesses);
    return found == steps.end() ? 0 : static_cast<double>(found->second) / all;
  }

  std::mt19937 random_{1};
  std::uniform_real_distribution<double> uniform_;
  double time_ = 0;
};

TEST_F(DraftPolicyTest, FindsWhatIsFastest) {
  const struct {
    World world;
    int64_t best;
  } cases[] = {
      {{0.95, 0.1}, 3},  // 3.71 tokens in 1.3
      {{0.6, 0.35}, 1},  // 1.6 in 1.35, 1.96 in 1.7, 2.18 in 2.05, and 1 in 1
      {{0.1, 0.3}, 0},
      {{0.9, 1.0}, 0},
  };
  for (const auto& [world, best] : cases) {
    DraftPolicy policy(3);
    const auto steps = run(policy, world, 2000);
    EXPECT_GT(share(steps, best), 0.6) << world.right << " " << world.cost;
  }
}

// What never pays costs little: here a step with guesses is four times as slow.
TEST_F(DraftPolicyTest, IsOffWhereItDoesNotPay) {
  DraftPolicy policy(3);
  const auto steps = run(policy, {0.0, 1.0}, 4000);
  EXPECT_GT(share(steps, 0), 0.97);
  EXPECT_LT(time_, 4000 * 1.06);
  EXPECT_GE(steps.at(1), 5);  // but it is tried again
  EXPECT_GE(steps.at(3), 5);
}

TEST_F(DraftPolicyTest, ComesBackWhenItPaysAgain) {
  DraftPolicy policy(3);
  run(policy, {0.0, 0.5}, 500);
  const auto steps = run(policy, {0.95, 0.1}, 3000);
  EXPECT_GT(share(steps, 3), 0.4);
  const auto later = run(policy, {0.0, 1.0}, 500);
  EXPECT_GT(share(later, 0), 0.85);
}

TEST_F(DraftPolicyTest, BeginsWithTheMostGuesses) {
  DraftPolicy policy(2);
  std::vector<int64_t> tried;
  for (int i = 0; i < 9; ++i) {
    tried.push_back(policy.next());
    policy.record(tried.back(), 1, 1);
  }
  EXPECT_EQ(tried, (std::vector<int64_t>{2, 2, 2, 1, 1, 1, 0, 0, 0}));
}

TEST_F(DraftPolicyTest, NoneAllowed) {
  DraftPolicy policy(0);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(policy.next(), 0);
    policy.record(0, 1, 1);
  }
}

// Less than what was asked for may have been guessed, and a coarse clock may stand still.
TEST_F(DraftPolicyTest, FewerGuessesAndNoTime) {
  DraftPolicy policy(3, [] { return 5.0; });
  EXPECT_EQ(policy.now(), 5.0);
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(policy.next(), 3);
    policy.record(std::min<int64_t>(policy.next(), 1), 1, 0);
  }
}

}  // namespace
}  // namespace sluice::engine
