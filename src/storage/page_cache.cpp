// SPDX-License-Identifier: Apache-2.0
#include "storage/page_cache.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "storage/file.h"

namespace sluice::storage {
namespace {

constexpr uint64_t kSamples = 256;
constexpr uint64_t kSampleBytes = 1 << 20;

// cachestat(2), Linux 6.5; headers of older systems do not have it.
constexpr long kCachestat = 451;
struct CachestatRange {
  uint64_t offset, length;
};
struct Cachestat {
  uint64_t cached, dirty, writeback, evicted, recently_evicted;  // pages
};

// Pages of [offset, offset + bytes) in memory.
std::optional<uint64_t> cached_pages(int descriptor, uint64_t offset, uint64_t bytes) {
  CachestatRange range = {offset, bytes};
  Cachestat answer = {};
  if (::syscall(kCachestat, descriptor, &range, &answer, 0) == 0) return answer.cached;
  return std::nullopt;
}

// The same through a mapping that is never read: a file that is cut short does no harm. The system
// answers "all" about files that we might not write to.
std::optional<uint64_t> mapped_pages(const File& file, uint64_t offset, uint64_t bytes,
                                     uint64_t page) {
  if (::access(file.name().c_str(), W_OK) != 0) return std::nullopt;
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.descriptor(), static_cast<off_t>(offset));
  if (memory == MAP_FAILED) return std::nullopt;
  std::vector<uint8_t> flags((bytes + page - 1) / page);
  const bool told = ::mincore(memory, bytes, flags.data()) == 0;
  ::munmap(memory, bytes);
  if (!told) return std::nullopt;
  return static_cast<uint64_t>(
      std::ranges::count_if(flags, [](uint8_t flag) { return (flag & 1) != 0; }));
}

}  // namespace

std::optional<double> cached_share(const std::string& path) {
  const auto file = File::open(path);
  if (!file || file->size() == 0) return std::nullopt;
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t pieces = (file->size() + kSampleBytes - 1) / kSampleBytes;
  const uint64_t samples = std::min(pieces, kSamples);
  uint64_t cached = 0, looked_at = 0;
  for (uint64_t i = 0; i < samples; ++i) {
    const uint64_t offset = i * pieces / samples * kSampleBytes;
    const uint64_t bytes = std::min(kSampleBytes, file->size() - offset);
    auto pages = cached_pages(file->descriptor(), offset, bytes);
    if (!pages) pages = mapped_pages(*file, offset, bytes, page);
    if (!pages) return std::nullopt;
    cached += *pages;
    looked_at += (bytes + page - 1) / page;
  }
  return std::min(1.0, static_cast<double>(cached) / static_cast<double>(looked_at));
}

}  // namespace sluice::storage
