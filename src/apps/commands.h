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

// Set by Ctrl-C while an answer is being generated.
extern std::atomic<bool> interrupted;
// From now on Ctrl-C sets `interrupted`; a second one before it is cleared ends the program.
void catch_interrupts();

// What the engine used is read first at its next start. A warning when it cannot be remembered.
void remember_usage(engine::Engine& engine);

// Writes all of it to standard output now; kIo when that fails (disk full, closed pipe).
Status print_out(std::string_view text);

}  // namespace sluice::apps
