// SPDX-License-Identifier: Apache-2.0
// What a machine can do, in the terms of this program's own kernels and reads: what a plan is made
// of. Measured once (measure.h) and remembered, or read from a file that describes another machine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::machine {

// Multiply-adds per second of products with a weight type, by rows of activations. Between two
// entries the time per weight is linear; beyond the last one the rate stays.
struct RowsRate {
  int64_t rows = 1;
  double per_second = 0;
};
struct ProductRates {
  double near = 0;              // one row, weights in the last-level cache
  std::vector<RowsRate> dense;  // rising, from 1; weights from memory
  std::vector<RowsRate> experts;
};

// A processor or an accelerator behind the backends' contract.
struct ComputeRates {
  std::string name;
  double operation_seconds = 0;  // of an operation that has hardly anything to do
  double answer_seconds = 0;     // until the host knows what a device has computed; 0: the same
  std::map<std::string, ProductRates, std::less<>> types;  // by the name of the weight type
  double norm_floats = 0;      // floats per second that go through a norm
  double attention_row = 0;    // cached elements per second, one row of queries
  double attention_batch = 0;  // multiply-adds per second, many rows
  double delta_row = 0;        // state elements times rows per second, one row
  double delta_batch = 0;      // the same, many rows
};

struct ThreadsRate {
  int threads = 1;
  double bytes_per_second = 0;
};

struct Processor {
  std::string name;
  std::string isa;
  int threads = 1;                       // of `rates`, and what is used by default
  uint64_t last_level_cache = 0;         // bytes; 0: unknown
  std::vector<ThreadsRate> memory_read;  // rising threads
  ComputeRates rates;
};

// The seconds until `reads` reads of `bytes` each, asked for together, have all arrived.
struct ReadsTime {
  int reads = 1;
  double seconds = 0;
};
struct DiskTimes {
  std::string what;     // one line: which disk, how it is read
  uint32_t bytes = 0;   // of one read
  bool direct = false;  // past the page cache
  std::vector<ReadsTime> times;

  // Bytes per second of the largest batch.
  double bytes_per_second() const;
};

struct Accelerator {
  std::string name;
  uint64_t memory_bytes = 0;
  uint64_t free_bytes = 0;
  double to_device = 0;  // bytes per second of copies from pinned memory
  ComputeRates rates;
};

struct Machine {
  std::string identity;  // what a measurement is good for: processor, board, memory, level
  std::string note;      // of a file that was written by hand: where its figures come from
  Processor processor;
  uint64_t memory_bytes = 0;
  uint64_t available_bytes = 0;  // of it, for this process, now
  std::vector<DiskTimes> disks;  // the first is the usual one
  std::optional<Accelerator> accelerator;
  std::string accelerator_reason;  // why there is none
};

// kBadFile naming `source`, the field and what to do. Numbers are checked to be finite and sane.
Result<Machine> parse_machine(std::string_view text, const std::string& source);
std::string format_machine(const Machine& machine);

// One line for people.
std::string describe(const Machine& machine);

}  // namespace sluice::machine
