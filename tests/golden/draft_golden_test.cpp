// SPDX-License-Identifier: Apache-2.0
// Multi-token prediction against tools/train/reference.py: a very small random model and the logits
// of its guesses.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "checks.h"

namespace sluice::golden {
namespace {

using Tokens = std::vector<int32_t>;

struct Guesses {
  std::vector<Tokens> tokens;        // [pairs][2]
  std::vector<float> first, second;  // logits [pairs, vocabulary]
};

class DraftGolden : public testing::Test {
 protected:
  DraftGolden() {
    std::ifstream in(model_path("qwen3next-drafts.json"));
    const nlohmann::json root = nlohmann::json::parse(in);
    tokens_ = root.at("tokens").get<Tokens>();
    expected_.tokens = root.at("guesses").get<std::vector<Tokens>>();
    expected_.first = read_floats("qwen3next-drafts.first.f32");
    expected_.second = read_floats("qwen3next-drafts.second.f32");
  }

  // Both guesses behind every pair of neighbours; the text comes in pieces of `step`.
  Guesses guesses(const std::string& isa, size_t step) {
    const auto engine = load(model_path("qwen3next-drafts.bf16.gguf"), quant::Type::kF32, 512, isa);
    vocabulary_ = static_cast<size_t>(engine->model().config().vocabulary);
    model::Model& model = engine->model();
    auto sequence = model.create_sequence(64, engine->options().cache);
    Guesses found;
    std::vector<float> logits;
    const std::span<const int32_t> text(tokens_);
    for (size_t begin = 0; begin + 1 < text.size(); begin += step) {
      const auto part = text.subspan(begin, std::min(step, text.size() - 1 - begin));
      const model::Chunk chunk{&*sequence, part};
      EXPECT_TRUE(model.forward({&chunk, 1}, logits));
      Tokens& guessed = found.tokens.emplace_back();
      EXPECT_TRUE(model.draft(*sequence, text[begin + part.size()], 2, guessed, &logits));
      const auto half = logits.begin() + static_cast<long>(vocabulary_);
      found.first.insert(found.first.end(), logits.begin(), half);
      found.second.insert(found.second.end(), half, logits.end());
    }
    return found;
  }

  Tokens tokens_;
  Guesses expected_;
  size_t vocabulary_ = 0;
};

// Guessing must not change what comes after it: the next guesses are right as well.
TEST_F(DraftGolden, LogitsOfBothGuessesBehindEveryToken) {
  for (const std::string& level : levels()) {
    const Guesses found = guesses(level, 1);
    ASSERT_EQ(found.tokens.size(), expected_.tokens.size());
    const auto first = row_errors(found.first, expected_.first, vocabulary_);
    const auto second = row_errors(found.second, expected_.second, vocabulary_);
    printf("%s: first median %.1e worst %.1e, second median %.1e worst %.1e\n", level.c_str(),
           quantile(first, 0.5), quantile(first, 1), quantile(second, 0.5), quantile(second, 1));
    EXPECT_LE(quantile(first, 1), 0.002) << level;
    EXPECT_LE(quantile(second, 1), 0.002) << level;
    EXPECT_EQ(found.tokens, expected_.tokens) << level;
  }
}

TEST_F(DraftGolden, TheTextMayComeInPieces) {
  const Guesses one = guesses("", 1);
  for (const size_t step : {2, 7, 39}) {
    const Guesses found = guesses("", step);
    for (size_t i = 0; i < found.tokens.size(); ++i) {
      const size_t last = std::min((i + 1) * step, tokens_.size() - 1) - 1;
      EXPECT_EQ(found.tokens[i], one.tokens[last]);
      for (size_t k = 0; k < vocabulary_; ++k) {
        ASSERT_EQ(found.first[i * vocabulary_ + k], one.first[last * vocabulary_ + k]);
        ASSERT_EQ(found.second[i * vocabulary_ + k], one.second[last * vocabulary_ + k]);
      }
    }
  }
}

// The block is no part of the main model.
TEST_F(DraftGolden, LogitsOfTheModelItself) {
  const auto engine = load(model_path("qwen3next-drafts.bf16.gguf"), quant::Type::kF32);
  const std::vector<float> expected = read_floats("qwen3next-drafts.logits.f32");
  const auto vocabulary = static_cast<size_t>(engine->model().config().vocabulary);
  EXPECT_LE(quantile(row_errors(run(*engine, tokens_).logits, expected, vocabulary), 1), 0.002);
}

}  // namespace
}  // namespace sluice::golden
