// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_topology.h"

#include <gtest/gtest.h>
#include <hwloc.h>
#include <sched.h>

#include <thread>

namespace sluice {
namespace {

TEST(CpuTopology, IsAtLeastOneAndAtMostTheMachine) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_LE(available_cpus(), static_cast<int>(std::thread::hardware_concurrency()));
}

TEST(CpuTopology, FollowsTheAffinityOfTheProcess) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  const int cpus = available_cpus();
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(cpus, 1);
}

// A made-up machine: `cores` cores of `threads` hardware threads.
class Machine {
 public:
  explicit Machine(const char* description) {
    hwloc_topology_init(&topology_);
    hwloc_topology_set_synthetic(topology_, description);
    EXPECT_EQ(hwloc_topology_load(topology_), 0);
  }
  ~Machine() { hwloc_topology_destroy(topology_); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // CPUs first .. last are of this efficiency class.
  void kind(unsigned first, int last, int efficiency) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(set, first, last);
    EXPECT_EQ(hwloc_cpukinds_register(topology_, set, efficiency, 0, nullptr, 0), 0);
    hwloc_bitmap_free(set);
  }
  ComputeCpus cpus() const { return compute_cpus_of(topology_); }

 private:
  hwloc_topology_t topology_ = nullptr;
};

TEST(CpuTopology, OneThreadPerCoreWhereAllAreAlike) {
  const ComputeCpus cpus = Machine("core:6 pu:2").cpus();
  EXPECT_EQ(cpus.threads, 6);
  EXPECT_TRUE(cpus.fastest.empty());
}

TEST(CpuTopology, TheFastCoresOfAHybridProcessor) {
  Machine machine("core:8 pu:2");  // four of each kind
  machine.kind(0, 7, 1);
  machine.kind(8, 15, 0);
  EXPECT_EQ(machine.cpus().threads, 4);
  EXPECT_EQ(machine.cpus().fastest, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(CpuTopology, KindsOfUnknownSpeedAreAlike) {
  Machine machine("core:4 pu:1");
  machine.kind(0, 1, -1);
  machine.kind(2, 3, -1);
  EXPECT_EQ(machine.cpus().threads, 4);
  EXPECT_TRUE(machine.cpus().fastest.empty());
}

TEST(CpuTopology, ThisMachine) {
  EXPECT_GE(compute_cpus().threads, 1);
  EXPECT_LE(compute_cpus().threads, available_cpus());
}

TEST(CpuTopology, AThreadCanBeRestricted) {
  std::thread([] {
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    int last = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) last = cpu;
    restrict_thread_to({});  // nothing to run on: ignored
    EXPECT_GE(available_cpus(), 1);
    restrict_thread_to({last});
    ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    EXPECT_EQ(CPU_COUNT(&set), 1);
    EXPECT_TRUE(CPU_ISSET(last, &set));
  }).join();
}

}  // namespace
}  // namespace sluice
