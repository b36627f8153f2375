// SPDX-License-Identifier: Apache-2.0
#include "machine/measure.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/cpu_name.h"
#include "base/cpu_topology.h"
#include "base/memory_info.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/load_backend.h"
#include "machine/compute_rates.h"
#include "machine/disk_times.h"
#include "storage/cache_folder.h"
#include "storage/disk_profile.h"

namespace sluice::machine {
namespace {

constexpr uint64_t kStoreLimit = 4 << 20;
constexpr size_t kMostDisks = 16;
constexpr double kProcessorSeconds = 4.5;
constexpr double kDeviceSeconds = 2;
constexpr uint64_t kWeightBytes = uint64_t{256} << 20;
constexpr uint64_t kUsualCache = uint64_t{16} << 20;

uint32_t usual_part(uint32_t bytes) {
  return std::clamp<uint32_t>(bytes, 64 << 10, 4 << 20);
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The largest cache of the first processor, in bytes; 0: unknown.
uint64_t last_level_cache(const std::string& root) {
  uint64_t largest = 0;
  for (int i = 0; i < 8; ++i) {
    const std::string size =
        first_line(fmt::format("{}/sys/devices/system/cpu/cpu0/cache/index{}/size", root, i));
    if (size.empty()) continue;
    const uint64_t unit = size.ends_with('M') ? uint64_t{1} << 20 : uint64_t{1} << 10;
    largest = std::max<uint64_t>(largest, std::strtoull(size.c_str(), nullptr, 10) * unit);
  }
  return largest;
}

// What this process may use at most: the machine's memory, or a control group's.
uint64_t total_memory() {
  const auto info = memory_info();
  return info ? info->least_limit.limit : 0;
}

// GiB of the machine, whatever limits there are.
uint64_t installed_gibibytes(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("MemTotal:"))
      return (std::strtoull(line.c_str() + 9, nullptr, 10) + (1 << 19)) >> 20;
  return 0;
}

void tell(const MeasureOptions& options, const std::string& text) {
  if (options.tell) options.tell(text);
}

// An accelerator and what is free of its memory now; nullopt with the reason.
std::optional<compute::Backend> open_accelerator(const MeasureOptions& options,
                                                 const compute::Backend& host,
                                                 std::string& reason) {
  if (!options.accelerator) {
    reason = "not looked for";
    return std::nullopt;
  }
  auto opened = compute::load_backend("cuda", {compute_cpus().threads, "", options.device, &host});
  if (opened) return std::move(*opened);
  reason = opened.error().message;
  return std::nullopt;
}

Result<Accelerator> measure_accelerator(const compute::Backend& device) {
  Accelerator gpu;
  gpu.name = device.describe();
  uint64_t total = 0, unused = 0;
  SLUICE_TRY(device.check(device->memory_info(device.get(), &unused, &total)));
  gpu.memory_bytes = total;
  gpu.free_bytes = unused;
  RatesOptions options;
  options.seconds = kDeviceSeconds;
  options.bytes = std::min<uint64_t>(2 * kWeightBytes, unused / 2);
  options.near_bytes = options.bytes;
  SLUICE_ASSIGN(gpu.rates, measure_compute(device, options));
  SLUICE_ASSIGN(gpu.to_device, measure_copies(device));
  return gpu;
}

Result<Machine> measure(const compute::Backend& host, const compute::Backend* device) {
  Machine machine;
  machine.identity = machine_identity();
  Processor& p = machine.processor;
  p.name = cpu_name();
  p.threads = compute_cpus().threads;
  const std::string described = host.describe();
  p.isa = described.substr(0, described.find(','));
  p.last_level_cache = last_level_cache("");
  const uint64_t cache = p.last_level_cache > 0 ? p.last_level_cache : kUsualCache;
  RatesOptions options;
  options.seconds = kProcessorSeconds;
  const uint64_t memory = available_bytes().value_or(kWeightBytes * 4);
  options.bytes = std::min(kWeightBytes, memory / 4);
  options.near_bytes = std::min<uint64_t>(cache / 2, uint64_t{8} << 20);
  p.memory_read = measure_memory(p.threads, options.bytes);
  SLUICE_ASSIGN(p.rates, measure_compute(host, options));
  if (device) {
    SLUICE_ASSIGN(machine.accelerator, measure_accelerator(*device));
  }
  return machine;
}

void remember(const std::string& store, const Machine& machine) {
  // A machine that is measured again next time is slower to plan for, not wrong.
  if (!store.empty())
    static_cast<void>(storage::replace_small_file(store, format_machine(machine)));
}

// What is remembered and is of this machine.
std::optional<Machine> remembered(const MeasureOptions& options) {
  const std::string store = remembered_machine(options.cache_folder);
  std::error_code error;
  if (store.empty() || !std::filesystem::exists(store, error)) return std::nullopt;
  const auto text = storage::read_small_file(store, kStoreLimit);
  auto machine = text ? parse_machine(*text, store) : fail(text.error());
  if (!machine) {
    tell(options, fmt::format("{} (measured anew)", machine.error().message));
    return std::nullopt;
  }
  if (machine->identity != machine_identity()) return std::nullopt;
  return std::move(*machine);
}

// What its times are found by again.
std::string disk_key(const std::vector<std::string>& paths, uint32_t part_bytes, bool buffered) {
  struct stat status = {};
  if (::stat(paths.front().c_str(), &status) != 0) status = {};
  return fmt::format("disk {}:{} at {} KiB, {}", major(status.st_dev), minor(status.st_dev),
                     usual_part(part_bytes) >> 10, buffered ? "cached" : "direct");
}

}  // namespace

std::string machine_identity(const std::string& root) {
  const std::string dmi = root + "/sys/class/dmi/id/";
  return fmt::format("{} x{} | {} | {} | {} GiB", cpu_name(), compute_cpus().threads,
                     first_line(dmi + "product_name"), first_line(dmi + "board_name"),
                     installed_gibibytes(root));
}

std::string remembered_machine(const std::string& folder) {
  return folder.empty() ? "" : folder + "/machine.json";
}

Result<Machine> this_machine(const MeasureOptions& options) {
  const ComputeCpus& cpus = compute_cpus();
  if (!cpus.fastest.empty()) restrict_thread_to(cpus.fastest);
  SLUICE_ASSIGN(const compute::Backend host,
                compute::Backend::open(cpu::cpu_backend(), {cpus.threads, ""}));
  std::string reason;
  const std::optional<compute::Backend> device = open_accelerator(options, host, reason);
  std::optional<Machine> known = remembered(options);
  std::vector<DiskTimes> disks;
  if (known) disks = known->disks;
  if (options.again || (known && device && !known->accelerator)) known.reset();
  if (!known) {
    tell(options, "measuring this machine: about ten seconds, once");
    SLUICE_ASSIGN(known, measure(host, device ? &*device : nullptr));
    if (!options.again) known->disks = std::move(disks);
    remember(remembered_machine(options.cache_folder), *known);
  }
  known->memory_bytes = total_memory();
  known->available_bytes = available_bytes().value_or(known->memory_bytes);
  if (device) {
    uint64_t total = 0;
    SLUICE_TRY(device->check(
        (*device)->memory_info(device->get(), &known->accelerator->free_bytes, &total)));
  } else {
    known->accelerator.reset();
    known->accelerator_reason = reason;
  }
  return std::move(*known);
}

std::optional<Machine> known_machine(const std::string& cache_folder) {
  MeasureOptions options;
  options.cache_folder = cache_folder;
  return remembered(options);
}

const DiskTimes* known_disk(const Machine& machine, const std::vector<std::string>& paths,
                            uint32_t part_bytes, bool buffered) {
  const std::string key = disk_key(paths, part_bytes, buffered);
  for (const DiskTimes& disk : machine.disks)
    if (disk.what.starts_with(key)) return &disk;
  return nullptr;
}

Result<DiskTimes> disk_times(const std::vector<std::string>& paths, uint32_t part_bytes,
                             bool buffered, const MeasureOptions& options) {
  const std::string key = disk_key(paths, part_bytes, buffered);
  std::optional<Machine> known = remembered(options);
  if (known && !options.again)
    if (const DiskTimes* disk = known_disk(*known, paths, part_bytes, buffered)) return *disk;
  DiskOptions how;
  how.part_bytes = usual_part(part_bytes);
  std::error_code error;
  const bool folder = std::filesystem::is_directory(paths.front(), error);
  if (buffered) {
    how.mode = storage::ReadMode::kBuffered;
  } else if (!folder) {
    // As the engine will read them; it finds what is measured here.
    storage::DiskProfileOptions profiling;
    profiling.part_bytes = part_bytes;
    profiling.store = storage::remembered_disks(options.cache_folder);
    profiling.measure_again = options.again;
    SLUICE_ASSIGN(const storage::DiskProfile profile, storage::profile_disk(paths, profiling));
    how.depth = profile.depth;
    how.piece_bytes = profile.piece_bytes;
  }
  SLUICE_ASSIGN(DiskTimes disk,
                folder ? measure_disk_of_folder(paths.front(), how) : measure_disk(paths, how));
  disk.what = fmt::format("{}: {}", key, disk.what);
  if (known) {
    std::erase_if(known->disks, [&](const DiskTimes& old) { return old.what.starts_with(key); });
    known->disks.insert(known->disks.begin(), disk);
    if (known->disks.size() > kMostDisks) known->disks.pop_back();
    remember(remembered_machine(options.cache_folder), *known);
  }
  return disk;
}

}  // namespace sluice::machine
