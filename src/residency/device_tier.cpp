// SPDX-License-Identifier: Apache-2.0
#include "residency/device_tier.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace sluice::residency {
namespace {

constexpr uint64_t kAlignment = 256;  // of a part in device memory
constexpr float kHalfLife = 32;       // steps of a layer
// One that comes in must have so many more uses than the one that leaves: a swap moves as many
// bytes of main memory as computing the expert there twice, and takes them from the processor's
// share.
constexpr float kWorthASwap = 3;
constexpr size_t kMostMoves = 8;  // under way at a time

uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

std::vector<DeviceTier::SizeClass> DeviceTier::size_classes(const ExpertTable& table,
                                                            std::span<const ExpertPlace> places,
                                                            std::vector<int32_t>* class_of_layer) {
  std::vector<SizeClass> classes;
  size_t number = 0;
  for (const LayerExperts& layer : table.layers) {
    std::array<uint32_t, kParts> bytes{};
    for (size_t p = 0; p < kParts; ++p) bytes[p] = layer.experts.front()[p].bytes;
    auto same = std::find_if(classes.begin(), classes.end(),
                             [&](const SizeClass& c) { return c.part_bytes == bytes; });
    if (same == classes.end()) {
      SizeClass& added = classes.emplace_back();
      added.part_bytes = bytes;
      for (size_t p = 0; p < kParts; ++p) {
        added.part_at[p] = added.slot_bytes;
        added.slot_bytes += aligned(bytes[p]);
      }
      same = classes.end() - 1;
    }
    const ExpertPlace place = place_of(places, number++);
    const auto count = static_cast<int64_t>(layer.experts.size());
    if (place != ExpertPlace::kAway) same->experts += count;
    if (place == ExpertPlace::kPinned) same->pinned += count;
    if (class_of_layer) class_of_layer->push_back(static_cast<int32_t>(same - classes.begin()));
  }
  return classes;
}

uint64_t DeviceTier::full_bytes(const ExpertTable& table, std::span<const ExpertPlace> places) {
  uint64_t bytes = 0;
  for (const SizeClass& c : size_classes(table, places, nullptr))
    bytes += static_cast<uint64_t>(c.experts) * c.slot_bytes;
  return bytes;
}

uint64_t DeviceTier::pinned_bytes(const ExpertTable& table, std::span<const ExpertPlace> places) {
  uint64_t bytes = 0;
  for (const SizeClass& c : size_classes(table, places, nullptr))
    bytes += static_cast<uint64_t>(c.pinned) * c.slot_bytes;
  return bytes;
}

Status DeviceTier::lay_out() {
  const ExpertTable& table = cache_->table();
  classes_ = size_classes(table, options_.places, &class_of_layer_);
  entries_.resize(static_cast<size_t>(cache_->experts()));
  layer_steps_.resize(table.layers.size());
  uses_ = std::vector<std::atomic<uint32_t>>(entries_.size());
  const uint64_t full = full_bytes(table, options_.places);
  const uint64_t pinned = pinned_bytes(table, options_.places);
  if (pinned > options_.bytes)
    return fail(
        ErrorKind::kTooLarge,
        "the experts that are pinned take {} bytes of the device's memory, more than the {} "
        "for experts",
        pinned, options_.bytes);
  // The others share what is left.
  const double share = full == pinned ? 0.0
                                      : std::min(1.0, static_cast<double>(options_.bytes - pinned) /
                                                          static_cast<double>(full - pinned));
  for (SizeClass& c : classes_) {
    c.slots = c.pinned + static_cast<int64_t>(static_cast<double>(c.experts - c.pinned) * share);
    bytes_ += static_cast<uint64_t>(c.slots) * c.slot_bytes;
  }
  if (bytes_ == 0) return {};
  SLUICE_TRY(memory_.reserve(bytes_));
  auto* base = static_cast<uint8_t*>(memory_.data());
  for (SizeClass& c : classes_) {
    c.base = base;
    base += static_cast<uint64_t>(c.slots) * c.slot_bytes;
    c.free.resize(static_cast<size_t>(c.slots));
    std::iota(c.free.rbegin(), c.free.rend(), 0);
    c.holder.assign(static_cast<size_t>(c.slots), -1);
  }
  return {};
}

Result<std::unique_ptr<DeviceTier>> DeviceTier::create(const compute::Backend& device,
                                                       ExpertCache& cache,
                                                       const DeviceTierOptions& options) {
  std::unique_ptr<DeviceTier> tier(new DeviceTier(device, cache, options));
  SLUICE_TRY(tier->lay_out());
  // Copies from and to pinned memory go beside the computation; without, the host makes them.
  const std::span<uint8_t> arena = cache.arena();
  tier->pinned_ = !arena.empty() && device->pin(device.get(), arena.data(), arena.size()) == 0;
  return tier;
}

DeviceTier::~DeviceTier() {
  // Copies under way still read and write the cache's slots.
  for (const Move& move : moves_) (*device_)->transferred(device_->get(), move.ticket, 1);
  if (pinned_) (*device_)->unpin(device_->get(), cache_->arena().data());
}

int64_t DeviceTier::slots() const {
  int64_t slots = 0;
  for (const SizeClass& c : classes_) slots += c.slots;
  return slots;
}

float DeviceTier::heat(int32_t key) const {
  const Entry& entry = entries_[static_cast<size_t>(key)];
  const uint32_t now = layer_steps_[static_cast<size_t>(cache_->layer_of(key))];
  return entry.heat * std::exp2(-static_cast<float>(now - entry.at) / kHalfLife);
}

void DeviceTier::used(int32_t layer, std::span<const int32_t> ids) {
  const uint32_t now = ++layer_steps_[static_cast<size_t>(layer)];
  for (const int32_t id : ids) {
    const int32_t key = cache_->key(layer, id);
    Entry& entry = entries_[static_cast<size_t>(key)];
    entry.heat = heat(key) + 1;
    entry.at = now;
    if (!entry.here && !entry.moving && may_come(key)) candidates_.push_back(key);
  }
  used_by_many(layer, ids);
}

void DeviceTier::used_by_many(int32_t layer, std::span<const int32_t> ids) {
  uint64_t hits = 0;
  for (const int32_t id : ids) {
    const auto key = static_cast<size_t>(cache_->key(layer, id));
    if (!entries_[key].here) continue;
    ++hits;
    uses_[key].store(uses_[key].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  counters_.requests.fetch_add(ids.size(), std::memory_order_relaxed);
  counters_.hits.fetch_add(hits, std::memory_order_relaxed);
}

DeviceTierStatistics DeviceTier::statistics() const {
  return {counters_.requests,   counters_.hits,     counters_.arrivals,
          counters_.departures, counters_.bytes_in, counters_.bytes_out};
}

void DeviceTier::add_uses(std::span<uint32_t> uses) const {
  for (size_t key = 0; key < uses_.size(); ++key)
    uses[key] += uses_[key].load(std::memory_order_relaxed);
}

int32_t DeviceTier::coldest(const SizeClass& c) const {
  int32_t best = -1;
  float least = 0;
  for (const int32_t key : c.holder) {
    if (key < 0 || entries_[static_cast<size_t>(key)].moving) continue;
    if (place_of(key) == ExpertPlace::kPinned) continue;
    const float h = heat(key);
    if (best < 0 || h < least) {
      best = key;
      least = h;
    }
  }
  return best;
}

ExpertParts DeviceTier::parts_of(const SizeClass& c, int32_t slot) const {
  ExpertParts parts{};
  for (size_t p = 0; p < kParts; ++p)
    parts[p] = c.base + static_cast<uint64_t>(slot) * c.slot_bytes + c.part_at[p];
  return parts;
}

Status DeviceTier::copy_in(int32_t key, int32_t slot, const ExpertParts& from, uint64_t& ticket) {
  const SizeClass& c = class_of(key);
  for (size_t p = 0; p < kParts; ++p) {
    SLUICE_TRY(device_->check((*device_)->transfer(
        device_->get(), c.base + static_cast<uint64_t>(slot) * c.slot_bytes + c.part_at[p], from[p],
        c.part_bytes[p], 1, &ticket)));
    counters_.bytes_in += c.part_bytes[p];
  }
  return {};
}

// The expert is in this slot from now on.
void DeviceTier::settle(int32_t key, int32_t slot) {
  SizeClass& c = class_of(key);
  Entry& entry = entries_[static_cast<size_t>(key)];
  entry.here = true;
  entry.moving = false;
  entry.slot = slot;
  entry.parts = parts_of(c, slot);
  c.holder[static_cast<size_t>(slot)] = key;
  ++residents_;
  ++counters_.arrivals;
}

const ExpertParts* DeviceTier::admit(int32_t layer, int32_t expert) {
  const int32_t key = cache_->key(layer, expert);
  SizeClass& c = class_of(key);
  Entry& entry = entries_[static_cast<size_t>(key)];
  if (c.free.empty() || entry.here || entry.moving || !may_come(key)) return nullptr;
  const int32_t slot = c.free.back();
  c.free.pop_back();
  settle(key, slot);
  return &entry.parts;
}

// False: it cannot come now.
Result<bool> DeviceTier::begin(int32_t key) {
  SizeClass& c = class_of(key);
  Move move;
  move.coming = key;
  if (c.free.empty()) {
    move.leaving = coldest(c);
    if (move.leaving < 0 || heat(key) < heat(move.leaving) + kWorthASwap) return false;
  }
  const std::optional<ExpertParts> from = cache_->lend(key);
  if (!from) return false;
  if (move.leaving >= 0) {
    const auto to = cache_->take(move.leaving);
    if (!to) {
      cache_->keep(key);
      return false;
    }
    const Entry& leaving = entries_[static_cast<size_t>(move.leaving)];
    for (size_t p = 0; p < kParts; ++p) {
      SLUICE_TRY(device_->check((*device_)->transfer(device_->get(), (*to)[p], leaving.parts[p],
                                                     c.part_bytes[p], 0, &move.ticket)));
      counters_.bytes_out += c.part_bytes[p];
    }
    entries_[static_cast<size_t>(move.leaving)].moving = true;
    move.out = true;
  } else {
    const int32_t slot = c.free.back();
    c.free.pop_back();
    SLUICE_TRY(copy_in(key, slot, *from, move.ticket));
    entries_[static_cast<size_t>(key)].slot = slot;
  }
  entries_[static_cast<size_t>(key)].moving = true;
  moves_.push_back(move);
  return true;
}

// True: the move has ended.
Result<bool> DeviceTier::advance(Move& move) {
  const int32_t state = (*device_)->transferred(device_->get(), move.ticket, 0);
  if (state < 0) return fail(device_->check(state).error());
  if (state == 0) return false;
  Entry& coming = entries_[static_cast<size_t>(move.coming)];
  if (!move.out) {
    settle(move.coming, coming.slot);
    cache_->leave(move.coming);
    return true;
  }
  // The one that left is in main memory; its slot is free once what was issued has read it.
  Entry& leaving = entries_[static_cast<size_t>(move.leaving)];
  cache_->arrive(move.leaving);
  leaving.here = leaving.moving = false;
  --residents_;
  ++counters_.departures;
  uint64_t mark = 0;
  SLUICE_TRY(device_->check((*device_)->mark(device_->get(), &mark)));
  SLUICE_TRY(device_->check((*device_)->transfers_after(device_->get(), mark)));
  const std::optional<ExpertParts> from = cache_->lend(move.coming);
  SLUICE_CHECK(from, "an expert that is lent stays");
  cache_->keep(move.coming);
  coming.slot = std::exchange(leaving.slot, -1);
  class_of(move.coming).holder[static_cast<size_t>(coming.slot)] = -1;
  move.out = false;
  SLUICE_TRY(copy_in(move.coming, coming.slot, *from, move.ticket));
  return false;
}

Status DeviceTier::step() {
  for (size_t i = 0; i < moves_.size();) {
    SLUICE_ASSIGN(const bool ended, advance(moves_[i]));
    if (ended) {
      moves_[i] = moves_.back();
      moves_.pop_back();
    } else {
      ++i;
    }
  }
  int begun = 0;
  for (const int32_t key : candidates_) {
    if (moves_.size() >= kMostMoves || begun >= options_.step_moves) break;
    const Entry& entry = entries_[static_cast<size_t>(key)];
    if (entry.here || entry.moving) continue;
    SLUICE_ASSIGN(const bool coming, begin(key));
    begun += coming ? 1 : 0;
  }
  candidates_.clear();
  return {};
}

Status DeviceTier::fill(bool all) {
  SLUICE_TRY(fill_layers(ExpertPlace::kPinned));
  return all ? fill_layers(ExpertPlace::kAnywhere) : Status{};
}

Status DeviceTier::fill_layers(ExpertPlace place) {
  ExpertStream stream;
  std::vector<int32_t> ids;
  const std::vector<LayerExperts>& layers = cache_->table().layers;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (place_of(options_.places, layer) != place) continue;
    SizeClass& c = classes_[static_cast<size_t>(class_of_layer_[layer])];
    const auto number = static_cast<int32_t>(layer);
    ids.clear();
    for (size_t e = 0; e < layers[layer].experts.size(); ++e)
      if (ids.size() < c.free.size() && !find(number, static_cast<int32_t>(e)))
        ids.push_back(static_cast<int32_t>(e));
    if (ids.empty()) continue;
    cache_->begin(number, ids, Use::kScan, {}, stream);
    for (size_t handed = 0; handed < ids.size();) {
      SLUICE_ASSIGN(const auto group, stream.next());
      uint64_t ticket = 0;
      for (const auto& ready : group) {
        const int32_t id = ids[static_cast<size_t>(ready.index)];
        SLUICE_CHECK(admit(number, id), "there was room");
        const int32_t key = cache_->key(number, id);
        SLUICE_TRY(copy_in(key, entries_[static_cast<size_t>(key)].slot, ready.parts, ticket));
      }
      // What was handed out may go with the next call.
      const int32_t done = (*device_)->transferred(device_->get(), ticket, 1);
      if (done < 0) return device_->check(done);
      handed += group.size();
    }
    stream.finish();
    for (const int32_t id : ids) cache_->moved(cache_->key(number, id));
  }
  return {};
}

}  // namespace sluice::residency
