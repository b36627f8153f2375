// SPDX-License-Identifier: Apache-2.0
// Made-up /proc and /sys trees.
#include "base/memory_info.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../temp_folder.h"

namespace sluice {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr const char* kNoLimitV1 = "9223372036854771712\n";

class MemoryInfoTest : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  const std::string& root() const { return folder_.path(); }

  // 16 GiB, half of them available.
  void machine() {
    write(
        "/proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:         1048576 kB\n"
        "MemAvailable:    8388608 kB\nBuffers:              16 kB\nCached:          6291456 kB\n");
  }
  void mounts(const std::string& lines) {
    write("/proc/self/mountinfo",
          "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n" + lines);
  }
  void v2_mount(const std::string& top = "/") {
    mounts("30 22 0:26 " + top + " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  }
  void v2_group(const std::string& path, const std::string& max, uint64_t current,
                uint64_t inactive = 0, uint64_t active = 0) {
    const std::string folder = "/sys/fs/cgroup" + path;
    write(folder + "/memory.max", max + "\n");
    write(folder + "/memory.high", "max\n");
    write(folder + "/memory.current", std::to_string(current) + "\n");
    write(folder + "/memory.stat",
          "anon 4096\nfile 8192\ninactive_anon 77\nactive_anon 88\n"
          "inactive_file " +
              std::to_string(inactive) + "\nactive_file " + std::to_string(active) + "\n");
  }
  void v1_group(const std::string& path, const std::string& limit, uint64_t usage,
                uint64_t inactive = 0, uint64_t active = 0,
                const std::string& hierarchical = kNoLimitV1) {
    const std::string folder = "/sys/fs/cgroup/memory" + path;
    write(folder + "/memory.limit_in_bytes", limit);
    write(folder + "/memory.usage_in_bytes", std::to_string(usage) + "\n");
    write(folder + "/memory.stat", "inactive_file 1\nactive_file 2\nhierarchical_memory_limit " +
                                       hierarchical + "total_inactive_file " +
                                       std::to_string(inactive) + "\ntotal_active_file " +
                                       std::to_string(active) + "\n");
  }

  void expect(uint64_t limit, uint64_t available, const std::string& source) {
    const auto info = memory_info(root());
    ASSERT_TRUE(info);
    EXPECT_EQ(info->least_limit.limit, limit);
    EXPECT_EQ(info->least_available.available, available);
    EXPECT_EQ(info->least_available.source, source);
    EXPECT_EQ(available_bytes(root()), available);
  }
  void expect_machine() { expect(16384 * kMiB, 8192 * kMiB, "/proc/meminfo"); }

 private:
  test::TempFolder folder_;
};

TEST_F(MemoryInfoTest, NothingIsKnownOfAnEmptyTree) {
  EXPECT_FALSE(memory_info(root()));
  EXPECT_FALSE(available_bytes(root()));
  EXPECT_FALSE(memory_pressure(root()));
  EXPECT_FALSE(resident_bytes(root()));
}

TEST_F(MemoryInfoTest, WhatTheProcessHasInMemory) {
  write("/proc/self/status", "Name:\tsluice\nVmPeak:\t  900 kB\nVmRSS:\t   300 kB\nThreads:\t2\n");
  EXPECT_EQ(resident_bytes(root()), 300u * 1024);
  EXPECT_GT(resident_bytes(), 1u << 20) << "of this process";
}

TEST_F(MemoryInfoTest, AMachineWithoutLimits) {
  machine();
  expect_machine();
}

TEST_F(MemoryInfoTest, OldKernelsDoNotSayWhatIsAvailable) {
  write("/proc/meminfo", "MemTotal: 4096 kB\nMemFree: 1024 kB\nCached: 512 kB\n");
  expect(4 * kMiB, 3 * kMiB / 2, "/proc/meminfo");
}

TEST_F(MemoryInfoTest, Version2FreesItsFilePages) {
  machine();
  v2_mount();
  write("/proc/self/cgroup", "0::/user/app\n");
  v2_group("/user", "max", 6000 * kMiB);
  v2_group("/user/app", std::to_string(4096 * kMiB), 3000 * kMiB, 500 * kMiB, 1500 * kMiB);
  expect(4096 * kMiB, 3096 * kMiB, "/sys/fs/cgroup/user/app/memory.max");
}

TEST_F(MemoryInfoTest, Version2LimitsOfParentsAndTheSlowDownCount) {
  machine();
  v2_mount();
  write("/proc/self/cgroup", "0::/a/b/c\n");
  v2_group("/a", std::to_string(2048 * kMiB), 1900 * kMiB);
  v2_group("/a/b", "max", 900 * kMiB);
  v2_group("/a/b/c", std::to_string(1024 * kMiB), 100 * kMiB);
  expect(1024 * kMiB, 148 * kMiB, "/sys/fs/cgroup/a/memory.max");
  write("/sys/fs/cgroup/a/b/memory.high", std::to_string(1000 * kMiB) + "\n");
  expect(1000 * kMiB, 100 * kMiB, "/sys/fs/cgroup/a/b/memory.high");
}

TEST_F(MemoryInfoTest, Version2InAContainerShowsItsOwnTop) {
  machine();
  write("/proc/self/cgroup", "0::/\n");  // a namespace of its own
  v2_mount();
  v2_group("", std::to_string(512 * kMiB), 112 * kMiB);
  expect(512 * kMiB, 400 * kMiB, "/sys/fs/cgroup/memory.max");

  write("/proc/self/cgroup", "0::/docker/77/job\n");  // only the mount is
  v2_mount("/docker/77");
  v2_group("/job", std::to_string(256 * kMiB), 56 * kMiB);
  expect(256 * kMiB, 200 * kMiB, "/sys/fs/cgroup/job/memory.max");

  write("/proc/self/cgroup", "0::/../../elsewhere\n");  // outside of what is shown
  v2_mount();
  expect(512 * kMiB, 400 * kMiB, "/sys/fs/cgroup/memory.max");
}

TEST_F(MemoryInfoTest, Version1) {
  machine();
  mounts(
      "31 22 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "32 22 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n");
  write("/proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/jobs/one\n0::/\n");
  v1_group("", kNoLimitV1, 9000 * kMiB);
  v1_group("/jobs", kNoLimitV1, 5000 * kMiB);
  v1_group("/jobs/one", std::to_string(3072 * kMiB) + "\n", 1100 * kMiB, 60 * kMiB, 40 * kMiB);
  expect(3072 * kMiB, 2072 * kMiB, "/sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes");
  v1_group("/jobs", std::to_string(5100 * kMiB) + "\n", 5000 * kMiB);
  expect(3072 * kMiB, 100 * kMiB, "/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes");
}

TEST_F(MemoryInfoTest, Version1LimitAboveWhatIsShown) {
  machine();
  mounts("32 22 0:29 /docker/77 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  write("/proc/self/cgroup", "4:memory:/docker/77\n");
  v1_group("", kNoLimitV1, 300 * kMiB, 0, 0, std::to_string(1000 * kMiB) + "\n");
  expect(1000 * kMiB, 700 * kMiB, "/sys/fs/cgroup/memory/memory.stat");
}

// systemd's hybrid set-up: version 2 is mounted, the memory controller belongs to version 1.
TEST_F(MemoryInfoTest, Hybrid) {
  machine();
  mounts(
      "32 22 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "33 22 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  write("/proc/self/cgroup", "4:memory:/m\n1:name=systemd:/m\n0::/m\n");
  write("/sys/fs/cgroup/unified/m/cgroup.procs", "1\n");
  v1_group("/m", std::to_string(2000 * kMiB) + "\n", 500 * kMiB);
  expect(2000 * kMiB, 1500 * kMiB, "/sys/fs/cgroup/memory/m/memory.limit_in_bytes");
}

TEST_F(MemoryInfoTest, MountsWithBlanksInTheirNames) {
  machine();
  mounts("30 22 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n");
  write("/proc/self/cgroup", "0::/a\n");
  write("/sys/fs/c group/a/memory.max", "104857600\n");
  write("/sys/fs/c group/a/memory.current", "4857600\n");
  expect(104857600, 100000000, "/sys/fs/c group/a/memory.max");
}

TEST_F(MemoryInfoTest, MoreInUseThanAllowedLeavesNothing) {
  machine();
  v2_mount();
  write("/proc/self/cgroup", "0::/a\n");
  v2_group("/a", std::to_string(100 * kMiB), 180 * kMiB, 10 * kMiB);
  expect(100 * kMiB, 0, "/sys/fs/cgroup/a/memory.max");
  v2_group("/a", std::to_string(100 * kMiB), 80 * kMiB, 300 * kMiB);  // not more than the limit
  expect(100 * kMiB, 100 * kMiB, "/sys/fs/cgroup/a/memory.max");
}

TEST_F(MemoryInfoTest, ResourceLimits) {
  machine();
  write("/proc/self/status", "Name:\tsluice\nVmSize:\t  102400 kB\nVmData:\t   51200 kB\n");
  const std::string head =
      "Limit                     Soft Limit           Hard Limit           Units\n";
  write("/proc/self/limits",
        head +
            "Max data size             unlimited            unlimited            bytes\n"
            "Max address space         1073741824           unlimited            bytes\n");
  expect(1024 * kMiB, 924 * kMiB, "ulimit -v");
  write("/proc/self/limits",
        head +
            "Max data size             536870912            unlimited            bytes\n"
            "Max address space         1073741824           unlimited            bytes\n");
  expect(512 * kMiB, 462 * kMiB, "ulimit -d");
  // Address space that is only reserved says nothing of memory in use.
  const auto info = memory_info(root());
  EXPECT_EQ(info->least_backed.limit, 16384 * kMiB);
  EXPECT_EQ(info->least_backed.available, 8192 * kMiB);
  EXPECT_EQ(info->least_backed.source, "/proc/meminfo");
}

TEST_F(MemoryInfoTest, DamagedFilesBoundNothing) {
  machine();
  v2_mount();
  write("/proc/self/cgroup", "nonsense\n0:\n0::/a\n");
  v2_group("/a", "-5", 10);
  expect_machine();
  for (const char* bad : {"", "\n", "many", "12x", "99999999999999999999999", "0x10", " 7"}) {
    v2_group("/a", bad, 10);
    expect_machine();
  }
  v2_group("/a", "1048576", 10);
  write("/sys/fs/cgroup/a/memory.current", "?\n");
  expect_machine();
  v2_group("/a", "1048576", 1000);
  write("/sys/fs/cgroup/a/memory.stat",
        "inactive_file\nactive_file x\n\n");  // then nothing is free
  expect(kMiB, kMiB - 1000, "/sys/fs/cgroup/a/memory.max");

  mounts("30 22\nx\n - cgroup2\n30 22 0:26 / /sys/fs/cgroup rw - cgroup2\n");
  expect_machine();
  write("/proc/self/limits", "Max address space\nMax data size   ?   ?\n");
  write("/proc/self/status", "VmSize:\nVmData: -1 kB\n");
  expect_machine();
  write("/proc/meminfo", "MemTotal: lots kB\nMemAvailable:\n");
  EXPECT_FALSE(memory_info(root()));
}

TEST_F(MemoryInfoTest, PressureOfTheCgroupBeforeThatOfTheMachine) {
  write("/proc/pressure/memory",
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=2.00 avg60=0 avg300=0 "
        "total=1\n");
  EXPECT_EQ(memory_pressure(root()), 12.5);
  v2_mount();
  write("/proc/self/cgroup", "0::/a\n");
  EXPECT_EQ(memory_pressure(root()), 12.5);
  write("/sys/fs/cgroup/a/memory.pressure", "some avg10=0.75 avg60=1.00 avg300=0.00 total=9\n");
  EXPECT_EQ(memory_pressure(root()), 0.75);
  for (const char* bad : {"", "full avg10=1.00", "some avg10=", "some avg10=x", "some avg10=-1",
                          "some avg10=101", "some avg10=nan"}) {
    write("/sys/fs/cgroup/a/memory.pressure", bad);
    EXPECT_EQ(memory_pressure(root()), 12.5) << bad;
  }
}

TEST_F(MemoryInfoTest, ThisMachine) {
  const auto info = memory_info();
  ASSERT_TRUE(info);
  EXPECT_GT(info->least_limit.limit, kMiB);
  EXPECT_LE(info->least_available.available, info->least_available.limit);
  EXPECT_LE(info->least_limit.limit, info->least_available.limit);
  EXPECT_FALSE(info->least_available.source.empty());
  if (const auto pressure = memory_pressure()) {
    EXPECT_GE(*pressure, 0);
    EXPECT_LE(*pressure, 100);
  }
}

}  // namespace
}  // namespace sluice
