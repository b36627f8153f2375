// SPDX-License-Identifier: Apache-2.0
#include "report/machine.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/cpu_name.h"
#include "base/cpu_topology.h"
#include "base/memory_info.h"
#include "report/small_files.h"

namespace sluice::report {
namespace {

namespace fs = std::filesystem;

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string system_name(const std::string& root) {
  std::ifstream file(root + "/etc/os-release");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("PRETTY_NAME=")) {
      std::string name = line.substr(12);
      std::erase(name, '"');
      return name;
    }
  return "Linux";
}

uint64_t bytes_in(const std::string& file, const char* name) {
  const double kibibytes = field_of(file, name);
  return known(kibibytes) ? static_cast<uint64_t>(kibibytes) * 1024 : 0;
}

}  // namespace

Disk disk_of(const std::string& file, const std::string& root) {
  struct stat status {};
  if (stat(file.c_str(), &status) != 0) return {};
  std::error_code error;
  fs::path folder = fs::canonical(
      fmt::format("{}/sys/dev/block/{}:{}", root, major(status.st_dev), minor(status.st_dev)),
      error);
  if (error) return {};
  // A partition's folder lies in its disk's.
  if (fs::exists(folder / "partition", error)) folder = folder.parent_path();
  Disk disk;
  disk.name = folder.filename().string();
  disk.model = trimmed(first_line((folder / "device/model").string()));
  const double rotational = number_of(first_line((folder / "queue/rotational").string()));
  // Disks of virtual machines have no model and call themselves rotational, whatever they are.
  if (rotational == 0)
    disk.kind = "SSD";
  else if (rotational == 1 && !disk.model.empty())
    disk.kind = "hard disk";
  return disk;
}

Machine describe_machine(const Nvml* nvml, const std::string& no_gpu,
                         const std::vector<std::string>& files, const std::string& root) {
  Machine machine;
  machine.cpu = cpu_name();
  machine.logical_cpus = static_cast<int>(std::thread::hardware_concurrency());
  machine.compute_threads = compute_cpus().threads;
  machine.memory = bytes_in(root + "/proc/meminfo", "MemTotal:");
  machine.swap = bytes_in(root + "/proc/meminfo", "SwapTotal:");
  if (const auto info = memory_info(root); info && info->least_limit.limit < machine.memory) {
    machine.memory_limit = info->least_limit.limit;
    machine.memory_limit_source = info->least_limit.source;
  }
  machine.system = system_name(root);
  utsname names{};
  if (uname(&names) == 0) machine.kernel = std::string(names.sysname) + " " + names.release;
  machine.no_gpu = no_gpu;
  if (nvml) {
    machine.driver = nvml->driver();
    for (int i = 0; i < nvml->devices(); ++i)
      machine.gpus.push_back({nvml->name(i), nvml->vram_total(i)});
  }
  for (const std::string& file : files) {
    Disk disk = disk_of(file, root);
    const auto same = [&](const Disk& other) { return other.name == disk.name; };
    if (!disk.name.empty() && std::none_of(machine.disks.begin(), machine.disks.end(), same))
      machine.disks.push_back(std::move(disk));
  }
  return machine;
}

}  // namespace sluice::report
