// SPDX-License-Identifier: Apache-2.0
#include "report/probe.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "report/small_files.h"

namespace sluice::report {
namespace {

constexpr double kSectorBytes = 512;  // of diskstats, whatever the disk has
constexpr double kKibibyte = 1024;

double ticks_per_second() {
  return static_cast<double>(sysconf(_SC_CLK_TCK));
}

double page_bytes() {
  return static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Disks themselves, not their partitions, and not what lies on other disks or in memory.
std::vector<std::string> whole_disks(const std::string& root) {
  std::vector<std::string> names;
  for (const std::string& name : entries_of(root + "/sys/block")) {
    const auto starts = [&](const char* with) { return name.starts_with(with); };
    if (starts("loop") || starts("ram") || starts("zram") || starts("dm-") || starts("md"))
      continue;
    names.push_back(name);
  }
  return names;
}

// hwmon's sensors of the processor, else its thermal zones.
std::vector<std::string> cpu_temperature_files(const std::string& root) {
  std::vector<std::string> files;
  const std::string hwmon = root + "/sys/class/hwmon";
  for (const std::string& entry : entries_of(hwmon)) {
    const std::string folder = hwmon + "/" + entry;
    const std::string name = first_line(folder + "/name");
    if (name != "coretemp" && name != "k10temp" && name != "zenpower" && name != "cpu_thermal")
      continue;
    for (const std::string& file : entries_of(folder))
      if (file.starts_with("temp") && file.ends_with("_input"))
        files.push_back(folder + "/" + file);
  }
  if (!files.empty()) return files;
  const std::string thermal = root + "/sys/class/thermal";
  for (const std::string& entry : entries_of(thermal)) {
    const std::string folder = thermal + "/" + entry;
    const std::string type = first_line(folder + "/type");
    if (type == "x86_pkg_temp" || type.starts_with("cpu")) files.push_back(folder + "/temp");
  }
  return files;
}

}  // namespace

Probe::Probe(const ProbeOptions& options)
    : options_(options),
      disks_(whole_disks(options.root)),
      temperature_files_(cpu_temperature_files(options.root)) {}

Sample Probe::read(pid_t process, bool proportional) {
  Sample sample;
  read_machine(sample);
  if (process > 0)
    read_process(options_.root + "/proc/" + std::to_string(process), proportional, sample);
  if (options_.nvml) {
    const GpuReading gpu = options_.nvml->read(options_.gpu, process);
    sample[Column::kGpuLoad] = gpu.load_percent;
    sample[Column::kVramUsed] = gpu.vram_used;
    sample[Column::kVramOfProcess] = gpu.vram_of_process;
    sample[Column::kGpuTemperature] = gpu.temperature;
    sample[Column::kGpuPower] = gpu.power;
  }
  return sample;
}

void Probe::read_process(const std::string& folder, bool proportional, Sample& sample) const {
  // The command's name may hold blanks and brackets: count from the last one.
  const std::string stat = first_line(folder + "/stat");
  const size_t bracket = stat.rfind(')');
  if (bracket == std::string::npos) return;
  std::istringstream words(stat.substr(bracket + 1));
  std::vector<std::string> fields;  // fields[0] is the third of proc(5)
  for (std::string word; words >> word;) fields.push_back(word);
  if (fields.size() < 22 || fields[0] == "Z" || fields[0] == "X") return;
  sample[Column::kMajorFaults] = number_of(fields[9]);
  sample[Column::kProcessCpu] =
      (number_of(fields[11]) + number_of(fields[12])) / ticks_per_second();
  sample[Column::kResident] = number_of(fields[21]) * page_bytes();
  sample[Column::kProcessSwap] = field_of(folder + "/status", "VmSwap:") * kKibibyte;
  const std::string io = folder + "/io";
  sample[Column::kProcessRead] = field_of(io, "read_bytes:");
  sample[Column::kProcessWritten] = field_of(io, "write_bytes:");
  if (proportional)
    sample[Column::kProportional] = field_of(folder + "/smaps_rollup", "Pss:") * kKibibyte;
}

void Probe::read_machine(Sample& sample) const {
  const std::string proc = options_.root + "/proc";
  const std::string memory = proc + "/meminfo";
  sample[Column::kAvailable] = field_of(memory, "MemAvailable:") * kKibibyte;
  sample[Column::kSwapUsed] =
      (field_of(memory, "SwapTotal:") - field_of(memory, "SwapFree:")) * kKibibyte;

  std::ifstream disks(proc + "/diskstats");
  double read = 0, written = 0;
  bool any = false;
  for (std::string line; std::getline(disks, line);) {
    std::istringstream words(line);
    std::string major, minor, name;
    double reads, merged, sectors_read, reading, writes, written_merged, sectors_written;
    if (!(words >> major >> minor >> name >> reads >> merged >> sectors_read >> reading >> writes >>
          written_merged >> sectors_written))
      continue;
    if (std::find(disks_.begin(), disks_.end(), name) == disks_.end()) continue;
    any = true;
    read += sectors_read * kSectorBytes;
    written += sectors_written * kSectorBytes;
  }
  if (any) {
    sample[Column::kDiskRead] = read;
    sample[Column::kDiskWritten] = written;
  }

  // user nice system idle iowait irq softirq steal; guests' time is in user's.
  std::istringstream cpu(first_line(proc + "/stat"));
  std::string name;
  double user, nice, system, idle, wait, interrupts, soft;
  if (cpu >> name >> user >> nice >> system >> idle >> wait >> interrupts >> soft && name == "cpu")
    sample[Column::kMachineCpu] = (user + nice + system + interrupts + soft) / ticks_per_second();

  for (const std::string& file : temperature_files_) {
    const double degrees = number_of(first_line(file)) / 1000;
    double& hottest = sample[Column::kCpuTemperature];
    if (known(degrees) && !(hottest >= degrees)) hottest = degrees;
  }
}

Recorder::Recorder(const ProbeOptions& options, Clock::time_point origin,
                   std::chrono::milliseconds interval)
    : probe_(options), origin_(origin), interval_(interval) {}

Recorder::~Recorder() {
  stop();
}

void Recorder::start(pid_t process) {
  stop();
  stopping_ = false;
  thread_ = std::thread([this, process] { record(process); });
}

Samples Recorder::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  return std::move(samples_);
}

void Recorder::record(pid_t process) {
  samples_.clear();
  Clock::time_point next = Clock::now(), next_proportional = next;
  while (!stopping_) {
    const Clock::time_point before = Clock::now();
    // The kernel holds the process's map while it adds up PSS, which takes as long as the process
    // has pages: at most a fiftieth of the time, so that looking does not change what is seen.
    const bool proportional = before >= next_proportional;
    Sample sample = probe_.read(process, proportional);
    const Clock::time_point after = Clock::now();
    if (proportional)
      next_proportional = after + std::max<Clock::duration>(50 * (after - before), interval_);
    sample[Column::kTime] = std::chrono::duration<double>(before - origin_).count();
    // As they are written: what is made of them is the same from the file.
    for (double& value : sample.values) value = std::round(value * 1000) / 1000;
    samples_.push_back(sample);
    next = std::max(next + interval_, after);
    // In short steps: the end is not waited for.
    while (!stopping_ && Clock::now() < next)
      std::this_thread::sleep_until(std::min(next, Clock::now() + std::chrono::milliseconds(20)));
  }
}

}  // namespace sluice::report
