// SPDX-License-Identifier: Apache-2.0
// The results of `sluice bench` as text, in llama-bench's formats; its scripts read them. Fields of
// our own come after its fields.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/bench_parameters.h"
#include "engine/description.h"

namespace sluice::apps {

// Who measures, and where.
struct BenchMachine {
  std::string commit;
  int number = 0;
  std::string version;
  std::string cpu;
  std::string backends;  // "CPU"
  std::string gpu;       // what it is, where there is one
};

struct BenchRecord {
  BenchCase what;
  engine::ModelDescription model;
  std::string backend_description;  // with the instruction set level in effect
  uint64_t load_ns = 0;             // of the model, once for all its tests
  std::string time;                 // UTC, RFC 3339
  std::vector<uint64_t> samples_ns;
  engine::ExpertUse experts;  // in all samples
};

// Pure functions to text, in this order: header once, test for each, footer once.
class BenchPrinter {
 public:
  virtual ~BenchPrinter() = default;
  virtual std::string header(const BenchRequest&) { return ""; }
  virtual std::string test(const BenchRecord& record) = 0;
  virtual std::string footer() { return ""; }
};

// nullptr for kNone. `experts`: with fields about them, behind all others.
std::unique_ptr<BenchPrinter> make_bench_printer(BenchFormat format, const BenchMachine& machine,
                                                 bool experts = false);

}  // namespace sluice::apps
