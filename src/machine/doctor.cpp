// SPDX-License-Identifier: Apache-2.0
#include "machine/doctor.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/cpu_topology.h"
#include "base/memory_info.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/cpu/kernels.h"
#include "compute/load_backend.h"
#include "storage/read_queue.h"

namespace sluice::machine {
namespace {

namespace fs = std::filesystem;

constexpr double kGibibyte = 1 << 30;
constexpr uint64_t kHopeless = uint64_t{256} << 20;  // of free memory
constexpr uint64_t kLittle = uint64_t{4} << 30;
constexpr uint64_t kMuchSwap = uint64_t{1} << 30;
// Before a driver speaks the module's CUDA, whatever its minor version.
constexpr int kLeastCuda = 120;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\n')) line.pop_back();
  return line;
}

// KiB of a line of /proc/meminfo, as bytes.
uint64_t meminfo(const std::string& root, const std::string& name) {
  std::ifstream file(root + "/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name + ":"))
      return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) << 10;
  return 0;
}

// The limit in force, as text: "unlimited" or a number of bytes; "" when unknown.
std::string limit_of(const std::string& root, const std::string& name) {
  std::ifstream file(root + "/proc/self/limits");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream words(line.substr(name.size()));
    std::string limit;
    words >> limit;
    return limit;
  }
  return "";
}

double gibibytes(uint64_t bytes) {
  return static_cast<double>(bytes) / kGibibyte;
}

Finding processor(const Probes& probes) {
  const size_t comma = probes.levels.rfind(", ");
  const std::string best =
      comma == std::string::npos ? probes.levels : probes.levels.substr(comma + 2);
  Finding found{Severity::kGood, "processor", "instruction set level " + best, ""};
  if (best == "scalar") {
    found.severity = Severity::kNote;
    found.text = "no instruction set that the kernels use (AVX2, or dot products on ARM)";
    found.remedy =
        "expect a tenth of the usual speed; in a virtual machine, pass the processor's "
        "features on (CPU type \"host\")";
  }
  return found;
}

Finding memory(const Probes& probes) {
  const auto info = memory_info(probes.root);
  if (!info)
    return {Severity::kNote, "memory", "the system does not tell how much there is",
            "give --ram SIZE, or mount /proc"};
  const MemoryBound& bound = info->least_available;
  Finding found{
      Severity::kGood, "memory",
      fmt::format("{:.1f} GiB free of {:.1f}", gibibytes(bound.available), gibibytes(bound.limit)),
      ""};
  if (bound.available < kHopeless) {
    found.severity = Severity::kFatal;
    found.remedy = "close other programs, or raise the limit of " + bound.source;
  } else if (bound.available < kLittle) {
    found.severity = Severity::kNote;
    found.remedy = "close other programs: what is free holds the experts";
  }
  return found;
}

// What bounds the process below the machine's memory.
std::vector<Finding> limits(const Probes& probes) {
  const auto info = memory_info(probes.root);
  if (!info || info->least_limit.source == "/proc/meminfo") return {};
  const MemoryBound& bound = info->least_limit;
  const bool group =
      bound.source.starts_with("/") || bound.source.find("cgroup") != std::string::npos;
  return {{Severity::kNote, group ? "control group" : "limit",
           fmt::format("{} allows {:.1f} GiB", bound.source, gibibytes(bound.limit)),
           group ? "raise it if the model should have more (docker run --memory, MemoryMax=)"
                 : "raise it with ulimit if the model should have more"}};
}

Finding swap(const Probes& probes) {
  const uint64_t total = meminfo(probes.root, "SwapTotal");
  const uint64_t used = total - std::min(total, meminfo(probes.root, "SwapFree"));
  if (total == 0) return {Severity::kGood, "swap", "none (the memory plan needs none)", ""};
  Finding found{Severity::kGood, "swap",
                fmt::format("{:.1f} GiB, {:.1f} used", gibibytes(total), gibibytes(used)), ""};
  if (used > kMuchSwap) {
    found.severity = Severity::kNote;
    found.remedy =
        "close other programs, or give a smaller --ram: a swapped expert is slower than "
        "one that is read from the file";
  }
  return found;
}

Finding huge_pages(const Probes& probes) {
  const std::string mode = first_line(probes.root + "/sys/kernel/mm/transparent_hugepage/enabled");
  if (mode.empty()) return {Severity::kGood, "huge pages", "the system does not tell", ""};
  if (mode.find("[never]") == std::string::npos)
    return {Severity::kGood, "huge pages", "transparent huge pages can be used", ""};
  return {Severity::kNote, "huge pages", "switched off: reads from the disk take longer",
          "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"};
}

Finding ring(const Probes& probes) {
  if (probes.ring) return {Severity::kGood, "io_uring", "can be used", ""};
  Finding found{Severity::kNote, "io_uring",
                "cannot be used, threads read instead: " + probes.ring.error().message, ""};
  const std::string disabled = first_line(probes.root + "/proc/sys/kernel/io_uring_disabled");
  if (disabled == "1" || disabled == "2")
    found.remedy = "sudo sysctl kernel.io_uring_disabled=0";
  else
    found.remedy =
        "in a container: --security-opt seccomp=PROFILE with a profile that allows "
        "io_uring_setup, io_uring_enter and io_uring_register";
  return found;
}

// Of NVIDIA's display devices on the PCI bus.
std::vector<fs::path> nvidia_devices(const std::string& root) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root + "/sys/bus/pci/devices", error)) {
    if (first_line(entry.path() / "vendor") != "0x10de") continue;
    if (first_line(entry.path() / "class").starts_with("0x03")) found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Release Build" or the open module's.
std::string driver_version(const std::string& root) {
  std::istringstream words(first_line(root + "/proc/driver/nvidia/version"));
  for (std::string word; words >> word;) {
    const size_t point = word.find('.');
    if (point != std::string::npos && point > 0 &&
        word.find_first_not_of("0123456789.") == std::string::npos)
      return word;
  }
  return "";
}

std::vector<Finding> gpu(const Probes& probes) {
  std::vector<Finding> found;
  const std::vector<fs::path> devices = nvidia_devices(probes.root);
  const std::string driver = driver_version(probes.root);
  if (devices.empty() && driver.empty() && probes.accelerator.empty()) {
    found.push_back(
        {Severity::kGood, "GPU", "no NVIDIA device: everything is computed on the CPU", ""});
    return found;
  }
  const int cuda = cuda_of_driver(driver);
  if (driver.empty() && probes.accelerator.empty()) {
    found.push_back({Severity::kNote, "GPU driver", "there is an NVIDIA device, but no driver",
                     "install NVIDIA's driver, version 525 or later; in a container: docker run "
                     "--gpus all"});
    return found;
  }
  if (!driver.empty()) {
    Finding version{
        Severity::kGood, "GPU driver",
        cuda > 0 ? fmt::format("{}, speaks CUDA {}.{}", driver, cuda / 10, cuda % 10) : driver, ""};
    if (cuda > 0 && cuda < kLeastCuda) {
      version.severity = Severity::kNote;
      version.remedy = "update the driver to 525 or later: the GPU's module needs CUDA 12";
    }
    found.push_back(std::move(version));
  }
  if (!probes.accelerator.empty())
    found.push_back({Severity::kGood, "GPU", probes.accelerator, ""});
  else if (probes.accelerator_error.kind == ErrorKind::kNotFound)
    found.push_back({Severity::kNote, "GPU module", "libsluice_cuda.so is not installed",
                     "build with -DSLUICE_CUDA=ON (CUDA toolkit 12.4 to 13; nvcc --version), or "
                     "install the package with CUDA"});
  else
    found.push_back({Severity::kNote, "GPU module", probes.accelerator_error.message,
                     "after that run sluice doctor again"});
  for (const fs::path& device : devices) {
    const int width = std::atoi(first_line(device / "current_link_width").c_str());
    const int most = std::atoi(first_line(device / "max_link_width").c_str());
    if (width > 0 && width < most)
      found.push_back({Severity::kNote, "GPU link",
                       fmt::format("{}: {} of {} PCIe lanes are in use", device.filename().string(),
                                   width, most),
                       "expected where a laptop has no more wired; else try another slot"});
  }
  // Drivers take pinned memory from the same limit in some containers.
  const std::string locked = limit_of(probes.root, "Max locked memory");
  if (!locked.empty() && locked != "unlimited" &&
      std::strtoull(locked.c_str(), nullptr, 10) < uint64_t{64} << 20)
    found.push_back({Severity::kNote, "locked memory",
                     fmt::format("at most {} KiB: copies to the GPU may be slower",
                                 std::strtoull(locked.c_str(), nullptr, 10) >> 10),
                     "ulimit -l unlimited (in a container: --ulimit memlock=-1)"});
  return found;
}

std::vector<Finding> disk(const Probes& probes) {
  std::vector<Finding> found;
  if (!probes.cache_writable)
    found.push_back({Severity::kNote, "cache folder",
                     (probes.cache_folder.empty() ? "none" : probes.cache_folder) +
                         ": nothing can be remembered between runs",
                     "set XDG_CACHE_HOME to a folder that can be written"});
  if (probes.device_number.empty()) return found;
  const std::string base = probes.root + "/sys/dev/block/" + probes.device_number;
  std::error_code error;
  const fs::path real = fs::canonical(base, error);
  const std::string name = error ? probes.device_number : real.filename().string();
  std::string rotational = first_line(base + "/queue/rotational");
  if (rotational.empty()) rotational = first_line(base + "/../queue/rotational");  // a partition
  const bool virtual_disk = name.starts_with("vd") || name.starts_with("xvd");
  if (virtual_disk)  // which say of themselves that they turn
    found.push_back({Severity::kGood, "disk",
                     fmt::format("{} is on {}, a virtual disk", probes.folder, name), ""});
  else if (rotational == "1")
    found.push_back(
        {Severity::kNote, "disk",
         fmt::format("{} is on {}, a disk that turns", probes.folder, name),
         "keep models that do not fit in memory on an SSD: experts are read at random"});
  else if (!rotational.empty())
    found.push_back({Severity::kGood, "disk",
                     fmt::format("{} is on {}, {}", probes.folder, name,
                                 name.starts_with("nvme") ? "an NVMe disk" : "which does not turn"),
                     ""});
  else
    found.push_back({Severity::kGood, "disk",
                     fmt::format("{} is on no disk of this machine's own ({})", probes.folder,
                                 probes.device_number),
                     ""});
  return found;
}

void append(std::vector<Finding>& to, std::vector<Finding> more) {
  to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace

int cuda_of_driver(const std::string& version) {
  struct {
    int driver, cuda;
  } const table[] = {{580, 130}, {575, 129}, {570, 128}, {565, 127}, {560, 126},
                     {555, 125}, {550, 124}, {545, 123}, {535, 122}, {530, 121},
                     {525, 120}, {520, 118}, {515, 117}, {510, 116}, {495, 115},
                     {470, 114}, {465, 113}, {460, 112}, {455, 111}, {450, 110}};
  const int driver = std::atoi(version.c_str());
  for (const auto& row : table)
    if (driver >= row.driver) return row.cuda;
  return 0;
}

Result<Probes> probe_this_machine(const std::string& folder, const std::string& cache_folder) {
  Probes probes;
  probes.levels = cpu::available_levels();
  const auto queue = storage::open_read_queue(
      {"/proc/self/exe"},
      {.mode = storage::ReadMode::kBuffered, .engine = storage::ReadEngine::kIoUring});
  if (!queue) probes.ring = fail(queue.error());
  const auto host =
      compute::Backend::open(cpu::cpu_backend(), {compute_cpus().threads, "", 0, nullptr});
  if (!host) return fail(host.error());
  const auto device = compute::load_backend("cuda", {compute_cpus().threads, "", 0, &*host});
  if (device)
    probes.accelerator = device->describe();
  else
    probes.accelerator_error = device.error();
  if (!folder.empty()) {
    struct stat status = {};
    if (::stat(folder.c_str(), &status) != 0)
      return fail(ErrorKind::kNotFound, "{}: there is no such file or folder", folder);
    probes.folder = folder;
    probes.device_number = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
  }
  probes.cache_folder = cache_folder;
  std::error_code error;
  fs::create_directories(cache_folder, error);
  probes.cache_writable = !cache_folder.empty() && ::access(cache_folder.c_str(), W_OK) == 0;
  return probes;
}

std::vector<Finding> examine(const Probes& probes) {
  std::vector<Finding> found = {processor(probes), memory(probes)};
  append(found, limits(probes));
  append(found, {swap(probes), huge_pages(probes), ring(probes)});
  append(found, gpu(probes));
  append(found, disk(probes));
  return found;
}

bool any_fatal(const std::vector<Finding>& findings) {
  return std::ranges::any_of(
      findings, [](const Finding& finding) { return finding.severity == Severity::kFatal; });
}

}  // namespace sluice::machine
