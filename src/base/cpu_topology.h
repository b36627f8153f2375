// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

struct hwloc_topology;

namespace sluice {

// Where compute threads belong.
struct ComputeCpus {
  // How many threads: one per core of the fastest kind, at most what affinity and quota allow.
  int threads = 1;
  // The logical CPUs (numbers of the operating system) of those cores when the machine has slower
  // ones too; empty when all are alike and threads may run anywhere.
  std::vector<int> fastest;
};

// Of this process: scheduler affinity, cgroup quota and kinds of cores respected. Measured once.
const ComputeCpus& compute_cpus();

// The same for a topology that is loaded already, without affinity and quota.
ComputeCpus compute_cpus_of(hwloc_topology* topology);

// CPUs this process may run on: scheduler affinity and cgroup quota both respected. At least 1.
int available_cpus();

// Lets the calling thread (and threads that it starts) run on these CPUs only. Ignored when the
// system refuses.
void restrict_thread_to(const std::vector<int>& cpus);

}  // namespace sluice
