// SPDX-License-Identifier: Apache-2.0
// Looks at another process and at the machine through /proc, /sys and NVML.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "report/nvml.h"
#include "report/sample.h"

namespace sluice::report {

struct ProbeOptions {
  std::string root;            // put before every path
  const Nvml* nvml = nullptr;  // nullptr: nothing is known of a GPU
  int gpu = 0;                 // which, as NVML counts
};

class Probe {
 public:
  explicit Probe(const ProbeOptions& options);

  // What cannot be read stays unknown, and a process that is gone has only the machine's numbers.
  // The time is left to the caller. `proportional`: read PSS too, for which the kernel walks all
  // pages of the process.
  Sample read(pid_t process, bool proportional);

 private:
  void read_process(const std::string& folder, bool proportional, Sample& sample) const;
  void read_machine(Sample& sample) const;

  ProbeOptions options_;
  std::vector<std::string> disks_;              // names in diskstats that are whole disks
  std::vector<std::string> temperature_files_;  // of the processor
};

// Reads ten times a second on a thread of its own.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;

  Recorder(const ProbeOptions& options, Clock::time_point origin,
           std::chrono::milliseconds interval = std::chrono::milliseconds(100));
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void start(pid_t process);
  // Ends the recording and hands it over.
  Samples stop();

 private:
  void record(pid_t process);

  Probe probe_;
  Clock::time_point origin_;
  std::chrono::milliseconds interval_;
  std::atomic<bool> stopping_{false};
  Samples samples_;
  std::thread thread_;
};

}  // namespace sluice::report
