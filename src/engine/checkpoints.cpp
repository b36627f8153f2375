// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoints.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::engine {
namespace {

constexpr int64_t kProtectedTurns = 4;
// Distances from the end count from here: below, a difference is not worth a copy.
constexpr double kNear = 256;

}  // namespace

uint64_t Checkpoints::bytes() const {
  uint64_t sum = 0;
  for (const Entry& entry : entries_)
    sum += entry.memory->bytes() + entry.logits.size() * sizeof(float);
  return sum;
}

bool Checkpoints::due(int64_t position) const {
  return limit_ > 0 && step_ >= 0 && position > newest() && position - newest() >= step_;
}

void Checkpoints::make_room(int64_t position) {
  if (static_cast<int64_t>(entries_.size()) < limit_) return;
  // Only what cannot be dropped comes behind: from here on, turns are protected.
  int64_t turns = std::min(kProtectedTurns, limit_ / 2);
  const auto distance = [&](size_t i) {
    return static_cast<double>(position - entries_[i].position) + kNear;
  };
  size_t victim = 0;
  double smallest = 0;
  for (size_t i = entries_.size(); i-- > 0;) {
    if (entries_[i].turn && turns-- > 0) continue;
    // From the one before (or the beginning of the text) to the one behind (or the new one).
    const double before = i > 0 ? distance(i - 1) : static_cast<double>(position) + kNear;
    const double behind = i + 1 < entries_.size() ? distance(i + 1) : kNear;
    const double gap = before / behind;
    if (smallest > 0 && gap >= smallest) continue;
    smallest = gap;
    victim = i;
  }
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(victim));
}

void Checkpoints::add(Entry entry) {
  SLUICE_CHECK(static_cast<int64_t>(entries_.size()) < limit_, "no room for a checkpoint");
  SLUICE_CHECK(entry.position > newest(), "a checkpoint before the newest");
  entries_.push_back(std::move(entry));
}

void Checkpoints::mark_turn(std::span<const float> logits) {
  entries_.back().turn = true;
  if (!logits.empty()) entries_.back().logits.assign(logits.begin(), logits.end());
}

const Checkpoints::Entry* Checkpoints::nearest(int64_t position) const {
  for (size_t i = entries_.size(); i-- > 0;)
    if (entries_[i].position <= position) return &entries_[i];
  return nullptr;
}

void Checkpoints::truncate(int64_t position) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.position > position; });
}

}  // namespace sluice::engine
