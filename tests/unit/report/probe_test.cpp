// SPDX-License-Identifier: Apache-2.0
// Made-up /proc and /sys trees, and the real ones.
#include "report/probe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "../temp_folder.h"
#include "report/machine.h"

namespace sluice::report {
namespace {

class ProbeTest : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  // Process 7 and a machine with two disks.
  void everything() {
    // rss is the 24th field: 1000 pages; times are the 14th and 15th, major faults the 12th.
    write(
        "/proc/7/stat",
        "7 (a (odd) name) R 1 7 7 0 -1 4194304 100 0 42 0 250 50 0 0 20 0 4 0 1 99999 1000 5 0\n");
    write("/proc/7/status", "Name:\tsluice\nVmRSS:\t 4000 kB\nVmSwap:\t   12 kB\n");
    write("/proc/7/io", "rchar: 1\nread_bytes: 8192\nwrite_bytes: 4096\n");
    write("/proc/7/smaps_rollup", "00 [rollup]\nRss: 4000 kB\nPss:  3000 kB\nPss_Dirty: 5 kB\n");
    write(
        "/proc/meminfo",
        "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapTotal: 2000 kB\nSwapFree: 1500 kB\n");
    write("/proc/stat", "cpu  100 20 30 5000 7 1 2 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n");
    write("/proc/diskstats",
          "   7 0 loop0 9 0 999 0 0 0 0 0 0 0 0\n"
          " 259 0 nvme0n1 10 0 200 0 5 0 40 0 0 0 0\n"
          " 259 1 nvme0n1p1 10 0 200 0 5 0 40 0 0 0 0\n"
          "   8 0 sda 1 0 100 0 1 0 10 0 0 0 0\n"
          " 253 0 dm-0 1 0 100 0 1 0 10 0 0 0 0\n");
    for (const char* disk : {"nvme0n1", "sda", "loop0", "dm-0"})
      write(std::string("/sys/block/") + disk + "/size", "1\n");
    write("/sys/class/hwmon/hwmon0/name", "nvme\n");
    write("/sys/class/hwmon/hwmon0/temp1_input", "99000\n");
    write("/sys/class/hwmon/hwmon1/name", "coretemp\n");
    write("/sys/class/hwmon/hwmon1/temp1_input", "61000\n");
    write("/sys/class/hwmon/hwmon1/temp2_input", "64500\n");
  }

  Sample read(bool proportional = true) {
    return Probe({folder_.path(), nullptr, 0}).read(7, proportional);
  }

  test::TempFolder folder_;
};

TEST_F(ProbeTest, ReadsAProcessAndTheMachine) {
  everything();
  const Sample s = read();
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  const double tick = static_cast<double>(sysconf(_SC_CLK_TCK));
  EXPECT_EQ(s[Column::kResident], 1000 * page);
  EXPECT_EQ(s[Column::kProportional], 3000 * 1024);
  EXPECT_EQ(s[Column::kProcessSwap], 12 * 1024);
  EXPECT_EQ(s[Column::kMajorFaults], 42);
  EXPECT_EQ(s[Column::kProcessCpu], 300 / tick);
  EXPECT_EQ(s[Column::kProcessRead], 8192);
  EXPECT_EQ(s[Column::kProcessWritten], 4096);
  EXPECT_EQ(s[Column::kAvailable], 8388608.0 * 1024);
  EXPECT_EQ(s[Column::kSwapUsed], 500 * 1024);
  EXPECT_EQ(s[Column::kMachineCpu], 153 / tick) << "without idle and waiting";
  EXPECT_EQ(s[Column::kDiskRead], 300 * 512) << "whole disks, none twice";
  EXPECT_EQ(s[Column::kDiskWritten], 50 * 512);
  EXPECT_EQ(s[Column::kCpuTemperature], 64.5) << "not the disk's";
  EXPECT_FALSE(known(s[Column::kGpuLoad]));
}

TEST_F(ProbeTest, ProportionalOnlyWhenAsked) {
  everything();
  EXPECT_FALSE(known(read(false)[Column::kProportional]));
}

TEST_F(ProbeTest, ThermalZonesWhereThereIsNoSensor) {
  everything();
  std::filesystem::remove_all(folder_.path() + "/sys/class/hwmon");
  write("/sys/class/thermal/thermal_zone0/type", "acpitz\n");
  write("/sys/class/thermal/thermal_zone0/temp", "20000\n");
  write("/sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n");
  write("/sys/class/thermal/thermal_zone1/temp", "55000\n");
  EXPECT_EQ(read()[Column::kCpuTemperature], 55);
}

TEST_F(ProbeTest, WhatIsMissingOrOddStaysUnknown) {
  Sample empty = read();
  for (size_t i = 0; i < kColumns; ++i) EXPECT_FALSE(known(empty.values[i])) << i;
  everything();
  write("/proc/7/stat", "7 (x) Z 1 7 7 0 -1 4 100 0 42 0 250 50 0 0 20 0 4 0 1 99 1000 5 0\n");
  EXPECT_FALSE(known(read()[Column::kResident])) << "a zombie has nothing";
  write("/proc/7/stat", "7 (x R 1 2\n");
  write("/proc/meminfo", "MemAvailable: lots\n");
  write("/sys/class/hwmon/hwmon1/temp1_input", "\n");
  const Sample s = read();
  EXPECT_FALSE(known(s[Column::kProcessCpu]));
  EXPECT_FALSE(known(s[Column::kAvailable]));
  EXPECT_FALSE(known(s[Column::kSwapUsed]));
  EXPECT_EQ(s[Column::kCpuTemperature], 64.5);
}

TEST(Nvml, ReadsWhatTheLibraryTells) {
  const Result<Nvml> nvml = Nvml::load(SLUICE_FAKE_NVML);
  ASSERT_TRUE(nvml) << nvml.error().message;
  EXPECT_EQ(nvml->devices(), 2);
  EXPECT_EQ(nvml->name(0), "Fake 3060");
  EXPECT_EQ(nvml->driver(), "570.10");
  EXPECT_EQ(nvml->vram_total(1), uint64_t{6144} << 20);
  const GpuReading first = nvml->read(0, 139);
  EXPECT_EQ(first.load_percent, 73);
  EXPECT_EQ(first.vram_used, 3796.0 * (1 << 20)) << "without what the driver reserves";
  EXPECT_EQ(first.temperature, 61);
  EXPECT_EQ(first.power, 80.5);
  EXPECT_EQ(first.vram_of_process, 40.0 * (1 << 20)) << "the last of more than expected";
  EXPECT_FALSE(known(nvml->read(0, 101).vram_of_process)) << "the driver does not tell";
  const GpuReading second = nvml->read(1, 139);
  EXPECT_FALSE(known(second.load_percent));
  EXPECT_EQ(second.vram_used, 4096.0 * (1 << 20)) << "the older function";
  EXPECT_FALSE(known(nvml->read(2, 1).vram_used));
  EXPECT_EQ(nvml->name(-1), "");
}

TEST(Nvml, MissingLibraryIsSaidInOneLine) {
  const Result<Nvml> nvml = Nvml::load("libsluice-no-such.so.1");
  ASSERT_FALSE(nvml);
  EXPECT_EQ(nvml.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(nvml.error().message.find("libsluice-no-such.so.1: not found"), std::string::npos);
}

TEST(Recorder, FollowsThisProcess) {
  Recorder recorder({}, Recorder::Clock::now(), std::chrono::milliseconds(10));
  recorder.start(getpid());
  // 64 MiB that are there for a while.
  std::vector<char> memory(64 << 20, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const Samples samples = recorder.stop();
  ASSERT_GE(samples.size(), 5u);
  EXPECT_GE(highest(samples, Column::kResident), 64.0 * (1 << 20));
  EXPECT_TRUE(known(highest(samples, Column::kProportional)));
  EXPECT_TRUE(known(samples.back()[Column::kAvailable]));
  for (size_t i = 1; i < samples.size(); ++i)
    EXPECT_GT(samples[i][Column::kTime], samples[i - 1][Column::kTime]);
  EXPECT_TRUE(recorder.stop().empty()) << "handed over";
}

TEST_F(ProbeTest, MachineTellsMemoryAndSystem) {
  everything();
  write("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 100 kB\nSwapTotal: 2048 kB\n");
  write("/etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n");
  const Machine m = describe_machine(nullptr, "no library", {"/nowhere"}, folder_.path());
  EXPECT_EQ(m.memory, uint64_t{16} << 30);
  EXPECT_EQ(m.swap, uint64_t{2} << 20);
  EXPECT_EQ(m.system, "Some Linux 12");
  EXPECT_EQ(m.no_gpu, "no library");
  EXPECT_TRUE(m.disks.empty());
  EXPECT_FALSE(m.cpu.empty());
  EXPECT_GE(m.compute_threads, 1);
}

}  // namespace
}  // namespace sluice::report
