// SPDX-License-Identifier: Apache-2.0
#include "engine/reading.h"

#include <algorithm>

#include "storage/disk_profile.h"
#include "storage/page_cache.h"

namespace sluice::engine {
namespace {

// From this share on, what is cached saves more than reading the rest through the cache costs.
constexpr double kMostlyCached = 0.5;
// What is read again and again must not depend on pages that the system may drop.
constexpr double kAllCached = 0.95;

std::optional<double> cached_share(const std::vector<std::string>& paths) {
  std::optional<double> least;
  for (const std::string& path : paths) {
    const std::optional<double> share = storage::cached_share(path);
    if (!share) return std::nullopt;
    least = least ? std::min(*least, *share) : *share;
  }
  return least;
}

std::string depth_text(const Reading& reading) {
  return fmt::format("{} reads of up to {} KiB in flight", reading.queue.depth,
                     reading.piece_bytes >> 10);
}

}  // namespace

bool through_page_cache(const FileFacts& facts) {
  return facts.cached.value_or(0) >= (facts.all_experts ? kMostlyCached : kAllCached);
}

Result<Reading> choose_reading(const std::vector<std::string>& paths, FileFacts facts,
                               uint32_t part_bytes, const ReadingOptions& options) {
  Reading reading;
  bool buffered = options.mode == LoadMode::kBuffered;
  if (options.mode == LoadMode::kAuto) {
    facts.cached = cached_share(paths);
    buffered = through_page_cache(facts);
  }
  if (buffered) {
    reading.queue.mode = storage::ReadMode::kBuffered;
    reading.description = "experts are read through the page cache, " + depth_text(reading);
    return reading;
  }
  if (facts.all_experts || options.profiling == DiskProfiling::kOff ||
      options.cache_folder.empty()) {
    reading.description = "experts are read past the page cache, " + depth_text(reading);
    return reading;
  }
  storage::DiskProfileOptions profiling;
  profiling.part_bytes = part_bytes;
  profiling.store = storage::remembered_disks(options.cache_folder);
  profiling.measure_again = options.profiling == DiskProfiling::kAgain;
  SLUICE_ASSIGN(const storage::DiskProfile profile, storage::profile_disk(paths, profiling));
  reading.queue.depth = profile.depth;
  reading.piece_bytes = profile.piece_bytes;
  reading.description = "experts are read by " + storage::describe(profile);
  return reading;
}

}  // namespace sluice::engine
