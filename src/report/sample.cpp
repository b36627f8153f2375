// SPDX-License-Identifier: Apache-2.0
#include "report/sample.h"

#include <algorithm>

namespace sluice::report {
namespace {

constexpr std::array<std::string_view, kColumns> kNames = {
    "time_s",
    "rss_bytes",
    "pss_bytes",
    "process_swap_bytes",
    "major_faults",
    "process_read_bytes",
    "process_written_bytes",
    "process_cpu_s",
    "available_bytes",
    "swap_used_bytes",
    "disk_read_bytes",
    "disk_written_bytes",
    "machine_cpu_s",
    "cpu_temperature_c",
    "gpu_load_percent",
    "vram_used_bytes",
    "vram_process_bytes",
    "gpu_temperature_c",
    "gpu_power_w",
};

}  // namespace

std::string_view column_name(Column column) {
  return kNames[static_cast<size_t>(column)];
}

std::optional<Column> find_column(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Column>(found - kNames.begin());
}

double highest(std::span<const Sample> samples, Column column) {
  double most = kUnknown;
  for (const Sample& sample : samples)
    if (known(sample[column]) && !(most >= sample[column])) most = sample[column];
  return most;
}

double lowest(std::span<const Sample> samples, Column column) {
  double least = kUnknown;
  for (const Sample& sample : samples)
    if (known(sample[column]) && !(least <= sample[column])) least = sample[column];
  return least;
}

double mean(std::span<const Sample> samples, Column column) {
  double sum = 0;
  size_t count = 0;
  for (const Sample& sample : samples)
    if (known(sample[column])) {
      sum += sample[column];
      ++count;
    }
  return count > 0 ? sum / static_cast<double>(count) : kUnknown;
}

double first_known(std::span<const Sample> samples, Column column) {
  for (const Sample& sample : samples)
    if (known(sample[column])) return sample[column];
  return kUnknown;
}

double last_known(std::span<const Sample> samples, Column column) {
  double last = kUnknown;
  for (const Sample& sample : samples)
    if (known(sample[column])) last = sample[column];
  return last;
}

double growth(std::span<const Sample> samples, Column column) {
  return last_known(samples, column) - first_known(samples, column);
}

double mean_rate(std::span<const Sample> samples, Column column) {
  double first_time = kUnknown, last_time = kUnknown;
  for (const Sample& sample : samples)
    if (known(sample[column])) {
      if (!known(first_time)) first_time = sample[Column::kTime];
      last_time = sample[Column::kTime];
    }
  return last_time > first_time ? growth(samples, column) / (last_time - first_time) : kUnknown;
}

std::vector<Point> values_over_time(std::span<const Sample> samples, Column column) {
  std::vector<Point> points;
  for (const Sample& sample : samples)
    if (known(sample[column])) points.push_back({sample[Column::kTime], sample[column]});
  return points;
}

std::vector<Point> rates_over_time(std::span<const Sample> samples, Column column, double window) {
  std::vector<Point> points;
  std::optional<Point> before;
  for (const Point& now : values_over_time(samples, column)) {
    // A total that falls belongs to another process: begin anew.
    if (!before || now.y < before->y) {
      before = now;
    } else if (now.x - before->x >= window * 0.999) {
      points.push_back({now.x, (now.y - before->y) / (now.x - before->x)});
      before = now;
    }
  }
  return points;
}

std::vector<Point> thinned(std::span<const Point> points, size_t most) {
  if (points.size() <= most || most < 4) return {points.begin(), points.end()};
  const size_t stretches = most / 2;
  std::vector<Point> kept;
  for (size_t i = 0; i < stretches; ++i) {
    const auto part =
        points.subspan(i * points.size() / stretches,
                       (i + 1) * points.size() / stretches - i * points.size() / stretches);
    const auto [low, high] = std::minmax_element(
        part.begin(), part.end(), [](const Point& a, const Point& b) { return a.y < b.y; });
    kept.push_back(low < high ? *low : *high);
    if (low != high) kept.push_back(low < high ? *high : *low);
  }
  return kept;
}

}  // namespace sluice::report
