// SPDX-License-Identifier: Apache-2.0
// Guessing tokens, and reading some before it is known that they count. The guesses' values are
// tested in tests/golden.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loaded.h"

namespace sluice::model {
namespace {

using test::drafting;
using test::hybrid;
using test::random_model;
using test::TestModel;
using test::TestTensor;

class DraftBlockTest : public testing::Test {
 protected:
  // What the model says about `tokens`, which it reads now.
  Logits next(Sequence& sequence, const Tokens& tokens) {
    return model_.run({{&sequence, tokens, true}});
  }

  // Logits of three guesses.
  Logits guess(Sequence& sequence, int32_t token) { return guess(model_, sequence, token); }
  static Logits guess(Loaded& model, Sequence& sequence, int32_t token) {
    Tokens tokens;
    Logits logits;
    EXPECT_TRUE(model->draft(sequence, token, 3, tokens, &logits));
    EXPECT_EQ(tokens.size(), 3u);
    return logits;
  }

  void expect_same(Sequence& sequence, Sequence& expected, const Tokens& more) {
    ASSERT_EQ(sequence.length(), expected.length());
    EXPECT_EQ(guess(sequence, 5), guess(expected, 5));
    EXPECT_EQ(next(sequence, more), next(expected, more));
    EXPECT_EQ(guess(sequence, 6), guess(expected, 6));
  }

  Loaded model_{random_model(drafting())};
  const Tokens start_ = some_tokens(30, 1), more_ = some_tokens(8, 2), other_ = some_tokens(20, 3);
};

TEST_F(DraftBlockTest, TheModelItselfIsTheSameWithoutIt) {
  const Logits expected = Loaded(random_model(hybrid())).all(start_);
  EXPECT_TRUE(model_->can_draft());
  EXPECT_EQ(model_.all(start_), expected);
  Loaded unused(random_model(drafting()), 2, 1, cpu::cpu_backend(), {}, false);
  EXPECT_FALSE(unused->can_draft());
  EXPECT_EQ(unused.all(start_), expected);
  EXPECT_LT(unused->weight_bytes(), model_->weight_bytes());
  EXPECT_LT(unused.sequence().bytes(), model_.sequence().bytes());
  // Files whose metadata still speak of the block.
  TestModel without = random_model(hybrid());
  without.set("qwen3next.block_count", uint32_t{3});
  without.set("qwen3next.nextn_predict_layers", uint32_t{1});
  Loaded left_out(without);
  EXPECT_FALSE(left_out->can_draft());
  EXPECT_EQ(left_out.all(start_), expected);
}

TEST_F(DraftBlockTest, ModelsWithoutOneGuessNothing) {
  Loaded model(random_model({}));
  Sequence sequence = model.sequence();
  model.run({{&sequence, start_}});
  Tokens tokens = {1};
  Logits logits = {1};
  EXPECT_FALSE(model->can_draft());
  EXPECT_TRUE(model->draft(sequence, 5, 3, tokens, &logits));
  EXPECT_TRUE(tokens.empty());
  EXPECT_TRUE(logits.empty());
}

TEST_F(DraftBlockTest, NothingIsKnownBeforeTheFirstToken) {
  Sequence sequence = model_.sequence();
  Tokens tokens = {1};
  EXPECT_TRUE(model_->draft(sequence, 5, 3, tokens));
  EXPECT_TRUE(tokens.empty());
}

TEST_F(DraftBlockTest, GuessesAreTheMostLikelyTokens) {
  Sequence sequence = model_.sequence();
  next(sequence, start_);
  Tokens tokens;
  Logits logits;
  ASSERT_TRUE(model_->draft(sequence, 5, 2, tokens, &logits));
  ASSERT_EQ(logits.size(), 200u);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(tokens[i], std::max_element(logits.begin() + static_cast<long>(100 * i),
                                          logits.begin() + static_cast<long>(100 * (i + 1))) -
                             (logits.begin() + static_cast<long>(100 * i)));
}

TEST_F(DraftBlockTest, GuessingChangesNothing) {
  Sequence sequence = model_.sequence(), expected = model_.sequence();
  next(sequence, start_);
  next(expected, start_);
  const Logits first = guess(sequence, 7);
  EXPECT_NE(first, guess(sequence, 8));
  EXPECT_EQ(first, guess(sequence, 7));
  expect_same(sequence, expected, more_);
}

// Whatever was read ahead, and however much of it counts, also from the very beginning.
TEST_F(DraftBlockTest, TokensReadAheadCountWithTheSameBits) {
  for (const size_t before : {size_t{0}, size_t{1}, size_t{2}, size_t{30}})
    for (const size_t rows : {1, 2, 4, 8})
      for (size_t count = 0; count <= rows; ++count) {
        SCOPED_TRACE(testing::Message() << before << " " << rows << " " << count);
        const Tokens start(start_.begin(), start_.begin() + static_cast<long>(before));
        const Tokens ahead(more_.begin(), more_.begin() + static_cast<long>(rows));
        const Tokens counted(ahead.begin(), ahead.begin() + static_cast<long>(count));
        Sequence sequence = model_.sequence(), expected = model_.sequence();
        next(sequence, start);
        next(expected, start);
        const Logits all = [&] {
          Sequence whole = model_.sequence();
          next(whole, start);
          return next(whole, ahead);
        }();
        EXPECT_EQ(model_.run({{&sequence, ahead, true, true}}), all);
        EXPECT_EQ(sequence.length(), static_cast<int64_t>(before));
        ASSERT_TRUE(model_->accept(sequence, static_cast<int64_t>(count)));
        next(expected, counted);
        if (before + count == 0) continue;
        expect_same(sequence, expected, other_);
      }
}

TEST_F(DraftBlockTest, SeveralSequencesInOneBatch) {
  Sequence a = model_.sequence(), b = model_.sequence(), c = model_.sequence();
  Sequence expected_a = model_.sequence(), expected_b = model_.sequence();
  Sequence expected_c = model_.sequence();
  for (Sequence* sequence : {&a, &expected_a, &c, &expected_c}) next(*sequence, start_);
  model_.run({{&a, more_, true, true}, {&b, other_}, {&c, more_, false, true}});
  ASSERT_TRUE(model_->accept(c, 2));
  ASSERT_TRUE(model_->accept(a, 5));
  next(expected_a, {more_.begin(), more_.begin() + 5});
  next(expected_b, other_);
  next(expected_c, {more_.begin(), more_.begin() + 2});
  expect_same(a, expected_a, other_);
  expect_same(b, expected_b, other_);
  expect_same(c, expected_c, other_);
}

TEST_F(DraftBlockTest, SnapshotsHoldWhatGuessesNeed) {
  for (const SnapshotContent content : {SnapshotContent::kRecurrent, SnapshotContent::kAll}) {
    Sequence sequence = model_.sequence(), expected = model_.sequence();
    next(sequence, start_);
    const auto snapshot = sequence.snapshot(content);
    next(expected, start_);
    next(sequence, other_);
    ASSERT_TRUE(sequence.restore(*snapshot));
    expect_same(sequence, expected, more_);
    if (content == SnapshotContent::kRecurrent) continue;
    Sequence moved = model_.sequence(), again = model_.sequence();
    ASSERT_TRUE(moved.restore(*snapshot));
    next(again, start_);
    expect_same(moved, again, more_);
  }
}

TEST_F(DraftBlockTest, ReadingAheadTakesThePlaceOfWhatWasRead) {
  Sequence sequence = model_.sequence();
  next(sequence, start_);
  const auto at30 = sequence.snapshot(SnapshotContent::kRecurrent);
  next(sequence, other_);
  const auto at50 = sequence.snapshot(SnapshotContent::kRecurrent);
  ASSERT_TRUE(sequence.restore(*at30));
  ASSERT_TRUE(sequence.restore(*at50));
  ASSERT_TRUE(sequence.restore(*at30));
  model_.run({{&sequence, more_, true, true}});
  ASSERT_TRUE(model_->accept(sequence, 0));
  EXPECT_FALSE(sequence.restore(*at50));
  EXPECT_TRUE(sequence.restore(*at30));
}

TEST_F(DraftBlockTest, SnapshotsOfModelsWithoutItAreRefused) {
  Loaded unused(random_model(drafting()), 2, 1, cpu::cpu_backend(), {}, false);
  Sequence plain = unused.sequence(), sequence = model_.sequence();
  unused.run({{&plain, start_}});
  EXPECT_FALSE(sequence.restore(*plain.snapshot(SnapshotContent::kAll)));
}

// Files may bring a table and a head of the block's own.
TEST_F(DraftBlockTest, ItsOwnEmbeddingAndHead) {
  TestModel model = random_model(drafting());
  const auto add = [&](const char* from, const char* name) -> TestTensor& {
    TestTensor copy = model.tensor(from);
    copy.name = name;
    model.tensors.push_back(copy);
    return model.tensors.back();
  };
  const auto guesses = [&] {
    Loaded loaded(model);
    Sequence sequence = loaded.sequence();
    loaded.run({{&sequence, start_}});
    return guess(loaded, sequence, 5);
  };
  const Logits expected = guesses();
  add("token_embd.weight", "blk.2.nextn.embed_tokens.weight");
  add("output.weight", "blk.2.nextn.shared_head_head.weight");
  EXPECT_EQ(guesses(), expected);
  for (const char* name :
       {"blk.2.nextn.embed_tokens.weight", "blk.2.nextn.shared_head_head.weight"}) {
    const std::vector<float> values = model.tensor(name).values;
    for (float& value : model.tensor(name).values) value += 0.5f;
    EXPECT_NE(guesses(), expected) << name;
    model.tensor(name).values = values;
  }
  // Without a norm of its own it has the model's.
  model.tensor("blk.2.nextn.shared_head_norm.weight").values =
      model.tensor("output_norm.weight").values;
  const Logits shared = guesses();
  model.remove_tensor("blk.2.nextn.shared_head_norm.weight");
  EXPECT_EQ(guesses(), shared);
}

// --- errors on the way ---

int successes_left = 0;

const sluice_backend_api* failing_backend() {
  static sluice_backend_api api = *cpu::cpu_backend();
  api.delta_rule = [](sluice_backend* backend, const sluice_recurrent_span* spans, int32_t count,
                      const sluice_delta_heads* heads, const float* qkv, const float* ba,
                      const float* a, const float* bias, float eps, float* out) -> int32_t {
    if (successes_left-- <= 0) return 1;
    return cpu::cpu_backend()->delta_rule(backend, spans, count, heads, qkv, ba, a, bias, eps, out);
  };
  return &api;
}

TEST_F(DraftBlockTest, AnErrorOnTheWayEmptiesTheSequence) {
  Loaded model(random_model(drafting()), 2, 1, failing_backend());
  Sequence sequence = model.sequence();
  const auto fill = [&] {
    successes_left = 1000;
    sequence.rewind(0);
    model.run({{&sequence, start_}});
  };
  fill();
  successes_left = 0;
  Logits logits;
  const Chunk chunk{&sequence, more_, true, true};
  EXPECT_FALSE(model->forward({&chunk, 1}, logits));
  EXPECT_EQ(sequence.length(), 0);
  fill();
  ASSERT_TRUE(model->forward({&chunk, 1}, logits));
  successes_left = 0;
  EXPECT_FALSE(model->accept(sequence, 3));
  EXPECT_EQ(sequence.length(), 0);
  fill();
  EXPECT_EQ(guess(model, sequence, 5), [&] {
    Sequence other = model_.sequence();
    next(other, start_);
    return guess(other, 5);
  }());
}

}  // namespace
}  // namespace sluice::model
