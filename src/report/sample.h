// SPDX-License-Identifier: Apache-2.0
// One look at a process and the machine around it, as a row of numbers.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::report {

// Bytes, seconds, percent, degrees Celsius, watts; as the name of the column says. "Total": since
// the process or the machine started.
enum class Column {
  kTime,            // since the recording's origin
  kResident,        // of the process
  kProportional,    // the same with shared pages counted in parts (PSS)
  kProcessSwap,     // of the process
  kMajorFaults,     // of the process, total
  kProcessRead,     // from disks, total
  kProcessWritten,  // to disks, total
  kProcessCpu,      // seconds of all its threads, total
  kAvailable,       // memory of the machine that can be had without swapping
  kSwapUsed,        // of the machine
  kDiskRead,        // of all disks, total
  kDiskWritten,     // of all disks, total
  kMachineCpu,      // busy seconds of all CPUs, total
  kCpuTemperature,  // the hottest of the processor's sensors
  kGpuLoad,         // percent of the time with a kernel under way
  kVramUsed,        // of the device
  kVramOfProcess,   // of the process, where the driver tells
  kGpuTemperature,
  kGpuPower,
};
inline constexpr size_t kColumns = static_cast<size_t>(Column::kGpuPower) + 1;

// The name in JSON: "rss_bytes".
std::string_view column_name(Column column);
std::optional<Column> find_column(std::string_view name);

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
inline bool known(double value) {
  return !std::isnan(value);
}

struct Sample {
  std::array<double, kColumns> values;

  Sample() { values.fill(kUnknown); }
  double& operator[](Column column) { return values[static_cast<size_t>(column)]; }
  double operator[](Column column) const { return values[static_cast<size_t>(column)]; }
};

using Samples = std::vector<Sample>;

// Over the samples that know the column; kUnknown when none does.
double highest(std::span<const Sample> samples, Column column);
double lowest(std::span<const Sample> samples, Column column);
double mean(std::span<const Sample> samples, Column column);
double first_known(std::span<const Sample> samples, Column column);
double last_known(std::span<const Sample> samples, Column column);
// Of a total: what was added between the first and the last sample.
double growth(std::span<const Sample> samples, Column column);
// Of a total: per second between the first and the last sample; kUnknown for less than two.
double mean_rate(std::span<const Sample> samples, Column column);

struct Point {
  double x = 0, y = 0;
};
// Points over time, those that are known.
std::vector<Point> values_over_time(std::span<const Sample> samples, Column column);
// Of a total: its rate per second, averaged over steps of `window` seconds or more.
std::vector<Point> rates_over_time(std::span<const Sample> samples, Column column, double window);
// At most `most` points with the same shape: the lowest and the highest of each stretch stay.
std::vector<Point> thinned(std::span<const Point> points, size_t most);

}  // namespace sluice::report
