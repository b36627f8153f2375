// SPDX-License-Identifier: Apache-2.0
// What ExpertCache does for a tier beside it.
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

}  // namespace sluice::residency
