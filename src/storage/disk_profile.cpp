// SPDX-License-Identifier: Apache-2.0
#include "storage/disk_profile.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/aligned_buffer.h"
#include "storage/cache_folder.h"
#include "storage/file.h"

namespace sluice::storage {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr uint64_t kStoreLimit = 1 << 20;
constexpr size_t kMostRemembered = 64;

constexpr int kDepths[] = {1, 2, 4, 8, 16, 32};
constexpr uint32_t kSmallestPiece = 256 << 10;
constexpr uint32_t kLargestPiece = 4 << 20;
constexpr uint64_t kMostInFlight = 32 << 20;
constexpr double kWithin = 0.97;
// Rounds over all candidates: a disturbance of the machine then rarely hits one candidate each
// time.
constexpr int kRounds = 2;
// A file of fewer parts is read whole in no time, and its blocks come from the disk's own cache.
constexpr uint64_t kLeastParts = 64;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// Candidates for the size of a piece: powers of two up to the first that holds a whole part.
std::vector<uint32_t> piece_sizes(uint32_t part_bytes) {
  std::vector<uint32_t> sizes;
  for (uint32_t size = kSmallestPiece;; size *= 2) {
    sizes.push_back(size);
    if (size >= part_bytes || size == kLargestPiece) return sizes;
  }
}

// The disks that hold the files and how they are read. A file system's own id tells disks apart
// that got the same device number at different starts of the machine.
std::string disk_key(const std::vector<std::string>& paths, const ReadQueue& queue,
                     uint32_t largest_piece) {
  std::set<std::string> disks;
  for (const std::string& path : paths) {
    struct stat status = {};
    struct statfs system = {};
    if (::stat(path.c_str(), &status) != 0 || ::statfs(path.c_str(), &system) != 0) continue;
    uint64_t id = 0;
    static_assert(sizeof(system.f_fsid) == sizeof id);
    std::memcpy(&id, &system.f_fsid, sizeof id);
    disks.insert(fmt::format("{}:{} {:x} {:x}", major(status.st_dev), minor(status.st_dev),
                             static_cast<uint64_t>(system.f_type), id));
  }
  return fmt::format("{} {} {}", fmt::join(disks, "+"), queue.name(), largest_piece);
}

class Measurement {
 public:
  Measurement(ReadQueue& queue, std::vector<uint64_t> sizes, uint32_t part_bytes)
      : queue_(queue), sizes_(std::move(sizes)), part_bytes_(part_bytes) {}

  bool allocate() {
    memory_ = AlignedBuffer::allocate(kMostInFlight);
    return static_cast<bool>(memory_);
  }

  // Reads parts at random places for `seconds`. The rate is that between the first completion and
  // the last one: no start and no wait for the first.
  Result<double> rate(int depth, uint32_t piece_bytes, double seconds) {
    std::vector<Read> next(1);
    std::vector<Completion> arrived;
    const Clock::time_point start = Clock::now();
    const Clock::time_point stop =
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    std::vector<uint32_t> bytes(depth);  // of the read that goes to this part of the memory
    std::vector<int> idle;
    for (int i = depth - 1; i >= 0; --i) idle.push_back(i);
    Clock::time_point first;
    Clock::time_point last = start;
    uint64_t counted = 0;
    bool counting = false;
    while (Clock::now() < stop || queue_.in_flight() > 0) {
      while (Clock::now() < stop && !idle.empty()) {
        const int place = idle.back();
        next[0] = next_piece(piece_bytes, memory_.data() + size_t{piece_bytes} * place, place);
        bytes[place] = next[0].bytes;
        if (queue_.submit(next) == 0) break;
        idle.pop_back();
      }
      arrived.clear();
      queue_.wait(arrived, std::chrono::milliseconds(100));
      const Clock::time_point now = Clock::now();
      for (const Completion& completion : arrived) {
        if (!completion.status) {
          drain();
          return fail(completion.status.error());
        }
        idle.push_back(static_cast<int>(completion.id));
        if (counting) counted += bytes[completion.id];
      }
      if (arrived.empty()) continue;
      if (!counting) first = now;
      counting = true;
      last = now;
    }
    if (counted == 0) {  // slower than one read: the time of that is all there is
      return bytes[0] / seconds_between(start, last);
    }
    return static_cast<double>(counted) / seconds_between(first, last);
  }

 private:
  void drain() {
    std::vector<Completion> ignored;
    while (queue_.in_flight() > 0) queue_.wait(ignored, std::chrono::milliseconds(100));
  }

  // The pieces of one random part after the other.
  Read next_piece(uint32_t piece_bytes, uint8_t* to, int place) {
    if (piece_ >= piece_count(part_, piece_bytes)) {
      file_ = static_cast<int>(random_() % sizes_.size());
      const uint64_t places = (sizes_[file_] - part_bytes_) / queue_.alignment();
      part_ = enclosing_window(random_() % places * queue_.alignment(), part_bytes_,
                               queue_.alignment());
      piece_ = 0;
    }
    return read_window(piece(part_, piece_++, piece_bytes), file_, to,
                       static_cast<uint64_t>(place));
  }

  ReadQueue& queue_;
  std::vector<uint64_t> sizes_;
  uint32_t part_bytes_;
  AlignedBuffer memory_;
  std::mt19937_64 random_{static_cast<uint64_t>(Clock::now().time_since_epoch().count())};
  int file_ = 0;
  Window part_;
  uint32_t piece_ = 0;
};

Result<std::vector<ReadRate>> measure(Measurement& measurement, uint32_t part_bytes,
                                      double seconds) {
  std::vector<ReadRate> rates;
  for (const int depth : kDepths) {
    for (const uint32_t size : piece_sizes(part_bytes)) {
      if (uint64_t{size} * depth <= kMostInFlight) rates.push_back({depth, size, 0});
    }
  }
  const Clock::time_point start = Clock::now();
  const double each = seconds / static_cast<double>(rates.size() * kRounds);
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (ReadRate& candidate : rates) {
      if (seconds_between(start, Clock::now()) + each > seconds) return rates;
      // What is in flight at the end is waited for: skip what would take longer than its turn.
      if (best > 0 && candidate.depth > 1 &&
          static_cast<double>(uint64_t{candidate.piece_bytes} * candidate.depth) > best * each) {
        continue;
      }
      SLUICE_ASSIGN(const double rate,
                    measurement.rate(candidate.depth, candidate.piece_bytes, each));
      candidate.bytes_per_second = std::max(candidate.bytes_per_second, rate);
      best = std::max(best, rate);
    }
  }
  return rates;
}

void remember(const std::string& store, std::vector<RememberedDisk> disks, const std::string& key,
              const DiskProfile& profile) {
  std::erase_if(disks, [&](const RememberedDisk& disk) { return disk.key == key; });
  if (disks.size() >= kMostRemembered) disks.erase(disks.begin());
  disks.push_back({key, profile});
  // A disk that is measured again at the next start is slower, not wrong.
  static_cast<void>(replace_small_file(store, format_remembered_disks(disks)));
}

}  // namespace

std::string remembered_disks(const std::string& folder) {
  return folder.empty() ? "" : folder + "/disks.json";
}

ReadRate choose_rate(const std::vector<ReadRate>& rates) {
  const auto less_in_flight = [](const ReadRate& a, const ReadRate& b) {
    const uint64_t bytes_a = uint64_t{a.piece_bytes} * a.depth;
    const uint64_t bytes_b = uint64_t{b.piece_bytes} * b.depth;
    return bytes_a != bytes_b ? bytes_a < bytes_b : a.depth < b.depth;
  };
  const ReadRate* chosen = &*std::ranges::max_element(rates, {}, &ReadRate::bytes_per_second);
  const double enough = chosen->bytes_per_second * kWithin;
  for (const ReadRate& rate : rates) {
    if (rate.bytes_per_second >= enough && less_in_flight(rate, *chosen)) chosen = &rate;
  }
  return *chosen;
}

Result<DiskProfile> profile_disk(const std::vector<std::string>& paths,
                                 const DiskProfileOptions& options) {
  SLUICE_ASSIGN(
      const std::unique_ptr<ReadQueue> queue,
      open_read_queue(
          paths, {.mode = options.mode, .engine = options.engine, .depth = *std::rbegin(kDepths)}));
  DiskProfile profile;
  profile.engine = queue->name();
  profile.direct = queue->direct();
  if (!queue->direct()) {
    profile.reason = "the page cache would answer";
    return profile;
  }
  const uint32_t part_bytes =
      std::clamp(options.part_bytes, kSmallestPiece, kLargestPiece) / kMaxAlignment * kMaxAlignment;
  std::vector<uint64_t> sizes;
  for (const std::string& path : paths) {
    SLUICE_ASSIGN(const File file, File::open(path));
    sizes.push_back(file.size());
    if (file.size() < kLeastParts * part_bytes) {
      profile.reason = "too small a file to tell";
      return profile;
    }
  }

  const std::string key = disk_key(paths, *queue, piece_sizes(part_bytes).back());
  std::vector<RememberedDisk> disks;
  if (!options.store.empty()) {
    if (const auto text = read_small_file(options.store, kStoreLimit)) {
      disks = parse_remembered_disks(*text);
    }
  }
  for (const RememberedDisk& disk : disks) {
    if (disk.key != key || options.measure_again) continue;
    profile.depth = disk.profile.depth;
    profile.piece_bytes = disk.profile.piece_bytes;
    profile.bytes_per_second = disk.profile.bytes_per_second;
    profile.source = DiskProfile::Source::kRemembered;
    return profile;
  }

  Measurement measurement(*queue, std::move(sizes), part_bytes);
  if (!measurement.allocate()) {
    return fail(ErrorKind::kTooLarge, "no memory to measure the disk with ({} MiB)",
                kMostInFlight >> 20);
  }
  SLUICE_ASSIGN(const std::vector<ReadRate> rates,
                measure(measurement, part_bytes, options.seconds));
  const ReadRate chosen = choose_rate(rates);
  profile.depth = chosen.depth;
  profile.piece_bytes = chosen.piece_bytes;
  profile.bytes_per_second = chosen.bytes_per_second;
  profile.source = DiskProfile::Source::kMeasured;
  if (!options.store.empty()) remember(options.store, std::move(disks), key, profile);
  return profile;
}

std::string describe(const DiskProfile& profile) {
  const char* cache = profile.direct ? "past the page cache" : "through the page cache";
  const std::string way = fmt::format("{}, {}, {} reads of up to {} KiB in flight", profile.engine,
                                      cache, profile.depth, profile.piece_bytes >> 10);
  switch (profile.source) {
    case DiskProfile::Source::kMeasured:
      return fmt::format("{}: {:.2f} GB/s", way, profile.bytes_per_second / 1e9);
    case DiskProfile::Source::kRemembered:
      return fmt::format("{}: {:.2f} GB/s (measured by an earlier run)", way,
                         profile.bytes_per_second / 1e9);
    case DiskProfile::Source::kAssumed:
      break;
  }
  return fmt::format("{} (not measured: {})", way, profile.reason);
}

std::vector<RememberedDisk> parse_remembered_disks(std::string_view text) {
  std::vector<RememberedDisk> disks;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("version") || json["version"] != kVersion ||
      !json.contains("disks") || !json["disks"].is_array()) {
    return disks;
  }
  for (const Json& entry : json["disks"]) {
    if (!entry.is_object()) continue;
    const auto number = [&](const char* name) {
      const auto found = entry.find(name);
      return found != entry.end() && found->is_number() ? found->get<double>() : -1.0;
    };
    const auto key = entry.find("disk");
    const double depth = number("depth");
    const double piece = number("piece_bytes");
    const double rate = number("bytes_per_second");
    const bool sound = key != entry.end() && key->is_string() && depth >= 1 && depth <= kMaxDepth &&
                       std::floor(depth) == depth && piece >= kMaxAlignment &&
                       piece <= kLargestPiece && std::fmod(piece, kMaxAlignment) == 0 && rate > 0 &&
                       std::isfinite(rate);
    if (!sound) continue;
    RememberedDisk disk{.key = key->get<std::string>()};
    disk.profile.depth = static_cast<int>(depth);
    disk.profile.piece_bytes = static_cast<uint32_t>(piece);
    disk.profile.bytes_per_second = rate;
    disk.profile.source = DiskProfile::Source::kRemembered;
    disks.push_back(std::move(disk));
  }
  return disks;
}

std::string format_remembered_disks(const std::vector<RememberedDisk>& disks) {
  Json entries = Json::array();
  for (const RememberedDisk& disk : disks) {
    entries.push_back({{"disk", disk.key},
                       {"depth", disk.profile.depth},
                       {"piece_bytes", disk.profile.piece_bytes},
                       {"bytes_per_second", disk.profile.bytes_per_second}});
  }
  const Json json = {{"version", kVersion}, {"disks", std::move(entries)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace sluice::storage
