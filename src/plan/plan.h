// SPDX-License-Identifier: Apache-2.0
// Will it run here, and how fast: from a file's header, a machine and settings. Nothing is loaded.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/description.h"
#include "engine/placement.h"
#include "machine/machine.h"
#include "plan/corrections.h"
#include "plan/predictor.h"

namespace sluice::plan {

struct Settings {
  std::string model;    // for messages
  int64_t context = 0;  // 0: what the model can, or a budget leaves room for
  int64_t depth = 0;    // tokens in the context before: speeds are those behind them
  int64_t prompt = 0;   // also predict a prompt of so many tokens
  int64_t ubatch = 512;
  int threads = 0;      // 0: the machine's
  uint64_t ram = 0;     // 0: what is free, less a margin
  int gpu_layers = -1;  // 0: without an accelerator
  int device = 0;       // which, as overrides name it
  uint64_t vram = 0;    // 0: what is free, less a margin
  int cpu_moe_layers = 0;
  std::vector<engine::TensorOverride> overrides;  // of where experts lie
  model::CacheTypes cache;
  engine::CheckpointOptions checkpoints{0, 0, -1};
  bool drafts = false;  // load what guesses further tokens, where the file has it; what it gains is
                        // not predicted
  model::RopeOverride rope;
};

// Nine of ten measurements lie between low and high.
struct Estimate {
  double value = 0, low = 0, high = 0;
};

struct Tier {
  uint64_t bytes = 0;      // of its memory; of the disk, the experts that are on it alone
  uint64_t per_token = 0;  // bytes that one token reads there
};

struct Forecast {
  engine::Placement placement;
  Shares shares;
  Tier device, memory, disk;
  StepTime token;
  Kind bound = Kind::kDecode;
  Estimate first_token_30, first_token_512;  // seconds
  Estimate pp512, pp2048, tg128;             // tokens per second
  int64_t prompt = 0;                        // Settings::prompt
  std::optional<Estimate> asked;             // of such a prompt
};

// A change and what it is worth.
struct Advice {
  std::string change;                 // "+4 GB RAM"
  double generation = 1, prompt = 1;  // speed, as a multiple
  bool makes_it_fit = false;
};

struct Plan {
  engine::ModelDescription model;
  int64_t experts = 0, used = 0;
  std::optional<Forecast> forecast;  // nullopt: it does not fit
  std::string refusal;               // then why, with the nearest settings that fit
  std::vector<Advice> advice;        // the best first
  std::vector<std::string> notes;    // what was assumed
};

// What makes a plan, but the machine that may change.
class Planner {
 public:
  // Errors of the metadata. `file` must outlive it.
  static Result<Planner> create(const gguf::Gguf& file, const Settings& settings);

  const Work& work() const { return work_; }
  const model::Config& config() const { return config_; }
  uint32_t part_bytes() const;  // of an expert's usual part: what is read at once; 0: no experts

  // kTooLarge where it does not fit.
  Result<engine::Placement> place(const machine::Machine& machine, const Settings& settings) const;
  // `disk`: nullptr: a usual one is assumed.
  Result<Forecast> forecast(const machine::Machine& machine, const machine::DiskTimes* disk,
                            const Corrections& corrections, const Settings& settings) const;
  Plan plan(const machine::Machine& machine, const machine::DiskTimes* disk,
            const Corrections& corrections, const Settings& settings) const;

 private:
  Planner(const gguf::Gguf& file, model::Config config)
      : file_(&file), config_(std::move(config)), work_(work_of(file, config_)) {}
  std::vector<Advice> advise(const machine::Machine& machine, const machine::DiskTimes* disk,
                             const Corrections& corrections, const Settings& settings,
                             const std::optional<Forecast>& now) const;

  const gguf::Gguf* file_;
  model::Config config_;
  Work work_;
};

// For people, several lines; and for programs.
std::string format_text(const Plan& plan, const machine::Machine& machine);
std::string format_json(const Plan& plan, const machine::Machine& machine);

}  // namespace sluice::plan
