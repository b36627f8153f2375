// SPDX-License-Identifier: Apache-2.0
// This machine: measured once in under ten seconds, and remembered.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "machine/machine.h"

namespace sluice::machine {

struct MeasureOptions {
  std::string cache_folder;  // where it is remembered; "": nowhere
  bool again = false;        // whatever is remembered
  bool accelerator = true;   // look for one
  int device = 0;
  // Told about what is unusual: a damaged file, a measurement that will take seconds.
  std::function<void(const std::string&)> tell;
};

// Of processor, board, memory and instruction set level: another machine, or another level, is
// measured anew. `root` is put before every path.
std::string machine_identity(const std::string& root = "");

// machine.json in the folder.
std::string remembered_machine(const std::string& folder);

// What was remembered, with what is free now; else a measurement of the processor, the memory and
// the accelerator. Disks are those that were measured so far.
Result<Machine> this_machine(const MeasureOptions& options);

// The same without measuring: nullopt where this machine is not known yet.
std::optional<Machine> known_machine(const std::string& cache_folder);
// Of its disks, that under `paths`; nullptr where it was not measured like this.
const DiskTimes* known_disk(const Machine& machine, const std::vector<std::string>& paths,
                            uint32_t part_bytes, bool buffered);

// The times of the disk under `paths` for reads of `part_bytes`, remembered like the rest; measured
// where they are not known. `buffered`: through the page cache, which has the files.
Result<DiskTimes> disk_times(const std::vector<std::string>& paths, uint32_t part_bytes,
                             bool buffered, const MeasureOptions& options);

}  // namespace sluice::machine
