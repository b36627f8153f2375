// SPDX-License-Identifier: Apache-2.0
#include "engine/machine_sample.h"

#include "base/memory_info.h"

namespace sluice::engine {

MachineSample take_sample(const Engine& engine, const Scheduler& scheduler) {
  MachineSample sample;
  model::Model& model = engine.model();
  model.experts().take_census(sample.census);
  sample.cache = model.experts().statistics();
  if (const auto& plan = engine.device_plan()) {
    sample.device.emplace();  // of a dense model nothing more is told
    sample.vram_bytes = plan->weights + plan->session + plan->buffers + sample.census.device_bytes;
  }
  if (const residency::DeviceTier* tier = model.device_experts()) {
    tier->add_uses(sample.census.uses);
    sample.device = tier->statistics();
  }
  const SchedulerStatistics statistics = scheduler.statistics();
  sample.sampled_tokens = statistics.sampled_tokens;
  sample.last_token = statistics.last_token;
  sample.ram_bytes = resident_bytes().value_or(0);
  sample.at = std::chrono::steady_clock::now();
  return sample;
}

}  // namespace sluice::engine
