// SPDX-License-Identifier: Apache-2.0
// What ExpertCache does for a tier beside it, and for who watches.
#include "base/check.h"
#include "residency/expert_cache.h"

namespace sluice::residency {

std::optional<ExpertParts> ExpertCache::lend(int32_t key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Entry& entry = entries_[static_cast<size_t>(key)];
  if (entry.state != State::kReady || entry.failed) return std::nullopt;
  pin(key);
  return entry.parts;
}

void ExpertCache::keep(int32_t key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  unpin(key);
}

void ExpertCache::leave(int32_t key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  unpin(key);
  send_away(key);
}

void ExpertCache::moved(int32_t key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Read again meanwhile, ahead of a need that there will not be: it may stay until it is evicted.
  if (entries_[static_cast<size_t>(key)].state != State::kLoading) send_away(key);
}

void ExpertCache::send_away(int32_t key) {
  Entry& entry = entries_[static_cast<size_t>(key)];
  SLUICE_CHECK(entry.pins == 0, "nobody computes an expert that leaves");
  if (entry.state == State::kReady) drop(key);
  entry.state = State::kElsewhere;
  ++elsewhere_;
  ++away_[static_cast<size_t>(layer_of(key))];
  note_complete();
  filled_ = 0;  // there may be a free slot
}

std::optional<std::array<uint8_t*, kParts>> ExpertCache::take(int32_t key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry& entry = entries_[static_cast<size_t>(key)];
  SLUICE_CHECK(entry.state == State::kElsewhere, "an expert comes back from elsewhere");
  // Once all are in one tier or another, none must be lost to the disk.
  if (complete() && !arena_.has_free(class_of(key))) return std::nullopt;
  if (!reserve(key, Use::kToken)) return std::nullopt;
  entry.state = State::kLoading;
  pin(key);
  place_parts(key);
  std::array<uint8_t*, kParts> parts{};
  for (size_t p = 0; p < kParts; ++p) parts[p] = const_cast<uint8_t*>(entry.parts[p]);
  return parts;
}

void ExpertCache::arrive(int32_t key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_[static_cast<size_t>(key)].state = State::kReady;
  ++ready_;
  --elsewhere_;
  --away_[static_cast<size_t>(layer_of(key))];
  unpin(key);
}

std::vector<uint32_t> ExpertCache::uses() const {
  std::vector<uint32_t> uses;
  uses.reserve(uses_.size());
  for (const auto& count : uses_) uses.push_back(count.load(std::memory_order_relaxed));
  return uses;
}

void ExpertCache::take_census(Census& census) const {
  census.tiers.resize(entries_.size());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t key = 0; key < entries_.size(); ++key) {
      const State state = entries_[key].state;
      census.tiers[key] = state == State::kReady       ? Tier::kMemory
                          : state == State::kElsewhere ? Tier::kDevice
                                                       : Tier::kDisk;
    }
  }
  census.uses = uses();
  census.memory_bytes = census.device_bytes = 0;
  size_t key = 0;
  for (const LayerExperts& layer : table_.layers) {
    const uint64_t bytes = layer.expert_bytes();
    for (const size_t end = key + layer.experts.size(); key < end; ++key) {
      if (census.tiers[key] == Tier::kMemory) census.memory_bytes += bytes;
      if (census.tiers[key] == Tier::kDevice) census.device_bytes += bytes;
    }
  }
}

}  // namespace sluice::residency
