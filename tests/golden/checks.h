// SPDX-License-Identifier: Apache-2.0
// What every architecture must do with its tiny model NAME: files NAME.bf16.gguf, NAME.json and the
// reference values of its cases (see reference.h). Each check is one test of a program.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/session.h"
#include "reference.h"

namespace sluice::golden {

// Throws on errors. Two threads.
std::unique_ptr<engine::Engine> load(const std::string& path, quant::Type cache,
                                     int64_t ubatch = 512, const std::string& isa = "");

// Instruction set levels of this machine, the slow one first.
std::vector<std::string> levels();

struct Run {
  std::vector<float> logits;               // of every token
  std::vector<std::vector<float>> hidden;  // by stage
};
Run run(engine::Engine& engine, const std::vector<int32_t>& tokens);

// The first three run at every instruction set level of this machine, with a float cache; the level
// scalar, which is fifty times slower, in the first of them only.
// Error of the logits: median at most 0.002 of their deviation.
void check_logits_of_every_position(const std::string& name);
// The same for the hidden states after every layer.
void check_hidden_states_after_every_layer(const std::string& name);
// The reference's greedy continuation wherever its margin is clear, at `least` positions or more.
// Every step follows the reference's path, so one near-tie does not hide the steps after it.
void check_greedy_continuation(const std::string& name, int least);
// A prompt read in any pieces leaves the same bits behind as the whole one.
void check_batch_size_does_not_change_the_answer(const std::string& name, const std::string& file);

}  // namespace sluice::golden
