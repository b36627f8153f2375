// SPDX-License-Identifier: Apache-2.0
// Made-up /proc and /sys trees.
#include "machine/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../temp_folder.h"

namespace sluice::machine {
namespace {

using testing::HasSubstr;

class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    memory(16 << 20, 8 << 20);
    write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    probes_.root = folder_.path();
    probes_.levels = "scalar, avx2";
    probes_.accelerator_error = {ErrorKind::kNotFound, "no backend cuda"};
    probes_.cache_folder = "/cache";
  }
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void memory(int64_t total, int64_t available, int64_t swap = 0, int64_t swap_free = 0) {
    write("/proc/meminfo", fmt::format("MemTotal: {} kB\nMemFree: 1000 kB\nMemAvailable: {} kB\n"
                                       "SwapTotal: {} kB\nSwapFree: {} kB\n",
                                       total, available, swap, swap_free));
  }
  void device(const std::string& width = "16", const std::string& most = "16") {
    const std::string path = "/sys/bus/pci/devices/0000:01:00.0";
    write(path + "/vendor", "0x10de\n");
    write(path + "/class", "0x030000\n");
    write(path + "/current_link_width", width + "\n");
    write(path + "/max_link_width", most + "\n");
  }
  void driver(const std::string& version) {
    write("/proc/driver/nvidia/version",
          "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  " + version +
              "  Release Build  (dvs-builder)\nGCC version:\n");
  }
  // What is found about a subject; severity kGood and no text where nothing is.
  Finding about(const std::string& subject) const {
    for (const Finding& finding : examine(probes_))
      if (finding.subject == subject) return finding;
    return {};
  }

  test::TempFolder folder_;
  Probes probes_;
};

TEST_F(DoctorTest, AGoodMachineHasNothingToBeDone) {
  for (const Finding& finding : examine(probes_)) {
    EXPECT_EQ(finding.severity, Severity::kGood) << finding.subject << ": " << finding.text;
    EXPECT_EQ(finding.remedy, "");
  }
  EXPECT_FALSE(any_fatal(examine(probes_)));
  EXPECT_THAT(about("memory").text, HasSubstr("8.0 GiB free of 16.0"));
  EXPECT_THAT(about("processor").text, HasSubstr("avx2"));
}

TEST_F(DoctorTest, EveryFindingThatIsNotGoodHasARemedy) {
  memory(16 << 20, 100 << 10, 8 << 20, 1 << 20);
  write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  write("/proc/self/limits", "Max locked memory         8388608   8388608   bytes\n");
  probes_.levels = "scalar";
  probes_.ring = fail(ErrorKind::kUnsupported, "io_uring_queue_init: Operation not permitted");
  probes_.cache_writable = false;
  probes_.folder = "/models";
  probes_.device_number = "8:0";
  write("/sys/dev/block/8:0/queue/rotational", "1\n");
  device("8", "16");
  driver("470.82.01");
  int notes = 0;
  for (const Finding& finding : examine(probes_)) {
    if (finding.severity == Severity::kGood) continue;
    ++notes;
    EXPECT_NE(finding.remedy, "") << finding.subject;
    EXPECT_EQ(finding.text.find('\n'), std::string::npos);
    EXPECT_EQ(finding.remedy.find('\n'), std::string::npos);
  }
  EXPECT_EQ(notes, 11);
}

TEST_F(DoctorTest, WithoutMemoryNothingRuns) {
  memory(16 << 20, 200 << 10);
  EXPECT_EQ(about("memory").severity, Severity::kFatal);
  EXPECT_TRUE(any_fatal(examine(probes_)));
  memory(16 << 20, 1 << 20);
  EXPECT_EQ(about("memory").severity, Severity::kNote);
}

TEST_F(DoctorTest, AControlGroupIsNamed) {
  write("/proc/self/cgroup", "0::/box\n");
  write("/proc/self/mountinfo", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  write("/sys/fs/cgroup/box/memory.max", "4294967296\n");
  write("/sys/fs/cgroup/box/memory.current", "1048576\n");
  const Finding found = about("control group");
  EXPECT_EQ(found.severity, Severity::kNote);
  EXPECT_THAT(found.text, HasSubstr("/sys/fs/cgroup/box/memory.max allows 4.0 GiB"));
}

TEST_F(DoctorTest, AForbiddenRingNamesWhatForbidsIt) {
  probes_.ring = fail(ErrorKind::kUnsupported, "not permitted");
  EXPECT_THAT(about("io_uring").remedy, HasSubstr("seccomp"));
  write("/proc/sys/kernel/io_uring_disabled", "2\n");
  EXPECT_THAT(about("io_uring").remedy, HasSubstr("sysctl kernel.io_uring_disabled=0"));
}

TEST_F(DoctorTest, GpuWithoutDriver) {
  device();
  EXPECT_EQ(about("GPU driver").severity, Severity::kNote);
  EXPECT_THAT(about("GPU driver").remedy, HasSubstr("--gpus all"));
}

TEST_F(DoctorTest, GpuWithoutModule) {
  device();
  driver("570.86.15");
  EXPECT_EQ(about("GPU driver").severity, Severity::kGood);
  EXPECT_THAT(about("GPU driver").text, HasSubstr("570.86.15, speaks CUDA 12.8"));
  EXPECT_THAT(about("GPU module").remedy, HasSubstr("SLUICE_CUDA=ON"));
}

TEST_F(DoctorTest, GpuWithAnOldDriver) {
  device();
  driver("510.47.03");
  EXPECT_EQ(about("GPU driver").severity, Severity::kNote);
  EXPECT_THAT(about("GPU driver").text, HasSubstr("CUDA 11.6"));
  EXPECT_THAT(about("GPU driver").remedy, HasSubstr("update the driver"));
}

TEST_F(DoctorTest, GpuThatWorksOnFewLanes) {
  device("8", "16");
  driver("580.65");
  probes_.accelerator = "NVIDIA GeForce RTX 3060, compute capability 8.6, 6.0 GiB";
  EXPECT_EQ(about("GPU").severity, Severity::kGood);
  EXPECT_EQ(about("GPU module").text, "");
  EXPECT_THAT(about("GPU link").text, HasSubstr("8 of 16 PCIe lanes"));
}

TEST_F(DoctorTest, OtherDevicesAreNoGpu) {
  const std::string path = "/sys/bus/pci/devices/0000:02:00.0";
  write(path + "/vendor", "0x10de\n");
  write(path + "/class", "0x040300\n");  // sound
  EXPECT_THAT(about("GPU").text, HasSubstr("no NVIDIA device"));
}

TEST_F(DoctorTest, KindsOfDisks) {
  probes_.folder = "/models";
  probes_.device_number = "259:1";
  EXPECT_EQ(about("disk").severity, Severity::kGood) << "an unknown one";
  write("/sys/dev/block/259:1/queue/rotational", "0\n");
  EXPECT_EQ(about("disk").severity, Severity::kGood);
  write("/sys/dev/block/259:1/queue/rotational", "1\n");
  EXPECT_EQ(about("disk").severity, Severity::kNote);
}

TEST(Doctor, VersionsOfDrivers) {
  EXPECT_EQ(cuda_of_driver("570.86.15"), 128);
  EXPECT_EQ(cuda_of_driver("525.60"), 120);
  EXPECT_EQ(cuda_of_driver("520.61.05"), 118);
  EXPECT_EQ(cuda_of_driver("999.1"), 130);
  EXPECT_EQ(cuda_of_driver("390.1"), 0);
  EXPECT_EQ(cuda_of_driver(""), 0);
}

TEST(Doctor, ThisMachineCanBeLookedAt) {
  const test::TempFolder folder;
  const auto probes = probe_this_machine(folder.path(), folder.path() + "/cache");
  ASSERT_TRUE(probes) << probes.error().message;
  EXPECT_TRUE(probes->cache_writable);
  EXPECT_NE(probes->levels, "");
  EXPECT_GE(examine(*probes).size(), 6u);
  EXPECT_EQ(probe_this_machine(folder.path() + "/none", "").error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace sluice::machine
