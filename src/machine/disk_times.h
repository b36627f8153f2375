// SPDX-License-Identifier: Apache-2.0
// How long experts take to come from a disk: reads of an expert's part, asked for together as a
// layer asks for them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "machine/machine.h"
#include "storage/read_queue.h"

namespace sluice::machine {

struct DiskOptions {
  storage::ReadMode mode = storage::ReadMode::kAuto;
  uint32_t part_bytes = 864 << 10;
  int depth = 8;                   // most reads in flight
  uint32_t piece_bytes = 1 << 20;  // larger parts are cut
  double seconds = 1;
};

// Random parts of the files. The errors of open_read_queue() and of the reads; kTooLarge for files
// that are smaller than a few parts.
Result<DiskTimes> measure_disk(const std::vector<std::string>& paths, const DiskOptions& options);

// The same with a file of its own in `folder`, which is removed at once; for disks that hold no
// model yet. kIo when it cannot be written.
Result<DiskTimes> measure_disk_of_folder(const std::string& folder, const DiskOptions& options);

}  // namespace sluice::machine
