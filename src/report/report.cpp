// SPDX-License-Identifier: Apache-2.0
#include "report/report.h"

#include <algorithm>
#include <array>

namespace sluice::report {
namespace {

constexpr std::array<const char*, 8> kCauses = {"refused",   "out of memory", "killed",
                                                "crashed",   "timeout",       "interrupted",
                                                "no result", "not started"};

// Of what may be unknown.
void raise(double& most, double value) {
  if (known(value) && !(most >= value)) most = value;
}
void add(double& sum, double value) {
  if (known(value)) sum = known(sum) ? sum + value : value;
}

}  // namespace

const char* cause_name(Cause cause) {
  return kCauses[static_cast<size_t>(cause)];
}

std::optional<Cause> find_cause(const std::string& name) {
  for (size_t i = 0; i < kCauses.size(); ++i)
    if (name == kCauses[i]) return static_cast<Cause>(i);
  return std::nullopt;
}

Peaks peaks(const Case& one) {
  Peaks p;
  double cpu_seconds = 0, busy_seconds = 0, gpu_sum = 0, gpu_count = 0;
  for (const Recording& recording : one.recordings) {
    const Samples& s = recording.samples;
    if (recording.peak_resident > 0)
      raise(p.resident, static_cast<double>(recording.peak_resident));
    raise(p.resident, highest(s, Column::kResident));
    raise(p.proportional, highest(s, Column::kProportional));
    raise(p.swap, highest(s, Column::kProcessSwap));
    raise(p.swap_growth, highest(s, Column::kSwapUsed) - first_known(s, Column::kSwapUsed));
    if (const double least = lowest(s, Column::kAvailable); known(least) && !(p.available <= least))
      p.available = least;
    raise(p.vram, highest(s, Column::kVramUsed));
    if (!known(p.vram_before)) p.vram_before = first_known(s, Column::kVramUsed);
    add(p.major_faults, static_cast<double>(recording.major_faults));
    add(p.disk_read, last_known(s, Column::kProcessRead));
    for (const Point& rate : rates_over_time(s, Column::kProcessRead, 0.5))
      raise(p.disk_rate, rate.y);
    raise(p.cpu_temperature, highest(s, Column::kCpuTemperature));
    raise(p.gpu_temperature, highest(s, Column::kGpuTemperature));

    // The load while it computes: from the end of the first phase, which is the load, on.
    const double loaded = recording.phases.size() > 1 ? recording.phases[1].begin : recording.began;
    const auto from = std::find_if(
        s.begin(), s.end(), [&](const Sample& sample) { return sample[Column::kTime] >= loaded; });
    const std::span<const Sample> computing(from, s.end());
    const double rate = mean_rate(computing, Column::kProcessCpu);
    const double seconds = growth(computing, Column::kTime);
    if (known(rate) && seconds > 0) {
      cpu_seconds += rate * seconds;
      busy_seconds += seconds;
    }
    for (const Sample& sample : computing)
      if (known(sample[Column::kGpuLoad])) {
        gpu_sum += sample[Column::kGpuLoad];
        ++gpu_count;
      }
  }
  if (busy_seconds > 0) p.cpu_load = 100 * cpu_seconds / busy_seconds;
  if (gpu_count > 0) p.gpu_load = gpu_sum / gpu_count;
  // Too short to be looked at once loaded: better the load of all of it than none.
  if (gpu_count == 0)
    for (const Recording& recording : one.recordings)
      raise(p.gpu_load, mean(recording.samples, Column::kGpuLoad));
  return p;
}

}  // namespace sluice::report
