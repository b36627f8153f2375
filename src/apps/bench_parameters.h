// SPDX-License-Identifier: Apache-2.0
// What `sluice bench` is asked for: llama-bench's flags, each with a list of values, and the
// cartesian product of them.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/options.h"
#include "engine/bench.h"

namespace sluice::apps {

// "512,1024", "1-8", "1-8+2", "first-last*mult", mixed with commas; a comma may end it. kUsage for
// anything else, for empty ranges and for values outside [least, most]; with least < 0 a value may
// be negative.
Result<std::vector<int64_t>> parse_ranges(const std::string& text, int64_t least, int64_t most);

// A dimension of the product. Values are kept as the text that reports show.
struct BenchParameter {
  std::string field;  // in csv, json and sql
  std::string flag;
  std::vector<std::string> aliases;
  std::string value;  // what help calls it
  std::string help;
  std::string fallback;
  std::function<Result<std::vector<std::string>>(const std::string&)> parse;
};

// In order of nesting, the outermost first: the order of the results.
const std::vector<BenchParameter>& bench_parameters();

enum class BenchFormat { kNone, kCsv, kJson, kJsonl, kMarkdown, kSql };

struct BenchRequest {
  std::vector<std::vector<std::string>> values;  // one list per parameter; empty: the fallback
  std::vector<int64_t> prompt;
  std::vector<int64_t> generate;
  std::vector<std::pair<int64_t, int64_t>> both;
  int repetitions = 5;
  int delay = 0;  // seconds
  bool warmup = true;
  bool progress = false;
  bool experts = false;  // columns about them
  BenchFormat output = BenchFormat::kMarkdown;
  BenchFormat error_output = BenchFormat::kNone;
  CommonOptions common;

  // The files that were given.
  std::vector<std::string>& models();
  // What stands in the product for the parameter of that name.
  std::vector<std::string> list(const std::string& field) const;
  // More than the fallback alone was asked for: a column of the table.
  bool shown(const std::string& field) const;
};

struct BenchCase {
  std::vector<std::string> values;  // one per parameter
  engine::BenchTest test;

  const std::string& value(const std::string& field) const;
  int64_t integer(const std::string& field) const;
};

// False when help was asked for (and printed).
Result<bool> parse_bench(const std::vector<std::string>& arguments, BenchRequest& request);

std::vector<BenchCase> bench_cases(const BenchRequest& request);

}  // namespace sluice::apps
