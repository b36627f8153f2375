// SPDX-License-Identifier: Apache-2.0
#include "plan/costs.h"

#include <algorithm>
#include <cmath>

namespace sluice::plan {
namespace {

// Bytes per second of plain reads at so many threads, between those that were measured.
double memory_rate(const machine::Processor& processor, int threads) {
  const auto& rates = processor.memory_read;
  if (rates.empty()) return 1;
  if (threads <= rates.front().threads)
    return rates.front().bytes_per_second * threads / rates.front().threads;
  for (size_t i = 1; i < rates.size(); ++i) {
    if (threads > rates[i].threads) continue;
    const double part = static_cast<double>(threads - rates[i - 1].threads) /
                        (rates[i].threads - rates[i - 1].threads);
    return std::lerp(rates[i - 1].bytes_per_second, rates[i].bytes_per_second, part);
  }
  return rates.back().bytes_per_second;
}

// 1 where a working set fits well into a cache, 0 where it is far beyond it.
double share_from_cache(uint64_t working, uint64_t cache) {
  if (cache == 0 || working == 0) return 0;
  const double ratio = static_cast<double>(working) / static_cast<double>(cache);
  return std::clamp(0.5 - std::log2(ratio) / 2, 0.0, 1.0);
}

}  // namespace

double seconds_per_weight(const std::vector<machine::RowsRate>& rates, double rows) {
  const auto seconds = [](const machine::RowsRate& rate) {
    return static_cast<double>(rate.rows) / rate.per_second;
  };
  if (rows <= static_cast<double>(rates.front().rows)) return seconds(rates.front());
  for (size_t i = 1; i < rates.size(); ++i) {
    if (rows > static_cast<double>(rates[i].rows)) continue;
    const double part = (rows - static_cast<double>(rates[i - 1].rows)) /
                        static_cast<double>(rates[i].rows - rates[i - 1].rows);
    return std::lerp(seconds(rates[i - 1]), seconds(rates[i]), part);
  }
  return rows / rates.back().per_second;
}

double disk_seconds(const machine::DiskTimes& disk, double reads, double bytes) {
  if (reads <= 0 || bytes <= 0) return 0;
  // The time of as many reads of the measured size, in proportion to the bytes of these.
  const double scale = bytes / reads / static_cast<double>(disk.bytes);
  const auto& times = disk.times;
  const machine::ReadsTime& first = times.front();
  if (reads <= first.reads) {
    // Half of it for what does not depend on how many there are: a guess between latency and rate.
    return first.seconds * scale * (0.5 + 0.5 * reads / first.reads);
  }
  for (size_t i = 1; i < times.size(); ++i) {
    if (reads > times[i].reads) continue;
    const double part = (reads - times[i - 1].reads) / (times[i].reads - times[i - 1].reads);
    return std::lerp(times[i - 1].seconds, times[i].seconds, part) * scale;
  }
  return times.back().seconds * scale * reads / times.back().reads;
}

Costs::Costs(const machine::ComputeRates& rates, const machine::Processor* processor, int threads,
             uint64_t working_bytes)
    : rates_(&rates) {
  if (!processor) return;  // an accelerator has the threads that it has
  const int used = std::clamp(threads, 1, processor->threads);
  batch_ = static_cast<double>(used) / processor->threads;
  few_ =
      std::max(batch_, memory_rate(*processor, used) / memory_rate(*processor, processor->threads));
  few_ = std::min(few_, 1.0);
  near_ = share_from_cache(working_bytes, processor->last_level_cache);
}

double Costs::seconds_per_weight(const Product& product, double rows, bool experts) const {
  const std::string_view name = quant::traits(product.type).name;
  auto found = rates_->types.find(name);
  double few = 1;
  if (found == rates_->types.end()) {
    // Not measured: the bytes of a row as fast as those of the most usual type.
    found = rates_->types.find("Q4_K");
    const auto row = [](quant::Type type) {
      return static_cast<double>(quant::row_bytes(type, 256));
    };
    few = std::max(1.0, row(product.type) / row(quant::Type::kQ4_K));
  }
  const machine::ProductRates& type = found->second;
  const auto& rates = experts ? type.experts : type.dense;
  const double far = static_cast<double>(rates.front().rows) / rates.front().per_second;
  const double one = std::lerp(far, std::min(far, 1 / type.near), near_) * few / few_;
  if (rows <= 1) return one;
  // What more rows add to one.
  return one + (plan::seconds_per_weight(rates, rows) - far) / batch_;
}

double Costs::dense(const Product& product, int64_t rows) const {
  const auto all = static_cast<double>(product.fine ? 2 * rows : rows);
  return static_cast<double>(product.weights) * seconds_per_weight(product, all, false);
}

double Costs::expert(const std::vector<Product>& parts, double rows) const {
  double seconds = 0;
  for (const Product& part : parts)
    seconds += static_cast<double>(part.weights) * seconds_per_weight(part, rows, true);
  return seconds;
}

double Costs::norm(double floats) const {
  return floats / rates_->norm_floats / batch_;
}

double Costs::attention(const Work& work, int64_t rows, int64_t position) const {
  const double seen = static_cast<double>(position) + (static_cast<double>(rows) + 1) / 2;
  const double elements = 2.0 * static_cast<double>(work.kv_heads * work.head_dim) * seen;
  const double row = elements / rates_->attention_row / few_;
  if (rows <= 1) return row;
  const double products = 2.0 * static_cast<double>(work.heads * work.head_dim * rows) * seen;
  return std::max(row, products / rates_->attention_batch / batch_);
}

double Costs::recurrent(const Work& work, int64_t rows) const {
  if (rows <= 1) return work.state_floats / rates_->delta_row / few_;
  return work.state_floats * static_cast<double>(rows) / rates_->delta_batch / batch_;
}

}  // namespace sluice::plan
