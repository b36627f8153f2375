// SPDX-License-Identifier: Apache-2.0
// How the experts are read from the model's files: through the page cache or past it, how many
// reads in flight, of which size. Decided once per load.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/read_queue.h"

namespace sluice::engine {

enum class LoadMode {
  kAuto,      // through the page cache where that holds the file, else past it
  kBuffered,  // through the page cache
  kDirect,    // past it, where the file's disk can
};

enum class DiskProfiling {
  kAuto,   // what an earlier run measured, else a measurement
  kAgain,  // a measurement, whatever is remembered
  kOff,    // neither: usual values
};

struct ReadingOptions {
  LoadMode mode = LoadMode::kAuto;
  DiskProfiling profiling = DiskProfiling::kAuto;
  // Where measurements are remembered; "": nowhere, and nothing is measured.
  std::string cache_folder;
};

// What the choice between the page cache and the disk depends on.
struct FileFacts {
  bool all_experts = false;      // each is read once; else again and again
  std::optional<double> cached;  // share of the files in the page cache; nullopt: unknown
};
bool through_page_cache(const FileFacts& facts);

struct Reading {
  storage::ReadQueueOptions queue;
  uint32_t piece_bytes = 1 << 20;
  std::string description;  // one line for people
};

// Measures the disk for up to 3 s where experts will be read while it runs (`facts.all_experts` is
// false), past the page cache, and it is not known yet. `part_bytes`: of an expert's usual part.
// Fills in `facts.cached`. Errors of the files.
Result<Reading> choose_reading(const std::vector<std::string>& paths, FileFacts facts,
                               uint32_t part_bytes, const ReadingOptions& options);

}  // namespace sluice::engine
