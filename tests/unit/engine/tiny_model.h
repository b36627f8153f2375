// SPDX-License-Identifier: Apache-2.0
// Tiny models with a real vocabulary: the 256 bytes, a few merges, ChatML's control tokens.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../model/test_model.h"
#include "../temp_folder.h"
#include "engine/engine.h"
#include "engine/session.h"

namespace sluice::test {

// Rows 0-255 are the bytes in order, then the merged pieces, then the added tokens; after the last
// token the embedding has 4 rows without one.
inline constexpr int32_t kEndOfText = 262, kTurnStart = 263, kTurnEnd = 264, kToolCall = 265;
inline constexpr int32_t kUnusedRow = 266;
inline constexpr int32_t kTokens = 267;
inline constexpr int64_t kRows = 271;

// Random weights, the vocabulary and a ChatML template.
TestModel tiny_model(uint32_t seed = 1, const std::string& architecture = "qwen3moe");
// With recurrent layers, and a block for multi-token prediction that guesses at random.
TestModel drafting_model(uint32_t seed = 1);

// A model whose greedy answer is known: after script[i] comes script[i + 1], whatever stood before.
// The tokens must differ from one another.
TestModel scripted_model(const std::vector<int32_t>& script);
// The same with recurrent layers and a block that always guesses right, but for what comes behind
// the tokens of `mistakes`.
TestModel scripted_drafting_model(std::string_view text, std::string_view mistakes = "");
// `text` byte by byte, then <|im_end|>. Its bytes must differ from one another.
TestModel scripted_model(std::string_view text);

// A loaded engine that owns its file. Throws when it cannot be loaded.
class TinyEngine {
 public:
  explicit TinyEngine(const TestModel& model, engine::EngineOptions options = {});

  engine::Engine& operator*() { return *engine_; }
  engine::Engine* operator->() { return engine_.get(); }
  engine::Session session();
  engine::Sampler greedy();

 private:
  TempFolder folder_;
  std::unique_ptr<engine::Engine> engine_;
};

std::vector<int32_t> bytes_as_tokens(std::string_view text);

}  // namespace sluice::test
