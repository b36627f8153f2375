// SPDX-License-Identifier: Apache-2.0
#include "residency/eviction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "../engine/allocations.h"

namespace sluice::residency {
namespace {

using testing::ElementsAre;

constexpr auto kAny = [](int32_t) { return true; };
constexpr int32_t kKeys = 64;

std::unique_ptr<Eviction> make(Policy policy, int32_t token_uses = 4) {
  return make_eviction(policy, kKeys, token_uses);
}

void insert(Eviction& order, std::initializer_list<int32_t> keys, Use use = Use::kToken) {
  for (const int32_t key : keys) order.insert(key, use);
}
void touch(Eviction& order, std::initializer_list<int32_t> keys, Use use = Use::kToken) {
  for (const int32_t key : keys) order.touch(key, use);
}

// Everything in the order of leaving, taken out.
std::vector<int32_t> drain(Eviction& order) {
  std::vector<int32_t> keys;
  for (int32_t key; (key = order.victim(kAny)) >= 0;) {
    order.erase(key);
    keys.push_back(key);
  }
  return keys;
}

class EvictionTest : public testing::TestWithParam<Policy> {};

TEST_P(EvictionTest, NamesAreRead) {
  EXPECT_EQ(policy_named(name_of(GetParam())), GetParam());
  EXPECT_FALSE(policy_named(std::string(name_of(GetParam())) + "x"));
}

TEST_P(EvictionTest, NobodyLeavesAnEmptyOrder) {
  const auto order = make(GetParam());
  EXPECT_EQ(order->victim(kAny), -1);
  order->insert(3, Use::kToken);
  EXPECT_EQ(order->victim([](int32_t key) { return key != 3; }), -1);
  EXPECT_EQ(order->victim(kAny), 3);
  order->erase(3);
  EXPECT_EQ(order->victim(kAny), -1);
}

// Against a set: victims are there and may leave, and all that is there can be drained.
TEST_P(EvictionTest, KeepsTheBooksUnderAnyUse) {
  const auto order = make(GetParam());
  std::set<int32_t> present;
  std::mt19937 random(7);
  for (int step = 0; step < 20000; ++step) {
    const auto key = static_cast<int32_t>(random() % kKeys);
    const Use use = random() % 3 == 0 ? Use::kScan : Use::kToken;
    if (present.contains(key) && random() % 4 == 0) {
      order->erase(key);
      present.erase(key);
    } else if (present.contains(key)) {
      order->touch(key, use);
    } else {
      order->insert(key, use);
      present.insert(key);
    }
    const auto may_leave = [step](int32_t other) { return (other + step) % 5 != 0; };
    const int32_t victim = order->victim(may_leave);
    const bool any = std::any_of(present.begin(), present.end(), may_leave);
    ASSERT_EQ(victim >= 0, any);
    if (!any) continue;
    ASSERT_TRUE(present.contains(victim) && may_leave(victim));
    ASSERT_EQ(order->victim(may_leave), victim);  // asking changes nothing
  }
  const std::vector<int32_t> all = drain(*order);
  EXPECT_EQ(std::set<int32_t>(all.begin(), all.end()), present);
  EXPECT_EQ(all.size(), present.size());
}

TEST_P(EvictionTest, NothingIsAllocatedAfterConstruction) {
  const auto order = make(GetParam());
  std::mt19937 random(9);
  const size_t before = test::allocations();
  for (int32_t key = 0; key < kKeys; ++key)
    order->insert(key, key % 3 == 0 ? Use::kScan : Use::kToken);
  for (int step = 0; step < 1000; ++step) {
    order->touch(static_cast<int32_t>(random() % kKeys), Use::kToken);
    const int32_t leaves = order->victim([step](int32_t key) { return key % 7 != step % 7; });
    order->erase(leaves);
    order->insert(leaves, step % 5 == 0 ? Use::kScan : Use::kToken);
  }
  EXPECT_EQ(test::allocations(), before);
}

// Whoever must stay, the order of the others is the same.
TEST_P(EvictionTest, KeysThatMustStayArePassedOver) {
  const auto order = make(GetParam());
  std::mt19937 random(3);
  for (int32_t key = 0; key < kKeys; ++key) order->insert(key, Use::kToken);
  for (int i = 0; i < 200; ++i) order->touch(static_cast<int32_t>(random() % kKeys), Use::kToken);
  const auto even = [](int32_t key) { return key % 2 == 0; };
  std::vector<int32_t> first;
  for (int32_t key; (key = order->victim(even)) >= 0;) {
    EXPECT_TRUE(even(key));
    order->erase(key);
    first.push_back(key);
  }
  EXPECT_EQ(first.size(), size_t{kKeys / 2});
  EXPECT_EQ(drain(*order).size(), size_t{kKeys / 2});
}

INSTANTIATE_TEST_SUITE_P(All, EvictionTest,
                         testing::ValuesIn(all_policies().begin(), all_policies().end()),
                         [](const auto& tested) {
                           std::string name;
                           for (const char c : name_of(tested.param))
                             if (c != '-') name += c;
                           return name;
                         });

TEST(Lru, TheLastUsedLeavesLast) {
  const auto order = make(Policy::kLru);
  insert(*order, {1, 2, 3});
  insert(*order, {4}, Use::kScan);  // makes no difference
  touch(*order, {2});
  touch(*order, {1}, Use::kScan);
  EXPECT_THAT(drain(*order), ElementsAre(3, 4, 2, 1));
}

TEST(ScanLru, AScanPromotesNothingAndLeavesFirst) {
  const auto order = make(Policy::kScanLru);
  insert(*order, {1, 2, 3});
  insert(*order, {4, 5}, Use::kScan);
  touch(*order, {1}, Use::kScan);
  EXPECT_EQ(order->victim(kAny), 5);
  touch(*order, {5});  // a token's use makes it like the others
  EXPECT_THAT(drain(*order), ElementsAre(4, 1, 2, 3, 5));
}

TEST(SegmentedLru, WhoWasUsedTwiceOutlivesNewcomers) {
  const auto order = make(Policy::kSegmentedLru);
  insert(*order, {1, 2, 3, 4, 5});
  touch(*order, {1, 2});
  insert(*order, {6});
  insert(*order, {7}, Use::kScan);
  EXPECT_THAT(drain(*order), ElementsAre(7, 3, 4, 5, 6, 1, 2));
}

TEST(SegmentedLru, TooManyProtectedGoBackToProbation) {
  const auto order = make(Policy::kSegmentedLru);
  insert(*order, {1, 2, 3, 4, 5});
  touch(*order, {1, 2, 3, 4, 5});  // four of five may be protected
  insert(*order, {6});
  EXPECT_THAT(drain(*order), ElementsAre(1, 6, 2, 3, 4, 5));
}

TEST(TwoQueues, WhoIsAskedForAgainAfterLeavingIsKept) {
  const auto order = make(Policy::kTwoQueues);
  insert(*order, {1, 2, 3, 4});
  touch(*order, {1});  // soon after the first use: says nothing
  ASSERT_EQ(order->victim(kAny), 1);
  order->erase(1);
  insert(*order, {5, 1});  // comes back into the main queue
  EXPECT_EQ(order->victim([](int32_t key) { return key == 1 || key == 5; }), 5);
  insert(*order, {6, 7}, Use::kScan);
  EXPECT_EQ(order->victim(kAny), 7);
}

TEST(TwoQueues, OnlyTheLastThatLeftAreRemembered) {
  const auto order = make(Policy::kTwoQueues);
  insert(*order, {1, 2, 3, 4, 5, 6, 7, 8});
  for (const int32_t key : {1, 2, 3, 4}) order->erase(key);  // four stay: two are remembered
  insert(*order, {1, 4});
  EXPECT_EQ(order->victim([](int32_t key) { return key == 1 || key == 4; }), 1);
}

TEST(Lfru, UsesCountAndFade) {
  // One use for each token: a half-life of eight uses.
  const auto order = make(Policy::kLfru, 1);
  insert(*order, {1});
  touch(*order, {1, 1, 1});
  insert(*order, {2});
  EXPECT_THAT(order->victim(kAny), 2);  // four uses against one
  insert(*order, {3});
  for (int i = 0; i < 17; ++i) touch(*order, {3});
  touch(*order, {2});  // two half-lives later a use counts more than those four
  EXPECT_EQ(order->victim(kAny), 1);
}

TEST(Lfru, TheClockIsATokensUses) {
  // The same uses, as many as 1 token or as 32: half-lives of 8 uses or of 256.
  for (const auto& [token_uses, leaves] : {std::pair(1, 1), std::pair(32, 2)}) {
    const auto order = make(Policy::kLfru, token_uses);
    insert(*order, {1});
    touch(*order, {1, 1, 1});
    insert(*order, {3});
    for (int i = 0; i < 30; ++i) touch(*order, {3});
    insert(*order, {2});
    EXPECT_EQ(order->victim(kAny), leaves) << token_uses;
  }
}

TEST(Lfru, WhoLeavesKeepsItsValue) {
  const auto order = make(Policy::kLfru, 16);
  insert(*order, {1, 2});
  touch(*order, {1, 1, 1, 1});
  order->erase(1);
  insert(*order, {3, 1});
  touch(*order, {2, 3});
  EXPECT_THAT(drain(*order), ElementsAre(2, 3, 1));
}

TEST(Lfru, ScansDoNotPushOutWhatTokensUse) {
  const auto order = make(Policy::kLfru);
  insert(*order, {1, 2, 3});
  insert(*order, {4, 5, 6}, Use::kScan);
  for (int i = 0; i < 3; ++i) touch(*order, {5}, Use::kScan);
  EXPECT_THAT(drain(*order), ElementsAre(4, 6, 5, 1, 2, 3));
}

TEST(Lfru, AScanRenewsButKeepsTheOrder) {
  const auto order = make(Policy::kLfru, 1);
  insert(*order, {1, 2, 3});
  insert(*order, {9});
  for (int i = 0; i < 40; ++i) touch(*order, {9});
  touch(*order, {1, 2}, Use::kScan);  // now younger than 3
  EXPECT_THAT(drain(*order), ElementsAre(3, 1, 2, 9));
}

// Sums of halved uses, computed anew, give the same order.
TEST(Lfru, MatchesTheDefinition) {
  constexpr int32_t kTokenUses = 6;
  const auto order = make(Policy::kLfru, kTokenUses);
  std::vector<double> value(kKeys);
  const double fade = std::exp2(-1.0 / (8 * kTokenUses));
  std::set<int32_t> present;
  std::mt19937 random(11);
  std::geometric_distribution<int32_t> popular(0.1);
  for (int step = 0; step < 5000; ++step) {
    const int32_t key = std::min(popular(random), kKeys - 1);
    if (present.insert(key).second)
      order->insert(key, Use::kToken);
    else
      order->touch(key, Use::kToken);
    for (double& v : value) v *= fade;
    value[static_cast<size_t>(key)] += 1;
    if (present.size() < 12) continue;
    const int32_t least =
        *std::min_element(present.begin(), present.end(), [&](int32_t a, int32_t b) {
          return value[static_cast<size_t>(a)] < value[static_cast<size_t>(b)];
        });
    ASSERT_EQ(order->victim(kAny), least) << step;
    order->erase(least);
    present.erase(least);
  }
}

}  // namespace
}  // namespace sluice::residency
