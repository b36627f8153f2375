// SPDX-License-Identifier: Apache-2.0
// What operations take, from a machine's rates.
#pragma once

#include "machine/machine.h"
#include "plan/work.h"

namespace sluice::plan {

// One backend with so many threads.
class Costs {
 public:
  // `threads`: of the backend's own, at most what was measured with. `working_bytes`: weights that
  // one token reads, which decides how much of them comes from the last-level cache.
  Costs(const machine::ComputeRates& rates, const machine::Processor* processor, int threads,
        uint64_t working_bytes);

  double operation() const { return rates_->operation_seconds; }
  double answer() const { return rates_->answer_seconds; }
  // One operation beside the others, `rows` rows.
  double dense(const Product& product, int64_t rows) const;
  // The parts of one expert with so many rows; fractions as on average.
  double expert(const std::vector<Product>& parts, double rows) const;
  double norm(double floats) const;
  // Queries of `rows` rows at positions from `position` on over one layer's cache.
  double attention(const Work& work, int64_t rows, int64_t position) const;
  double recurrent(const Work& work, int64_t rows) const;

 private:
  double seconds_per_weight(const Product& product, double rows, bool experts) const;

  const machine::ComputeRates* rates_;
  double few_ = 1;    // speed of one row, of what was measured
  double batch_ = 1;  // of many rows
  double near_ = 0;   // share of the weights that come from the last-level cache
};

// Seconds per weight at so many rows: linear between the entries, beyond the last one in
// proportion.
double seconds_per_weight(const std::vector<machine::RowsRate>& rates, double rows);

// Seconds until `bytes` in so many reads, asked for together, have arrived.
double disk_seconds(const machine::DiskTimes& disk, double reads, double bytes);

}  // namespace sluice::plan
