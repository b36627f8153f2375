// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::tiny_model;
using test::TinyEngine;
using testing::HasSubstr;

std::vector<int32_t> some_tokens(size_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 256);
  return tokens;
}

class SessionTest : public testing::Test {
 protected:
  // The logits after `tokens` in a session of their own.
  std::vector<float> fresh(const std::vector<int32_t>& tokens) {
    Session session = engine_.session();
    EXPECT_TRUE(session.feed(tokens));
    return {session.logits().begin(), session.logits().end()};
  }

  void expect_holds(Session& session, const std::vector<int32_t>& tokens) {
    EXPECT_TRUE(std::ranges::equal(session.tokens(), tokens));
    EXPECT_EQ(session.length(), static_cast<int64_t>(tokens.size()));
    EXPECT_TRUE(std::ranges::equal(session.logits(), fresh(tokens)));
  }

  TinyEngine engine_{tiny_model()};
  Session session_ = engine_.session();
};

TEST_F(SessionTest, StartsEmpty) {
  EXPECT_EQ(session_.length(), 0);
  EXPECT_EQ(session_.capacity(), 128);
  EXPECT_TRUE(session_.tokens().empty());
  // 2 layers x 2 heads x 32 x F16, keys and values.
  EXPECT_EQ(session_.bytes(), 128u * 2 * 2 * 64 * 2);
  EXPECT_EQ(&session_.engine(), &*engine_);
}

TEST_F(SessionTest, FeedAppends) {
  const auto a = some_tokens(30, 1), b = some_tokens(5, 2);
  ASSERT_TRUE(session_.feed(a));
  EXPECT_EQ(session_.logits().size(), static_cast<size_t>(test::kRows));
  ASSERT_TRUE(session_.feed(b));
  auto all = a;
  all.insert(all.end(), b.begin(), b.end());
  expect_holds(session_, all);
  ASSERT_TRUE(session_.feed({}));
  expect_holds(session_, all);
}

// The size of a forward pass is a matter of speed only.
TEST_F(SessionTest, AnyUbatchGivesTheSameBits) {
  const auto tokens = some_tokens(100);
  const auto expected = fresh(tokens);
  for (const int64_t ubatch : {1, 7, 64, 99}) {
    EngineOptions options;
    options.ubatch = ubatch;
    TinyEngine engine(tiny_model(), options);
    Session session = engine.session();
    ASSERT_TRUE(session.feed(tokens));
    EXPECT_TRUE(std::ranges::equal(session.logits(), expected)) << ubatch;
  }
}

TEST_F(SessionTest, TooManyTokensAreRefusedBeforeAnythingIsRead) {
  const auto first = some_tokens(100, 1);
  ASSERT_TRUE(session_.feed(first));
  const Status status = session_.feed(some_tokens(29, 2));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kTooLarge);
  EXPECT_THAT(status.error().message, HasSubstr("129"));
  EXPECT_THAT(status.error().message, HasSubstr("128"));
  expect_holds(session_, first);
  ASSERT_TRUE(session_.feed(some_tokens(28, 2)));
  EXPECT_EQ(session_.length(), 128);
  EXPECT_FALSE(session_.feed(std::vector<int32_t>{1}));
}

TEST_F(SessionTest, IdsOutsideTheVocabularyAreRefused) {
  ASSERT_TRUE(session_.feed(std::vector<int32_t>{1, 2}));
  for (const int32_t id : {-1, static_cast<int32_t>(test::kRows), INT32_MAX, INT32_MIN}) {
    const Status status = session_.feed(std::vector<int32_t>{3, id});
    ASSERT_FALSE(status) << id;
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(status.error().message, HasSubstr(std::to_string(id)));
    const auto all =
        session_.feed_all_logits(std::vector<int32_t>{3, id}, [](auto) -> Status { return {}; });
    EXPECT_FALSE(all);
  }
  expect_holds(session_, {1, 2});
  // Rows without a token have an embedding: reading one is no error.
  EXPECT_TRUE(session_.feed(std::vector<int32_t>{static_cast<int32_t>(test::kRows) - 1}));
}

TEST_F(SessionTest, CancelledBeforeABatch) {
  EngineOptions options;
  options.ubatch = 8;
  TinyEngine engine(tiny_model(), options);
  Session session = engine.session();
  std::atomic<bool> cancel{true};
  const auto tokens = some_tokens(20);
  Status status = session.feed(tokens, &cancel);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(session.length(), 0);
  cancel = false;
  ASSERT_TRUE(session.feed(tokens, &cancel));
  EXPECT_EQ(session.length(), 20);
}

TEST_F(SessionTest, AllLogitsAreThoseOfEachToken) {
  const auto tokens = some_tokens(100);  // two batches of at most 64
  std::vector<float> all;
  std::vector<size_t> sizes;
  ASSERT_TRUE(session_.feed_all_logits(tokens, [&](std::span<const float> rows) -> Status {
    all.insert(all.end(), rows.begin(), rows.end());
    sizes.push_back(rows.size());
    return {};
  }));
  const auto rows = static_cast<size_t>(test::kRows);
  EXPECT_EQ(sizes, (std::vector<size_t>{64 * rows, 36 * rows}));
  for (const size_t count : {1, 2, 63, 64, 65, 100}) {
    const auto expected = fresh({tokens.begin(), tokens.begin() + static_cast<long>(count)});
    EXPECT_TRUE(std::ranges::equal(std::span(all).subspan((count - 1) * rows, rows), expected))
        << count;
  }
  // As after feed(), logits() are those of the last token.
  expect_holds(session_, tokens);
}

TEST_F(SessionTest, AnErrorOfTheSinkIsPassedOn) {
  const Status status = session_.feed_all_logits(
      some_tokens(100), [](auto) -> Status { return fail(ErrorKind::kIo, "disk full"); });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "disk full");
  EXPECT_EQ(session_.length(), 64);
  EXPECT_EQ(session_.tokens().size(), 64u);
}

TEST_F(SessionTest, TruncateForgets) {
  const auto a = some_tokens(40, 1), b = some_tokens(10, 2);
  ASSERT_TRUE(session_.feed(a));
  session_.truncate(25);
  EXPECT_EQ(session_.length(), 25);
  EXPECT_EQ(session_.tokens().size(), 25u);
  EXPECT_TRUE(session_.logits().empty());  // of which token would they be
  ASSERT_TRUE(session_.feed(b));
  std::vector<int32_t> joined(a.begin(), a.begin() + 25);
  joined.insert(joined.end(), b.begin(), b.end());
  expect_holds(session_, joined);
  session_.truncate(0);
  EXPECT_EQ(session_.length(), 0);
  ASSERT_TRUE(session_.feed(a));
  expect_holds(session_, a);
  EXPECT_DEATH(session_.truncate(41), "truncate beyond the end");
  EXPECT_DEATH(session_.truncate(-1), "truncate beyond the end");
}

TEST_F(SessionTest, ReuseKeepsTheCommonBeginning) {
  const auto a = some_tokens(50, 1);
  auto kept = session_.reuse(a);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(*kept, 0);
  expect_holds(session_, a);

  auto longer = a;
  longer.push_back(7);
  longer.push_back(8);
  EXPECT_EQ(session_.reuse(longer).value(), 50);
  expect_holds(session_, longer);

  auto changed = longer;
  changed[20] ^= 1;
  EXPECT_EQ(session_.reuse(changed).value(), 20);
  expect_holds(session_, changed);

  const std::vector<int32_t> shorter(changed.begin(), changed.begin() + 30);
  EXPECT_EQ(session_.reuse(shorter).value(), 29);  // the last one's logits are wanted
  expect_holds(session_, shorter);
  EXPECT_EQ(session_.reuse(shorter).value(), 29);
  expect_holds(session_, shorter);

  const auto other = some_tokens(10, 3);
  EXPECT_EQ(session_.reuse(other).value(), 0);
  expect_holds(session_, other);
}

TEST_F(SessionTest, ReuseOfNothingEmptiesTheSession) {
  ASSERT_TRUE(session_.feed(some_tokens(10)));
  EXPECT_EQ(session_.reuse({}).value(), 0);
  EXPECT_EQ(session_.length(), 0);
}

TEST_F(SessionTest, ReuseErrorsLeaveAConsistentSession) {
  ASSERT_TRUE(session_.feed(some_tokens(10)));
  const auto status = session_.reuse(some_tokens(129));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kTooLarge);
  EXPECT_EQ(session_.length(), static_cast<int64_t>(session_.tokens().size()));
  const auto tokens = some_tokens(20, 4);
  ASSERT_TRUE(session_.reuse(tokens));
  expect_holds(session_, tokens);
}

TEST_F(SessionTest, SessionsOfOneEngineAreApart) {
  const auto a = some_tokens(20, 1), b = some_tokens(20, 2);
  Session other = engine_.session();
  for (size_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(session_.feed(std::span(a).subspan(i, 1)));
    ASSERT_TRUE(other.feed(std::span(b).subspan(i, 1)));
  }
  expect_holds(session_, a);
  expect_holds(other, b);
}

// Recurrent states cannot be cut back: what they do not allow is read again.
TEST(Session, ReuseWithRecurrentLayers) {
  TinyEngine engine(tiny_model(1, "qwen3next"));
  Session session = engine.session(), fresh = engine.session();
  const auto start = some_tokens(50, 1);
  const auto expect_holds = [&](const std::vector<int32_t>& tokens) {
    EXPECT_TRUE(std::ranges::equal(session.tokens(), tokens));
    fresh.truncate(0);
    ASSERT_TRUE(fresh.feed(tokens));
    EXPECT_TRUE(std::ranges::equal(session.logits(), fresh.logits()));
  };
  EXPECT_EQ(session.reuse(start).value(), 0);
  auto longer = start;
  longer.push_back(7);
  EXPECT_EQ(session.reuse(longer).value(), 50);  // a turn that follows
  expect_holds(longer);
  longer[20] ^= 1;
  EXPECT_EQ(session.reuse(longer).value(), 0);
  expect_holds(longer);
  EXPECT_EQ(session.reuse(longer).value(), 0);
  expect_holds(longer);
  session.truncate(30);
  EXPECT_EQ(session.length(), 0);
  EXPECT_TRUE(session.tokens().empty());
}

TEST(Session, CacheTypesThatDoNotFitAreErrors) {
  EngineOptions options;
  options.cache = {quant::Type::kQ4_K, quant::Type::kF16};
  TinyEngine engine(tiny_model(), options);
  const auto session = Session::create(*engine);
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(session.error().message, HasSubstr("--cache-type-k"));
}

TEST_F(SessionTest, GoesBackToACheckpoint) {
  const auto first = some_tokens(12, 1);
  auto a = first, b = first;
  for (const int32_t token : some_tokens(9, 2)) a.push_back(token);
  for (const int32_t token : some_tokens(9, 3)) b.push_back(token);
  ASSERT_TRUE(session_.feed(first));
  const auto checkpoint = session_.checkpoint();
  ASSERT_TRUE(checkpoint);
  ASSERT_TRUE(session_.feed(std::span(a).subspan(12)));
  expect_holds(session_, a);
  ASSERT_TRUE(session_.restore(*checkpoint));
  EXPECT_TRUE(session_.logits().empty());
  EXPECT_TRUE(std::ranges::equal(session_.tokens(), first));
  ASSERT_TRUE(session_.feed(std::span(b).subspan(12)));
  expect_holds(session_, b);
}

TEST_F(SessionTest, RefusesACheckpointWhosePositionsWereReadAnew) {
  ASSERT_TRUE(session_.feed(some_tokens(12, 1)));
  const auto checkpoint = session_.checkpoint();
  ASSERT_TRUE(checkpoint);
  session_.truncate(5);
  ASSERT_TRUE(session_.feed(some_tokens(20, 2)));
  const Status restored = session_.restore(*checkpoint);
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().kind, ErrorKind::kUsage);
  EXPECT_EQ(session_.length(), 25);
}

}  // namespace
}  // namespace sluice::engine
