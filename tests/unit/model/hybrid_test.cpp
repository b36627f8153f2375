// SPDX-License-Identifier: Apache-2.0
// What is particular to models with recurrent layers: their files, and memory that cannot be cut
// back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "loaded.h"

namespace sluice::model {
namespace {

using test::hybrid;
using test::ModelShape;
using test::random_model;
using test::TestModel;
using test::TestTensor;
using testing::HasSubstr;

// Rows of `from`, from row `first` on, at the end of `to`.
void append_rows(const TestTensor& from, int64_t first, int64_t rows, std::vector<float>& to) {
  const auto begin = from.values.begin() + first * from.shape[0];
  to.insert(to.end(), begin, begin + rows * from.shape[0]);
}

// The joint layout of older files: for each key head its q, k, v and z rows.
TestModel with_joint_input(const ModelShape& s, TestModel model) {
  const TestTensor qkv = model.tensor("blk.0.attn_qkv.weight");
  const TestTensor gate = model.tensor("blk.0.attn_gate.weight");
  TestTensor joint = qkv;
  joint.name = "blk.0.ssm_in.weight";
  joint.values.clear();
  const int64_t keys = s.key_heads * s.key_dim;
  const int64_t group_values = s.value_heads / s.key_heads * s.value_dim;
  for (int64_t c = 0; c < s.key_heads; ++c) {
    append_rows(qkv, c * s.key_dim, s.key_dim, joint.values);
    append_rows(qkv, keys + c * s.key_dim, s.key_dim, joint.values);
    append_rows(qkv, 2 * keys + c * group_values, group_values, joint.values);
    append_rows(gate, c * group_values, group_values, joint.values);
  }
  joint.shape[1] = qkv.shape[1] + gate.shape[1];
  model.remove_tensor("blk.0.attn_qkv.weight");
  model.remove_tensor("blk.0.attn_gate.weight");
  model.tensors.push_back(joint);
  return model;
}

TEST(Hybrid, TheJointLayoutOfOlderFilesGivesTheSameBits) {
  ModelShape few = hybrid(), equal = hybrid(), three = hybrid();
  few.key_heads = 1;      // all value heads read one key head
  equal.value_heads = 2;  // each reads its own
  three.value_heads = 6;
  for (const ModelShape& shape : {hybrid(), few, equal, three})
    for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ8_0, quant::Type::kQ4_1}) {
      TestModel split = random_model(shape);
      split.set_type(type);
      const Tokens tokens = some_tokens(20);
      EXPECT_EQ(Loaded(with_joint_input(shape, split)).all(tokens), Loaded(split).all(tokens));
    }
}

// Blocks of 256 elements, as in published files.
TEST(Hybrid, TheJointLayoutInKQuants) {
  ModelShape shape = hybrid();
  shape.dim = 256;
  shape.expert_hidden = shape.shared_hidden = 256;
  shape.heads = 8;  // 256 inputs of the output projection
  shape.value_heads = 8;
  for (const quant::Type type : {quant::Type::kQ4_K, quant::Type::kQ6_K}) {
    TestModel split = random_model(shape);
    split.set_type(type);
    const Tokens tokens = some_tokens(20);
    EXPECT_EQ(Loaded(with_joint_input(shape, split)).all(tokens), Loaded(split).all(tokens));
  }
}

TEST(Hybrid, AnyMixOfLayers) {
  const Tokens tokens = some_tokens(20);
  for (const int64_t interval : {1, 3, 5}) {  // attention only, one of three, none
    ModelShape shape = hybrid();
    shape.layers = 4;
    shape.attention_interval = interval;
    Loaded model(random_model(shape));
    const Logits all = model.all(tokens);
    EXPECT_TRUE(std::ranges::all_of(all, [](float value) { return std::isfinite(value); }));
    EXPECT_EQ(model.sequence().recurrent_bytes() > 0, interval > 1);
  }
}

// A list of the layers' kinds wins over the interval.
TEST(Hybrid, TheListOfRecurrentLayers) {
  const TestModel model = random_model(hybrid());
  TestModel listed = model;
  listed.set("qwen3next.full_attention_interval", uint32_t{1});
  listed.set("qwen3next.attention.recurrent_layers", std::vector<bool>{true, false, true});
  const Tokens tokens = some_tokens(20);
  EXPECT_EQ(Loaded(listed).all(tokens), Loaded(model).all(tokens));
}

// Blocks that draft further tokens are not part of the main model.
TEST(Hybrid, DraftingBlocksAreLeftOut) {
  ModelShape shape = hybrid();
  const Tokens tokens = some_tokens(20);
  const Logits expected = Loaded(random_model(shape)).all(tokens);
  TestModel drafting = random_model(shape);
  drafting.set("qwen3next.block_count", uint32_t{3});
  drafting.set("qwen3next.nextn_predict_layers", uint32_t{1});
  Loaded loaded(drafting);
  EXPECT_EQ(loaded->config().layers, 2);
  EXPECT_EQ(loaded.all(tokens), expected);
}

TEST(Hybrid, TheSharedExpertMayBeAbsentAndItsGateBf16) {
  const Tokens tokens = some_tokens(20);
  ModelShape shape = hybrid();
  TestModel model = random_model(shape);
  const Logits with = Loaded(model).all(tokens);
  for (const char* name : {"blk.0.ffn_gate_inp_shexp.weight", "blk.1.ffn_gate_inp_shexp.weight"}) {
    TestTensor& gate = model.tensor(name);
    gate.type = quant::Type::kBF16;
  }
  const Logits rounded = Loaded(model).all(tokens);
  double difference = 0, size = 0;
  for (size_t i = 0; i < with.size(); ++i) {
    difference += std::abs(double{with[i]} - rounded[i]);
    size += std::abs(double{with[i]});
  }
  EXPECT_GT(difference, 0);
  EXPECT_LT(difference, 0.02 * size);
  // A gate that is shut is no shared expert.
  for (const char* name : {"blk.0.ffn_down_shexp.weight", "blk.1.ffn_down_shexp.weight"})
    std::ranges::fill(model.tensor(name).values, 0.0f);
  shape.shared_hidden = 0;
  EXPECT_EQ(Loaded(model).all(tokens), Loaded(random_model(shape)).all(tokens));
}

// The gate stands behind each head's query. Where it is 0 it halves the attention; an output matrix
// of twice the size takes that back, and a model without gates is left.
TEST(Hybrid, AttentionIsGatedPerElement) {
  ModelShape shape = hybrid();
  shape.attention_interval = 1;
  shape.shared_hidden = 0;
  TestModel gated = random_model(shape);
  shape.architecture = "qwen3moe";
  TestModel plain = random_model(shape);
  plain.set("qwen3moe.rope.dimension_count", static_cast<uint32_t>(shape.head_dim / 4));
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    TestTensor& both = gated.tensor(layer + "attn_q.weight");
    std::vector<float>& query = plain.tensor(layer + "attn_q.weight").values;
    query.clear();
    for (int64_t head = 0; head < shape.heads; ++head) {
      append_rows(both, 2 * head * shape.head_dim, shape.head_dim, query);
      std::fill_n(both.values.begin() + (2 * head + 1) * shape.head_dim * shape.dim,
                  shape.head_dim * shape.dim, 0.0f);
    }
    for (float& value : gated.tensor(layer + "attn_output.weight").values) value *= 2;
    gated.tensor(layer + "post_attention_norm.weight").values =
        plain.tensor(layer + "ffn_norm.weight").values;
  }
  const Tokens tokens = some_tokens(10);
  EXPECT_EQ(Loaded(gated).all(tokens), Loaded(plain).all(tokens));
  gated.tensor("blk.1.attn_q.weight").values[static_cast<size_t>(shape.head_dim * shape.dim)] = 9;
  EXPECT_NE(Loaded(gated).all(tokens), Loaded(plain).all(tokens));
}

// --- errors on the way ---

int successes_left = 0;

// A backend whose experts fail after a number of successes.
const sluice_backend_api* failing_backend() {
  static sluice_backend_api api = *cpu::cpu_backend();
  api.experts = [](sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                   const sluice_expert* experts, int32_t count, float* out) -> int32_t {
    if (successes_left-- <= 0) return 1;
    return cpu::cpu_backend()->experts(backend, x, rows, dim, experts, count, out);
  };
  return &api;
}

TEST(Hybrid, AnErrorOnTheWayEmptiesTheSequence) {
  Loaded model(random_model(hybrid()), 2, 1, failing_backend());
  const Tokens tokens = some_tokens(20);
  successes_left = 1000;
  const Logits expected = model.all(tokens);
  Sequence sequence = model.sequence();
  model.run({{&sequence, tokens, true}});
  const auto before = sequence.snapshot(SnapshotContent::kRecurrent);
  for (const int successes : {0, 1}) {  // the first layer's state has changed, or both layers have
    successes_left = successes;
    Logits logits;
    const Chunk chunk{&sequence, tokens, true};
    EXPECT_FALSE(model->forward({&chunk, 1}, logits));
    EXPECT_EQ(sequence.length(), 0);
    successes_left = 1000;
    ASSERT_TRUE(sequence.restore(*before));  // what was stored before is intact
    EXPECT_EQ(sequence.length(), 20);
  }
  sequence.rewind(0);
  EXPECT_EQ(model.run({{&sequence, tokens, true}}), expected);
}

TEST(Hybrid, AnErrorOnTheWayLeavesAttentionAsItWas) {
  Loaded model(random_model({}), 2, 1, failing_backend());
  const Tokens tokens = some_tokens(20), more = some_tokens(10, 2);
  successes_left = 1000;
  Sequence sequence = model.sequence(), other = model.sequence();
  model.run({{&sequence, tokens, true}});
  model.run({{&other, tokens, true}});
  const Logits expected = model.run({{&other, more, true}});
  successes_left = 1;
  Logits logits;
  const Chunk chunk{&sequence, tokens, true};
  EXPECT_FALSE(model->forward({&chunk, 1}, logits));
  EXPECT_EQ(sequence.length(), 20);
  successes_left = 1000;
  EXPECT_EQ(model.run({{&sequence, more, true}}), expected);
}

// --- snapshots ---

class HybridSnapshot : public testing::Test {
 protected:
  // What follows on `sequence` when it reads `tokens`.
  Logits next(Sequence& sequence, const Tokens& tokens) {
    return model_.run({{&sequence, tokens, true}});
  }

  Loaded model_{random_model(hybrid())};
  const Tokens start_ = some_tokens(30, 1), more_ = some_tokens(20, 2), other_ = some_tokens(20, 3);
};

Snapshot taken(const Sequence& sequence, SnapshotContent content) {
  auto snapshot = sequence.snapshot(content);
  if (!snapshot) throw std::runtime_error(snapshot.error().message);
  return std::move(*snapshot);
}

TEST_F(HybridSnapshot, GoesBackToTheSameBits) {
  for (const SnapshotContent content : {SnapshotContent::kRecurrent, SnapshotContent::kAll}) {
    Sequence sequence = model_.sequence();
    next(sequence, start_);
    const Snapshot snapshot = taken(sequence, content);
    EXPECT_EQ(snapshot.length(), 30);
    const Logits expected = next(sequence, more_);
    const Logits branch = [&] {
      EXPECT_TRUE(sequence.restore(snapshot));
      EXPECT_EQ(sequence.length(), 30);
      return next(sequence, other_);
    }();
    EXPECT_NE(branch, expected);
    ASSERT_TRUE(sequence.restore(snapshot));
    EXPECT_EQ(next(sequence, more_), expected);
  }
}

TEST_F(HybridSnapshot, AllOfItMovesToAnotherSequence) {
  Sequence sequence = model_.sequence(100);
  next(sequence, start_);
  const Snapshot snapshot = taken(sequence, SnapshotContent::kAll);
  const Logits expected = next(sequence, more_);
  const auto parsed = Snapshot::parse(snapshot.data());
  ASSERT_TRUE(parsed) << parsed.error().message;
  Sequence target = model_.sequence(60);
  next(target, other_);
  ASSERT_TRUE(target.restore(*parsed));
  EXPECT_EQ(next(target, more_), expected);
  // Without keys and values it stays where they are.
  const Status refused = target.restore(taken(sequence, SnapshotContent::kRecurrent));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
  EXPECT_EQ(target.length(), 50);
}

TEST_F(HybridSnapshot, ABeginningIsCopied) {
  Sequence sequence = model_.sequence(100);
  next(sequence, start_);
  const Snapshot at30 = taken(sequence, SnapshotContent::kRecurrent);
  const Logits expected = next(sequence, more_);
  Sequence target = model_.sequence(60);
  next(target, other_);
  const Snapshot own = taken(target, SnapshotContent::kRecurrent);
  // Anywhere else the states are not known; nothing has changed.
  EXPECT_FALSE(target.copy(sequence, 30));
  EXPECT_FALSE(target.copy(sequence, 31, &at30));
  EXPECT_FALSE(target.copy(sequence, 30, &own));
  EXPECT_EQ(target.length(), 20);
  ASSERT_TRUE(target.copy(sequence, 30, &at30));
  EXPECT_EQ(target.length(), 30);
  EXPECT_EQ(next(target, more_), expected);
  EXPECT_FALSE(target.restore(own));  // its keys are gone
  ASSERT_TRUE(target.copy(sequence, 50));
  EXPECT_EQ(next(target, Tokens{1}), next(sequence, Tokens{1}));
  Sequence small = model_.sequence(40);
  EXPECT_FALSE(small.copy(sequence, 51));
}

// Positions that were computed anew make the snapshots of the old ones worthless, and only those.
TEST_F(HybridSnapshot, IsRefusedWhenItsKeysAreGone) {
  Sequence sequence = model_.sequence();
  next(sequence, start_);
  const Snapshot at30 = taken(sequence, SnapshotContent::kRecurrent);
  next(sequence, more_);
  const Snapshot at50 = taken(sequence, SnapshotContent::kRecurrent);
  ASSERT_TRUE(sequence.restore(at30));
  ASSERT_TRUE(sequence.restore(at50));  // nothing was read in between
  ASSERT_TRUE(sequence.restore(at30));
  next(sequence, other_);
  next(sequence, other_);  // beyond 50 positions again, but others
  EXPECT_FALSE(sequence.restore(at50));
  EXPECT_EQ(sequence.length(), 70);
  EXPECT_TRUE(sequence.restore(at30));
  sequence.rewind(0);
  EXPECT_TRUE(sequence.restore(at30));  // the keys are still there
  sequence.rewind(0);
  next(sequence, start_);
  EXPECT_FALSE(sequence.restore(at30));
}

TEST_F(HybridSnapshot, OfAnotherModelOrShapeIsRefused) {
  Sequence sequence = model_.sequence();
  next(sequence, start_);
  const Snapshot snapshot = taken(sequence, SnapshotContent::kAll);
  const auto expect_refused = [&](Sequence target, const char* says) {
    const Status status = target.restore(snapshot);
    ASSERT_FALSE(status) << says;
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(status.error().message, HasSubstr(says));
    EXPECT_EQ(target.length(), 0);
  };
  Loaded same(random_model(hybrid()));
  Sequence fits = same.sequence();
  EXPECT_TRUE(fits.restore(snapshot));
  Loaded weights(random_model(hybrid(), 2));
  expect_refused(weights.sequence(), "another model");
  ModelShape shape = hybrid();
  shape.key_dim = 8;
  Loaded heads(random_model(shape));
  expect_refused(heads.sequence(), "another model");
  expect_refused(model_.sequence(29), "-c 30");
  expect_refused(model_.sequence(64, {quant::Type::kF32, quant::Type::kF16}), "--cache-type-k");
}

TEST_F(HybridSnapshot, DamageIsNoticed) {
  Sequence sequence = model_.sequence();
  next(sequence, start_);
  const Snapshot snapshot = taken(sequence, SnapshotContent::kAll);
  std::vector<uint8_t> bytes(snapshot.data().begin(), snapshot.data().end());
  const auto error_of = [](const std::vector<uint8_t>& data) {
    const auto parsed = Snapshot::parse(data);
    EXPECT_FALSE(parsed);
    return parsed ? "" : parsed.error().message;
  };
  EXPECT_THAT(error_of({bytes.begin(), bytes.begin() + 50}), HasSubstr("not a snapshot"));
  auto other = bytes;
  other[0] ^= 1;
  EXPECT_THAT(error_of(other), HasSubstr("not a snapshot"));
  other = bytes;
  other[8] ^= 2;
  EXPECT_THAT(error_of(other), HasSubstr("version 3"));
  other = bytes;
  other.pop_back();
  const auto parsed = Snapshot::parse(other);
  ASSERT_TRUE(parsed);
  const Status status = sequence.restore(*parsed);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kBadFile);
}

TEST_F(HybridSnapshot, SizesAreTheFormula) {
  // One recurrent layer: 3 inputs of 2 x 2 x 16 + 4 x 32 channels, 4 heads of 16 x 32, floats. One
  // with attention: 2 heads of 32, keys and values in F16.
  const uint64_t recurrent = 4 * (3 * 192 + 4 * 16 * 32), position = 2 * 2 * 32 * 2;
  Sequence sequence = model_.sequence(100);
  EXPECT_EQ(sequence.recurrent_bytes(), recurrent);
  EXPECT_EQ(sequence.bytes(), recurrent + 100 * position);
  next(sequence, start_);
  EXPECT_EQ(taken(sequence, SnapshotContent::kRecurrent).bytes(),
            sizeof(SnapshotHeader) + recurrent);
  EXPECT_EQ(taken(sequence, SnapshotContent::kAll).bytes(),
            sizeof(SnapshotHeader) + recurrent + 30 * position);
}

}  // namespace
}  // namespace sluice::model
