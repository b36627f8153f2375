// SPDX-License-Identifier: Apache-2.0
// What the one-shot and the interactive form of `sluice run` share.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/learning.h"
#include "apps/options.h"
#include "engine/generate.h"

namespace sluice::apps {

struct RunOptions {
  CommonOptions common;
  std::optional<std::string> prompt;
  std::string system;
  int64_t predict = -1;
  std::vector<std::string> stop;
  std::optional<bool> conversation;  // unset: when there is a template
  bool interactive = false;          // go on chatting after -p
  bool single_turn = false;
  bool multiline = false;
  bool display_prompt = true;
  bool show_special = false;
  bool show_timings = true;
  bool escape = true;
  engine::CheckpointOptions checkpoints;
  int64_t most_guesses = 3;
  std::optional<bool> guess;  // ahead, where the model can
  std::shared_ptr<engine::DraftPolicy> drafts;
  std::shared_ptr<Learning> learning;  // for predictions; nullptr: nothing is learned
  std::string trace;     // file that the requests for experts are recorded in; empty: none
  std::string timeline;  // the same with times, and what came and left
  nlohmann::ordered_json template_kwargs;
  std::optional<std::string> grammar;      // GBNF that answers follow
  std::optional<std::string> json_schema;  // or a JSON schema
  std::shared_ptr<engine::Constraint> constraint;
};

// Runs one answer, streaming to standard output, and prints the timing line. `turns`: of the
// prompt, see Session::reuse.
Result<engine::GenerateResult> answer(engine::Session& session, engine::Sampler& sampler,
                                      std::span<const text::Token> prompt,
                                      std::vector<int64_t> turns, const RunOptions& options);

// The chat at the terminal (or from a pipe, one message a line).
Status chat(engine::Session& session, const RunOptions& options);

}  // namespace sluice::apps
