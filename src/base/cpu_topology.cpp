// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_topology.h"

#include <hwloc.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

namespace sluice {
namespace {

// CPUs allowed by a cgroup's CFS quota, or 0 when there is no quota.
int cgroup_quota_cpus() {
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period) {
    if (quota == "max" || period <= 0) return 0;
    return static_cast<int>(std::ceil(std::atof(quota.c_str()) / period));
  }
  double v1_quota = 0;
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota_file >> v1_quota && period_file >> period && v1_quota > 0 && period > 0)
    return static_cast<int>(std::ceil(v1_quota / period));
  return 0;
}

ComputeCpus find_compute_cpus() {
  ComputeCpus found;
  found.threads = available_cpus();
  // Where /sys is missing or odd (containers), the library would complain on the terminal.
  setenv("HWLOC_HIDE_ERRORS", "2", 0);
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) == 0) {
    // Only cores matter: caches, devices and the like need not be looked for.
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(topology) == 0) found = compute_cpus_of(topology);
    hwloc_topology_destroy(topology);
  }
  found.threads = std::clamp(found.threads, 1, available_cpus());
  return found;
}

}  // namespace

ComputeCpus compute_cpus_of(hwloc_topology_t topology) {
  ComputeCpus result;
  hwloc_bitmap_t fastest = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
  // Kinds are ordered by efficiency class, the fastest last; one kind (or none) means all alike.
  const int kinds = hwloc_cpukinds_get_nr(topology, 0);
  hwloc_bitmap_t of_kind = hwloc_bitmap_alloc();
  int class_of_kind = -1;
  if (kinds > 1 &&
      hwloc_cpukinds_get_info(topology, static_cast<unsigned>(kinds - 1), of_kind, &class_of_kind,
                              nullptr, nullptr, 0) == 0 &&
      class_of_kind > 0 && hwloc_bitmap_intersects(of_kind, fastest)) {
    hwloc_bitmap_and(fastest, fastest, of_kind);
    for (int cpu = hwloc_bitmap_first(fastest); cpu >= 0; cpu = hwloc_bitmap_next(fastest, cpu))
      result.fastest.push_back(cpu);
  }
  const int cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, fastest, HWLOC_OBJ_CORE);
  result.threads = cores > 0 ? cores : std::max(hwloc_bitmap_weight(fastest), 1);
  hwloc_bitmap_free(of_kind);
  hwloc_bitmap_free(fastest);
  return result;
}

const ComputeCpus& compute_cpus() {
  static const ComputeCpus found = find_compute_cpus();
  return found;
}

void restrict_thread_to(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus)
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  if (CPU_COUNT(&set) > 0) sched_setaffinity(0, sizeof(set), &set);
}

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  if (const int quota = cgroup_quota_cpus(); quota > 0) cpus = std::min(cpus, quota);
  return std::max(cpus, 1);
}

}  // namespace sluice
