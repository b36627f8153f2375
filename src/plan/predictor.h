// SPDX-License-Identifier: Apache-2.0
// How long a token and a prompt take, from what has to be done, what the machine can do, and where
// everything lies. ADR 20 says how.
#pragma once

#include <optional>

#include "engine/placement.h"
#include "machine/machine.h"
#include "plan/corrections.h"
#include "plan/costs.h"
#include "plan/work.h"

namespace sluice::plan {

// Seconds of a step. The parts may overlap: they add up to `total` or more.
struct StepTime {
  double total = 0;
  double processor = 0;  // computing on the CPU
  double disk = 0;       // waiting for reads while nothing is left to compute
  double device = 0;     // computing on the accelerator, or copying to it

  StepTime& operator+=(const StepTime& other);
  StepTime operator*(double factor) const;
  // What takes most of it.
  Kind bound(bool prompt) const;
};

struct PredictorOptions {
  int threads = 0;       // 0: the machine's
  int64_t ubatch = 512;  // rows of one forward pass
};

// Where a token's experts are, on average.
struct Shares {
  double device = 0, memory = 0, disk = 0;  // add up to 1
};

class Predictor {
 public:
  // What is given must outlive it. `disk`: nullptr where all experts fit, or none is known, in
  // which case a usual one is assumed.
  Predictor(const Work& work, const machine::Machine& machine, const engine::Placement& placement,
            const machine::DiskTimes* disk, const Corrections& corrections,
            const PredictorOptions& options);

  const Shares& shares() const { return shares_; }
  // One token at a position.
  StepTime token(int64_t position) const;
  // So many tokens, on average from a position on.
  StepTime generation(int64_t tokens, int64_t position) const;
  // A prompt that is read from a position on, with the cache as generating leaves it.
  StepTime prompt(int64_t tokens, int64_t position) const;

 private:
  StepTime token_experts(const LayerWork& layer) const;
  StepTime host_experts(const LayerWork& layer, int64_t count, double miss) const;
  StepTime batch(int64_t rows, int64_t position) const;
  StepTime batch_experts(const LayerWork& layer, int64_t rows) const;
  double dense_seconds(const Costs& costs, const LayerWork& layer, int64_t rows, int64_t position,
                       bool last) const;
  double corrected(Kind kind, double seconds) const;

  const Work& work_;
  const machine::Machine& machine_;
  const engine::Placement& placement_;
  const machine::DiskTimes* disk_;
  const Corrections& corrections_;
  PredictorOptions options_;
  Costs host_;
  std::optional<Costs> device_;
  Shares shares_;
  double held_device_ = 0;  // share of all experts in the accelerator's memory
  double held_ = 0;         // in any
};

// A usual NVMe disk: what is assumed where none was measured.
const machine::DiskTimes& usual_disk();

}  // namespace sluice::plan
