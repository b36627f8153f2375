// SPDX-License-Identifier: Apache-2.0
#include "residency/expert_cache.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace sluice::residency {
namespace {

struct Read {
  ByteRange range;
  uint8_t* to;
};

constexpr uint64_t kPiece = uint64_t{8} << 20;

// A layer's ranges in file order. Neighbours are joined, since the experts of a stack follow one
// another.
std::vector<Read> plan_reads(const std::vector<ExpertRanges>& layer, uint8_t* arena,
                             std::vector<ExpertParts>& parts) {
  struct Item {
    ByteRange range;
    const uint8_t** slot;
  };
  std::vector<Item> items;
  parts.resize(layer.size());
  for (size_t e = 0; e < layer.size(); ++e)
    for (int p = 0; p < kParts; ++p) items.push_back({layer[e][p], &parts[e][p]});
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return std::pair(a.range.file, a.range.offset) < std::pair(b.range.file, b.range.offset);
  });
  std::vector<Read> reads;
  for (const Item& item : items) {
    *item.slot = arena;
    const bool joins = !reads.empty() && reads.back().range.file == item.range.file &&
                       reads.back().range.offset + reads.back().range.bytes == item.range.offset &&
                       reads.back().range.bytes + item.range.bytes <= kPiece;
    if (joins)
      reads.back().range.bytes += item.range.bytes;
    else
      reads.push_back({item.range, arena});
    arena += item.range.bytes;
  }
  return reads;
}

}  // namespace

Result<ExpertCache> ExpertCache::load(const ExpertTable& table,
                                      std::span<const std::unique_ptr<storage::Reader>> files,
                                      int threads) {
  ExpertCache cache;
  std::vector<Read> reads;
  cache.parts_.resize(table.size());
  for (size_t layer = 0; layer < table.size(); ++layer) {
    uint64_t bytes = 0;
    for (const ExpertRanges& expert : table[layer])
      for (const ByteRange& range : expert) bytes += range.bytes;
    AlignedBuffer arena = AlignedBuffer::allocate(bytes);
    if (bytes > 0 && !arena)
      return fail(ErrorKind::kTooLarge, "no memory for the {} bytes of layer {}'s experts", bytes,
                  layer);
    const std::vector<Read> layer_reads =
        plan_reads(table[layer], arena.data(), cache.parts_[layer]);
    reads.insert(reads.end(), layer_reads.begin(), layer_reads.end());
    cache.bytes_ += bytes;
    cache.arenas_.push_back(std::move(arena));
  }

  std::atomic<size_t> next{0};
  std::mutex error_mutex;
  Status status;
  auto work = [&] {
    for (;;) {
      const size_t i = next.fetch_add(1);
      if (i >= reads.size()) return;
      const Read& read = reads[i];
      Status done = files[static_cast<size_t>(read.range.file)]->read_at(
          read.range.offset, {read.to, static_cast<size_t>(read.range.bytes)});
      if (done) continue;
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (status) status = std::move(done);
      next.store(reads.size());
    }
  };
  std::vector<std::thread> helpers;
  try {
    for (int i = 1; i < threads; ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {  // no more threads to be had: those there are do the work
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  if (!status) return fail(std::move(status.error()));
  return cache;
}

void ExpertCache::acquire(int layer, std::span<const int32_t> experts, Lease& lease) const {
  if (trace_) trace_->record(layer, experts);
  lease.parts_.clear();
  for (const int32_t expert : experts)
    lease.parts_.push_back(parts_[static_cast<size_t>(layer)][static_cast<size_t>(expert)]);
}

}  // namespace sluice::residency
