// SPDX-License-Identifier: Apache-2.0
// The commands of the one binary. Each parses its arguments, does its work and prints.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"

namespace sluice::apps {

using Arguments = std::vector<std::string>;

Status run_command(const Arguments& arguments);
Status serve_command(const Arguments& arguments);
Status top_command(const Arguments& arguments);
Status inspect_command(const Arguments& arguments);
Status tokenize_command(const Arguments& arguments);
Status detokenize_command(const Arguments& arguments);
Status eval_command(const Arguments& arguments);
Status quantize_command(const Arguments& arguments);
Status bench_command(const Arguments& arguments);
Status plan_command(const Arguments& arguments);
Status doctor_command(const Arguments& arguments);
Status replay_command(const Arguments& arguments);
Status synth_command(const Arguments& arguments);
Status report_command(const Arguments& arguments);
Status pull_command(const Arguments& arguments);
Status list_command(const Arguments& arguments);
Status rm_command(const Arguments& arguments);
Status completion_command(const Arguments& arguments);

struct Command {
  const char* name;
  std::vector<std::string> aliases;  // llama.cpp's container entry points among them
  const char* description;
  Status (*run)(const Arguments&);
  std::vector<Arguments> parts = {};  // what is to come first, where it has several tables of flags
};
const std::vector<Command>& commands();

// Set by Ctrl-C while an answer is being generated.
extern std::atomic<bool> interrupted;
// From now on Ctrl-C sets `interrupted`; a second one before it is cleared ends the program.
void catch_interrupts();

struct CommonOptions;
// A model that was given without a flag: a file here, an address, or OWNER/REPO[:QUANTISATION] of
// the hub.
void take_model(const std::string& model, CommonOptions& options);

// Makes engine.model_path the model's file: that of -m, or of -hf or -mu, downloaded first where it
// is not here. kUsage when there is none of them.
Status find_model(CommonOptions& options);

// For looking at headers only: what is here, else where it lies; nothing is downloaded.
Result<gguf::Gguf> open_model(CommonOptions& options);

// What the engine used is read first at its next start. A warning when it cannot be remembered.
void remember_usage(engine::Engine& engine);

// Writes all of it to standard output now; kIo when that fails (disk full, closed pipe).
Status print_out(std::string_view text);

}  // namespace sluice::apps
