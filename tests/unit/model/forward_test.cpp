// SPDX-License-Identifier: Apache-2.0
// Forward passes that must agree with one another; the arithmetic itself is compared with an
// independent implementation in tests/golden.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "loaded.h"

namespace sluice::model {
namespace {

using test::ModelShape;
using test::random_model;
using test::TestModel;
using test::TestTensor;

double relative_error(const Logits& a, const Logits& b) {
  EXPECT_EQ(a.size(), b.size());
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(error / norm);
}

ModelShape dense() {
  ModelShape shape;
  shape.architecture = "qwen3";
  return shape;
}

// All architectures, with float and with quantised weights.
struct Variant {
  const char* name;
  ModelShape shape;
  quant::Type type;
};

class ForwardTest : public testing::TestWithParam<Variant> {
 protected:
  static TestModel variant() {
    TestModel model = random_model(GetParam().shape);
    model.set_type(GetParam().type);
    return model;
  }
  Loaded model_{variant()};
};

INSTANTIATE_TEST_SUITE_P(Variants, ForwardTest,
                         testing::Values(Variant{"moe_f32", {}, quant::Type::kF32},
                                         Variant{"moe_q8", {}, quant::Type::kQ8_0},
                                         Variant{"dense_bf16", dense(), quant::Type::kBF16},
                                         Variant{"dense_q4", dense(), quant::Type::kQ4_0},
                                         Variant{"hybrid_f32", test::hybrid(), quant::Type::kF32},
                                         Variant{"hybrid_q8", test::hybrid(), quant::Type::kQ8_0}),
                         [](const auto& variant) { return variant.param.name; });

TEST_P(ForwardTest, OneRowOfLogitsPerWantedToken) {
  const Tokens tokens = some_tokens(9);
  const Logits all = model_.all(tokens);
  ASSERT_EQ(all.size(), 900u);
  for (const float logit : all) ASSERT_TRUE(std::isfinite(logit));
  Sequence sequence = model_.sequence();
  const Logits last = model_.run({{&sequence, tokens, false}});
  ASSERT_EQ(last.size(), 100u);
  EXPECT_TRUE(std::ranges::equal(last, last_row(all)));
  EXPECT_EQ(sequence.length(), 9);
  // Tokens and what stands before them matter.
  EXPECT_NE(model_.all({1, 2, 3}), model_.all({1, 2, 4}));
  EXPECT_FALSE(
      std::ranges::equal(last_row(model_.all({1, 2, 3})), last_row(model_.all({2, 1, 3}))));
}

TEST_P(ForwardTest, ASplitPromptIsTheWholePrompt) {
  const Tokens tokens = some_tokens(140);
  const Logits whole = model_.all(tokens);
  for (const auto& pieces : std::vector<std::vector<size_t>>{
           std::vector<size_t>(140, 1), {1, 139}, {63, 1, 1, 75}, {64, 64, 12}, {100, 7, 33}}) {
    Sequence sequence = model_.sequence();
    Logits split;
    size_t begin = 0;
    for (const size_t count : pieces) {
      const Logits part = model_.run({{&sequence, std::span(tokens).subspan(begin, count), true}});
      split.insert(split.end(), part.begin(), part.end());
      begin += count;
      ASSERT_EQ(sequence.length(), static_cast<int64_t>(begin));
    }
    EXPECT_TRUE(split == whole) << pieces.size() << " pieces";
  }
}

TEST_P(ForwardTest, SequencesInOneBatchEqualEachAlone) {
  const Tokens a = some_tokens(70, 1), b = some_tokens(20, 2), c = some_tokens(3, 3);
  const CacheTypes other{quant::Type::kQ8_0, quant::Type::kF32};
  const Logits alone_a = model_.all(a), alone_b = model_.all(b, other), alone_c = model_.all(c);

  Sequence sa = model_.sequence(), sb = model_.sequence(64, other), sc = model_.sequence(3);
  // First the beginnings of a and b, then the rest of them with all of c.
  Logits first =
      model_.run({{&sa, std::span(a).first(65), true}, {&sb, std::span(b).first(1), true}});
  Logits second = model_.run({{&sb, std::span(b).subspan(1), true},
                              {&sc, c, true},
                              {&sa, std::span(a).subspan(65), true}});
  EXPECT_EQ(sa.length(), 70);
  EXPECT_EQ(sb.length(), 20);
  EXPECT_EQ(sc.length(), 3);
  const auto rows = [](const Logits& logits, size_t from, size_t count) {
    return std::span(logits).subspan(from * 100, count * 100);
  };
  EXPECT_TRUE(std::ranges::equal(rows(first, 0, 65), rows(alone_a, 0, 65)));
  EXPECT_TRUE(std::ranges::equal(rows(first, 65, 1), rows(alone_b, 0, 1)));
  EXPECT_TRUE(std::ranges::equal(rows(second, 0, 19), rows(alone_b, 1, 19)));
  EXPECT_TRUE(std::ranges::equal(rows(second, 19, 3), rows(alone_c, 0, 3)));
  EXPECT_TRUE(std::ranges::equal(rows(second, 22, 5), rows(alone_a, 65, 5)));
}

TEST_P(ForwardTest, LastLogitsOfSeveralSequences) {
  const Tokens a = some_tokens(5, 1), b = some_tokens(8, 2);
  Sequence sa = model_.sequence(), sb = model_.sequence();
  const Logits logits = model_.run({{&sa, a, false}, {&sb, b, false}});
  ASSERT_EQ(logits.size(), 200u);
  const Logits alone_a = model_.all(a), alone_b = model_.all(b);
  EXPECT_TRUE(std::ranges::equal(std::span(logits).first(100), last_row(alone_a)));
  EXPECT_TRUE(std::ranges::equal(std::span(logits).last(100), last_row(alone_b)));
}

TEST_P(ForwardTest, AnEmptyChunkChangesNothing) {
  const Tokens a = some_tokens(5, 1);
  Sequence sa = model_.sequence(), empty = model_.sequence();
  for (const bool all : {false, true}) {
    const Logits logits = model_.run({{&empty, {}, all}, {&sa, a, true}, {&empty, {}, all}});
    EXPECT_EQ(logits, model_.all(a));
    EXPECT_EQ(empty.length(), 0);
    sa.rewind(0);
  }
  EXPECT_TRUE(model_.run({{&empty, {}, false}}).empty());
  EXPECT_TRUE(model_.run({}).empty());
}

TEST_P(ForwardTest, AShortenedSequenceForgets) {
  const Tokens a = some_tokens(30, 1), b = some_tokens(30, 2);
  Sequence sequence = model_.sequence();
  model_.run({{&sequence, a, false}});
  // Recurrent states cannot be cut back.
  const bool recurrent = GetParam().shape.architecture == "qwen3next";
  const int64_t kept = sequence.rewind(10);
  EXPECT_EQ(kept, recurrent ? 0 : 10);
  EXPECT_EQ(sequence.length(), kept);
  const Logits rest = model_.run({{&sequence, b, true}});
  Tokens joined(a.begin(), a.begin() + kept);
  joined.insert(joined.end(), b.begin(), b.end());
  const Logits whole = model_.all(joined);
  EXPECT_TRUE(std::ranges::equal(rest, std::span(whole).subspan(static_cast<size_t>(kept) * 100)));
  EXPECT_EQ(sequence.rewind(kept + 30), kept + 30);  // the present length is always possible
}

TEST_P(ForwardTest, TheNumberOfThreadsDoesNotMatter) {
  const Tokens tokens = some_tokens(40);
  const Logits two = model_.all(tokens);
  for (const int threads : {1, 5}) {
    Loaded other(variant(), threads);
    EXPECT_TRUE(other.all(tokens) == two) << threads;
  }
}

TEST_P(ForwardTest, ASplitFileIsTheSameModel) {
  const Tokens tokens = some_tokens(12);
  Loaded split(variant(), 2, 4);
  EXPECT_EQ(split.all(tokens), model_.all(tokens));
  EXPECT_EQ(split->weight_bytes(), model_->weight_bytes());
}

TEST_P(ForwardTest, TheObserverSeesEveryStage) {
  const Tokens tokens = some_tokens(6);
  Sequence sequence = model_.sequence();
  std::vector<int64_t> stages, rows;
  std::vector<float> first;
  const Logits seen =
      model_.run({{&sequence, tokens, false}}, [&](int64_t stage, const float* x, int64_t n) {
        stages.push_back(stage);
        rows.push_back(n);
        if (stage == 0) first.assign(x, x + n * 64);
      });
  EXPECT_EQ(stages, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(rows, (std::vector<int64_t>{6, 6, 1}));
  EXPECT_TRUE(std::ranges::equal(seen, last_row(model_.all(tokens))));
  // Stage 0 is the embedding.
  TestModel model = variant();
  TestTensor& table = model.tensor("token_embd.weight");
  for (size_t i = 0; i < 64; ++i)
    EXPECT_NEAR(first[5 * 64 + i], table.values[static_cast<size_t>(tokens[5]) * 64 + i], 0.25);
}

// A token depends on those before it through every type of cache.
TEST_P(ForwardTest, CoarserCachesAreFurtherOff) {
  const Tokens tokens = some_tokens(60);
  const Logits exact = model_.all(tokens, {quant::Type::kF32, quant::Type::kF32});
  const Logits half = model_.all(tokens, {quant::Type::kF16, quant::Type::kF16});
  const Logits eight = model_.all(tokens, {quant::Type::kQ8_0, quant::Type::kQ8_0});
  const Logits four = model_.all(tokens, {quant::Type::kQ4_0, quant::Type::kQ4_0});
  EXPECT_GT(relative_error(half, exact), 0);
  EXPECT_LT(relative_error(half, exact), relative_error(eight, exact));
  EXPECT_LT(relative_error(eight, exact), relative_error(four, exact));
  EXPECT_LT(relative_error(four, exact), 0.5);
}

TEST(Forward, ATiedModelUsesItsEmbedding) {
  for (const ModelShape& shape : {ModelShape{}, dense()}) {
    TestModel separate = random_model(shape);
    separate.tensor("output.weight").values = separate.tensor("token_embd.weight").values;
    TestModel tied = separate;
    tied.remove_tensor("output.weight");
    const Tokens tokens = some_tokens(10);
    EXPECT_EQ(Loaded(tied).all(tokens), Loaded(separate).all(tokens));
    EXPECT_NE(Loaded(random_model(shape)).all(tokens), Loaded(separate).all(tokens));
  }
}

// q, k and v one after another in each layer.
void fuse_attention(TestModel& model, const std::string& prefix) {
  TestTensor joint = model.tensor(prefix + "attn_q.weight");
  joint.name = prefix + "attn_qkv.weight";
  for (const char* part : {"attn_k.weight", "attn_v.weight"}) {
    const TestTensor& tensor = model.tensor(prefix + part);
    joint.values.insert(joint.values.end(), tensor.values.begin(), tensor.values.end());
    joint.shape[1] += tensor.shape[1];
  }
  for (const char* part : {"attn_q.weight", "attn_k.weight", "attn_v.weight"})
    model.remove_tensor(prefix + part);
  model.tensors.push_back(joint);
}

// For each expert its gate rows, then its up rows.
void fuse_experts(TestModel& model, const std::string& prefix) {
  const TestTensor gate = model.tensor(prefix + "ffn_gate_exps.weight");
  const TestTensor up = model.tensor(prefix + "ffn_up_exps.weight");
  TestTensor joint = gate;
  joint.name = prefix + "ffn_gate_up_exps.weight";
  joint.shape[1] *= 2;
  joint.values.clear();
  const auto slice = static_cast<long>(gate.shape[0] * gate.shape[1]);
  for (long e = 0; e < gate.shape[2]; ++e)
    for (const TestTensor* from : {&gate, &up})
      joint.values.insert(joint.values.end(), from->values.begin() + e * slice,
                          from->values.begin() + (e + 1) * slice);
  model.remove_tensor(prefix + "ffn_gate_exps.weight");
  model.remove_tensor(prefix + "ffn_up_exps.weight");
  model.tensors.push_back(joint);
}

TEST(Forward, FusedTensorsGiveTheSameBits) {
  for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ8_0, quant::Type::kQ4_1}) {
    TestModel split = random_model({});
    split.set_type(type);
    const Tokens tokens = some_tokens(25);
    const Logits expected = Loaded(split).all(tokens);
    TestModel attention = split;
    for (const char* prefix : {"blk.0.", "blk.1."}) fuse_attention(attention, prefix);
    EXPECT_EQ(Loaded(attention).all(tokens), expected);
    TestModel experts = split;
    for (const char* prefix : {"blk.0.", "blk.1."}) fuse_experts(experts, prefix);
    EXPECT_EQ(Loaded(experts).all(tokens), expected);
    // Layers may differ.
    TestModel both = split;
    fuse_attention(both, "blk.1.");
    fuse_experts(both, "blk.0.");
    EXPECT_EQ(Loaded(both, 2, 3).all(tokens), expected);
  }
}

// A mixture of one expert is a dense model: the router's answer is 1.
TEST(Forward, OneExpertIsADenseModel) {
  ModelShape shape = dense();
  shape.hidden = 32;
  const TestModel plain = random_model(shape);
  ModelShape mixed_shape;
  mixed_shape.experts = mixed_shape.experts_used = 1;
  TestModel mixture = random_model(mixed_shape);
  for (TestTensor& tensor : mixture.tensors) {
    const size_t at = tensor.name.find("_exps");
    if (at == std::string::npos) continue;
    std::string name = tensor.name;
    TestModel source = plain;
    tensor.values = source.tensor(name.erase(at, 5)).values;
  }
  const Tokens tokens = some_tokens(30);
  EXPECT_EQ(Loaded(mixture).all(tokens), Loaded(plain).all(tokens));
}

// With equal logits and all experts used, the answer is that of their average.
TEST(Forward, EqualRouterLogitsAverageTheExperts) {
  ModelShape shape;
  shape.experts_used = shape.experts;
  TestModel model = random_model(shape);
  for (const char* layer : {"blk.0.", "blk.1."})
    std::ranges::fill(model.tensor(std::string(layer) + "ffn_gate_inp.weight").values, 0.0f);
  TestModel same = model;  // all experts equal
  for (TestTensor& tensor : same.tensors) {
    if (tensor.name.find("_exps") == std::string::npos) continue;
    const size_t slice = tensor.values.size() / 6;
    for (size_t e = 1; e < 6; ++e)
      std::copy_n(tensor.values.begin(), slice,
                  tensor.values.begin() + static_cast<long>(e * slice));
  }
  ModelShape one_shape;
  one_shape.experts = one_shape.experts_used = 1;
  TestModel one = random_model(one_shape);
  for (TestTensor& tensor : one.tensors) {
    const auto& from = same.tensor(tensor.name).values;
    tensor.values.assign(from.begin(), from.begin() + static_cast<long>(tensor.values.size()));
  }
  const Tokens tokens = some_tokens(10);
  EXPECT_LT(relative_error(Loaded(same).all(tokens), Loaded(one).all(tokens)), 1e-5);
  EXPECT_GT(relative_error(Loaded(model).all(tokens), Loaded(one).all(tokens)), 1e-2);
}

// Weights of a narrower type against F32 weights of the same values.
TEST(Forward, TypesOfWeights) {
  const Tokens tokens = some_tokens(30);
  for (const auto& [type, bound] :
       {std::pair{quant::Type::kF16, 1e-5}, std::pair{quant::Type::kBF16, 1e-5},
        std::pair{quant::Type::kQ8_0, 0.03}, std::pair{quant::Type::kQ5_1, 0.03}}) {
    const quant::Traits& traits = quant::traits(type);
    SCOPED_TRACE(traits.name);
    TestModel narrow = random_model({});
    narrow.set_type(type);
    TestModel wide = narrow;
    wide.set_type(quant::Type::kF32);
    for (TestTensor& tensor : wide.tensors) {
      if (tensor.shape.size() < 2) continue;
      const auto count = static_cast<int64_t>(tensor.values.size());
      std::vector<uint8_t> blocks(quant::row_bytes(type, count));
      traits.encode(tensor.values.data(), count, blocks.data());
      traits.decode(blocks.data(), count, tensor.values.data());
    }
    const Logits expected = Loaded(wide).all(tokens);
    EXPECT_LE(relative_error(Loaded(narrow).all(tokens), expected), bound);
    // Not the same as before rounding: the narrow weights were used.
    EXPECT_GT(relative_error(Loaded(random_model({})).all(tokens), expected), 1e-5);
  }
}

TEST(Forward, ALargerBatchAfterASmallOne) {
  Loaded model(random_model({}));
  const Tokens tokens = some_tokens(200);
  const Logits expected = Loaded(random_model({})).all(tokens);
  for (const size_t count : {1, 3, 50}) model.all(some_tokens(count, 5));
  EXPECT_EQ(model.all(tokens), expected);
}

}  // namespace
}  // namespace sluice::model
