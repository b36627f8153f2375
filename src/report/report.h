// SPDX-License-Identifier: Apache-2.0
// What a study found out: models in settings on this machine. The writers and the JSON file have
// no other source.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/sample.h"

namespace sluice::report {

struct Model {
  std::string name;  // of the file, made unique
  std::string path;
  uint64_t file_bytes = 0;  // of all parts
  std::string type;         // "qwen3moe 30B.A3B Q4_K - Medium"; "" until a case has run
  uint64_t parameters = 0;
};

// Flags of `run` and `bench`, by name without dashes: {"ram", "8G"}.
struct Setting {
  std::string name;
  std::vector<std::pair<std::string, std::string>> flags;
  uint64_t memory_limit = 0;  // of the control group that its cases run in; 0: none
};

// Of `sluice bench`. Tokens per second; unknown where the test did not finish.
struct Speeds {
  double prompt = kUnknown, prompt_deviation = kUnknown;
  double generation = kUnknown, generation_deviation = kUnknown;
  double load_seconds = kUnknown;
  std::string backend;
  // While generating: share of experts that were in memory (0 to 1), bytes read from the disk
  // per second while reads were under way, share of the time that the computation waited for it.
  double experts_in_memory = kUnknown;
  double read_rate = kUnknown;
  double waiting = kUnknown;
  // The same while reading the prompt.
  double prompt_waiting = kUnknown;
};

// Of `sluice run` with the standard question.
struct Answer {
  double first_token = kUnknown;  // seconds from the request on, the model being loaded
  double prompt_rate = kUnknown, generation_rate = kUnknown;
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double experts_in_memory = kUnknown;
  std::string text;
};

enum class Cause {
  kRefused,      // the program said no, with a message
  kOutOfMemory,  // killed by the kernel for want of memory
  kKilled,       // by a signal from outside
  kCrashed,
  kTimeout,
  kInterrupted,
  kNoResult,  // it ended well but told nothing
  kNotStarted,
};
// In JSON: "out of memory".
const char* cause_name(Cause cause);
std::optional<Cause> find_cause(const std::string& name);

struct Failure {
  std::string stage;  // "bench" or "run"
  Cause cause = Cause::kRefused;
  std::string message;  // one line for people
  int exit_code = -1, signal = 0;
  double after = 0;                     // seconds
  std::vector<std::string> last_lines;  // of standard error
};

// From `begin` on the process did this: "load", "pp512", "tg128", "answer".
struct Phase {
  double begin = 0;
  std::string name;
};

// What one process was seen to do.
struct Recording {
  std::string stage;
  double began = 0, ended = 0;  // seconds since the case began
  uint64_t peak_resident = 0;   // as the kernel counted it
  uint64_t major_faults = 0;
  std::vector<Phase> phases;
  Samples samples;
};

// By `sluice plan`.
struct Prediction {
  double first_token = kUnknown;
  int64_t prompt_tokens = 512;  // that `prompt` is about
  double prompt = kUnknown;
  double generation = kUnknown, generation_low = kUnknown, generation_high = kUnknown;
  double memory = kUnknown, vram = kUnknown;  // bytes
  bool fits = true;
};

struct Case {
  size_t model = 0, setting = 0;  // indices
  std::string began;              // UTC, RFC 3339
  std::string command;            // that repeats the measurement
  std::optional<Speeds> speeds;
  std::optional<Answer> answer;
  std::optional<Prediction> predicted;
  std::vector<std::string> plans;  // how the program shared out memory, in its own words
  std::vector<Failure> failures;
  std::vector<Recording> recordings;
};

// Over all recordings of a case. Bytes, seconds, percent; unknown where nobody told.
struct Peaks {
  double resident = kUnknown, proportional = kUnknown;
  double swap = kUnknown;         // of the processes
  double swap_growth = kUnknown;  // of the machine, over what it was at the beginning
  double available = kUnknown;    // the least
  double vram = kUnknown, vram_before = kUnknown;
  double major_faults = kUnknown;
  double disk_read = kUnknown;  // bytes that the processes read
  double disk_rate = kUnknown;  // most per second, over half a second
  double cpu_load = kUnknown;   // mean, once loaded; 100: one CPU
  double gpu_load = kUnknown;   // the same
  double cpu_temperature = kUnknown, gpu_temperature = kUnknown;
};
Peaks peaks(const Case& one);

struct Gpu {
  std::string name;
  uint64_t vram = 0;
};
struct Disk {
  std::string name;  // "nvme0n1"
  std::string model;
  std::string kind;  // "SSD", "hard disk"
};

struct Machine {
  std::string cpu;
  int logical_cpus = 0, compute_threads = 0;
  uint64_t memory = 0, swap = 0;
  uint64_t memory_limit = 0;  // of its control group or other limits; 0: none
  std::string memory_limit_source;
  std::string system, kernel;
  std::vector<Gpu> gpus;
  std::string driver;
  std::string no_gpu;       // why nothing is known of one
  std::vector<Disk> disks;  // with the models
};

struct Report {
  std::string title;
  std::string time;     // UTC, RFC 3339
  std::string program;  // "sluice 0.1.0 (commit abcdef)"
  Machine machine;
  std::string question;
  int64_t prompt_tokens = 512, generated_tokens = 128, answer_tokens = 512;
  int repetitions = 3;
  double timeout = 0;
  bool complete = true;  // false: it was stopped, or is still going on
  std::vector<Model> models;
  std::vector<Setting> settings;
  std::vector<Case> cases;  // those that began
};

// To compare with.
struct Earlier {
  std::string name;  // of the file
  Report report;
};

}  // namespace sluice::report
