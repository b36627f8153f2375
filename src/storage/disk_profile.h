// SPDX-License-Identifier: Apache-2.0
// How this disk is read fastest: how many reads in flight, of which size. Measured with the model's
// own files by random reads of the size of an expert's parts, and remembered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "storage/read_queue.h"

namespace sluice::storage {

struct DiskProfile {
  enum class Source {
    kMeasured,    // just now
    kRemembered,  // by an earlier run
    kAssumed,     // nothing to measure: see `reason`
  };

  int depth = 8;                   // reads in flight
  uint32_t piece_bytes = 1 << 20;  // larger reads are cut into pieces of this size
  double bytes_per_second = 0;     // at that depth and size; 0: unknown
  Source source = Source::kAssumed;
  std::string engine;  // ReadQueue::name()
  bool direct = false;
  std::string reason;  // why nothing was measured
};

struct DiskProfileOptions {
  ReadMode mode = ReadMode::kAuto;
  ReadEngine engine = ReadEngine::kAuto;
  uint32_t part_bytes = 864 << 10;  // of an expert's usual part
  double seconds = 2.0;  // for the whole measurement; a slow disk may add one read's time
  // Where it is remembered; "" is nowhere. Usually remembered_disks(cache_folder()).
  std::string store;
  bool measure_again = false;  // whatever is remembered
};

// disks.json in the folder (usually cache_folder()); "" for no folder.
std::string remembered_disks(const std::string& folder);

// Only unbuffered reads are measured: what the page cache answers says nothing about the disk. In
// buffered mode, and for files too small to tell, the result is kAssumed. A missing, damaged or
// foreign `store` is measured anew and written over; a `store` that cannot be written is no error.
// Errors: those of open_read_queue() and of the reads.
Result<DiskProfile> profile_disk(const std::vector<std::string>& paths,
                                 const DiskProfileOptions& options = {});

// One line for people.
std::string describe(const DiskProfile& profile);

// The remembered profiles, as text. Parsing never fails: what is not understood is not there.
struct RememberedDisk {
  std::string key;
  DiskProfile profile;
};
std::vector<RememberedDisk> parse_remembered_disks(std::string_view text);
std::string format_remembered_disks(const std::vector<RememberedDisk>& disks);

// One measured way of reading.
struct ReadRate {
  int depth = 0;
  uint32_t piece_bytes = 0;
  double bytes_per_second = 0;
};

// The one with the fewest bytes in flight (then the fewest reads) among those within 3 % of the
// best rate: what is in flight delays what is needed next. `rates` is not empty.
ReadRate choose_rate(const std::vector<ReadRate>& rates);

}  // namespace sluice::storage
