// SPDX-License-Identifier: Apache-2.0
// Runs a program and tells how it ended, whatever happens to it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "report/memory_group.h"

namespace sluice::report {

struct Command {
  std::vector<std::string> arguments;  // the first is the program's path
  double timeout = 0;                  // seconds; 0: none
  const MemoryGroup* group = nullptr;
  const std::atomic<bool>* interrupted = nullptr;  // ends the program when it becomes true
  std::function<void(pid_t)> started;              // told once it runs
  std::chrono::steady_clock::time_point origin;    // of the times below
};

struct Line {
  double time = 0;  // seconds since the origin
  std::string text;
};

struct Outcome {
  int exit_code = -1;  // -1: it did not exit by itself
  int signal = 0;      // that ended it
  bool timed_out = false;
  bool interrupted = false;
  bool out_of_memory = false;  // the kernel killed it for want of memory
  double began = 0, ended = 0;
  double first_output = -1;  // time of the first byte on standard output; -1: none came
  uint64_t peak_resident = 0;
  uint64_t major_faults = 0;
  std::string output;        // standard output, at most 16 MiB of it
  std::vector<Line> errors;  // standard error, the last 1000 lines

  bool succeeded() const { return exit_code == 0; }
};

// Errors only when the program cannot be started (kIo). It runs in a process group of its own, so
// that Ctrl-C is the caller's matter, ends with the caller, and is what the kernel kills first when
// memory runs out.
Result<Outcome> run_process(const Command& command);

}  // namespace sluice::report
