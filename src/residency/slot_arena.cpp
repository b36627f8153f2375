// SPDX-License-Identifier: Apache-2.0
#include "residency/slot_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "storage/read_queue.h"

namespace sluice::residency {
namespace {

// Slots are laid out for the largest alignment that reads may want; it is a page's too.
constexpr uint32_t kAlignment = storage::kMaxAlignment;

}  // namespace

std::vector<SlotArena::SizeClass> SlotArena::size_classes(const ExpertTable& table, int32_t used,
                                                          std::vector<size_t>* class_of) {
  std::vector<SizeClass> classes;
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
        added.slot_bytes += storage::slot_bytes(bytes[p], kAlignment);
      }
      same = classes.end() - 1;
    }
    same->experts += static_cast<int64_t>(layer.experts.size());
    if (class_of) class_of->push_back(static_cast<size_t>(same - classes.begin()));
  }
  for (SizeClass& c : classes) c.least = std::min<int64_t>(c.experts, 2 * int64_t{used});
  return classes;
}

uint64_t SlotArena::least_bytes(const ExpertTable& table, int32_t used) {
  uint64_t bytes = 0;
  for (const SizeClass& c : size_classes(table, used, nullptr))
    bytes += static_cast<uint64_t>(c.least) * c.slot_bytes;
  return bytes;
}

uint64_t SlotArena::full_bytes(const ExpertTable& table) {
  uint64_t bytes = 0;
  for (const SizeClass& c : size_classes(table, 1, nullptr))
    bytes += static_cast<uint64_t>(c.experts) * c.slot_bytes;
  return bytes;
}

// What is beyond the least is shared out in proportion.
int64_t SlotArena::share(const SizeClass& c, uint64_t bytes) const {
  if (bytes >= full_) return c.experts;
  if (bytes <= least_) return c.least;
  const double part = static_cast<double>(bytes - least_) / static_cast<double>(full_ - least_);
  return c.least + static_cast<int64_t>(static_cast<double>(c.experts - c.least) * part);
}

Result<SlotArena> SlotArena::create(const ExpertTable& table, int32_t used, uint64_t bytes) {
  SlotArena arena;
  arena.classes_ = size_classes(table, used, &arena.class_of_layer_);
  arena.least_ = least_bytes(table, used);
  arena.full_ = full_bytes(table);
  if (bytes < arena.least_)
    return fail(ErrorKind::kTooLarge,
                "{} MiB for experts are too little: two tokens' experts of a layer need {} MiB",
                bytes >> 20, (arena.least_ + (1 << 20) - 1) >> 20);
  bytes = std::min(bytes, arena.full_);
  for (;;) {
    uint64_t sum = 0;
    for (SizeClass& c : arena.classes_) {
      c.most = c.aim = c.live = arena.share(c, bytes);
      sum += static_cast<uint64_t>(c.most) * c.slot_bytes;
    }
    if (sum == 0) return arena;
    arena.memory_ = AlignedBuffer::allocate(sum);
    if (arena.memory_) break;
    if (bytes == arena.least_)
      return fail(ErrorKind::kTooLarge, "no memory for {} MiB of experts: use a smaller -c or -ub",
                  sum >> 20);
    // A limit that the plan could not see: what is left does too.
    bytes = std::max(arena.least_, bytes - bytes / 4);
  }
  uint8_t* base = arena.memory_.data();
  for (SizeClass& c : arena.classes_) {
    c.base = base;
    base += static_cast<uint64_t>(c.most) * c.slot_bytes;
    c.free.resize(static_cast<size_t>(c.most));
    std::iota(c.free.rbegin(), c.free.rend(), 0);
    c.gone.reserve(c.free.size());  // giving memory back must not need any
    c.backed.resize(c.free.size());
  }
  return arena;
}

int32_t SlotArena::take(size_t of) {
  SizeClass& c = classes_[of];
  SLUICE_CHECK(!c.free.empty(), "a slot is free");
  const int32_t slot = c.free.back();
  c.free.pop_back();
  uint8_t& backed = c.backed[static_cast<size_t>(slot)];
  if (backed == 0) ++c.touched;
  backed = 1;
  return slot;
}

uint8_t* SlotArena::part(size_t of, int32_t slot, size_t part) const {
  const SizeClass& c = classes_[of];
  return c.base + static_cast<uint64_t>(slot) * c.slot_bytes + c.part_at[part];
}

void SlotArena::aim(uint64_t bytes) {
  for (SizeClass& c : classes_) {
    c.aim = bytes >= memory_.size() ? c.most : std::min(c.most, share(c, bytes));
    while (c.live < c.aim && !c.gone.empty()) {
      c.free.push_back(c.gone.back());
      c.gone.pop_back();
      ++c.live;
    }
  }
}

// Of a huge page that the slot shares with others the system takes the slot's part back when it
// looks for memory, not at once.
void SlotArena::trim(size_t of) {
  SizeClass& c = classes_[of];
  while (c.live > c.aim && !c.free.empty()) {
    const int32_t slot = c.free.back();
    c.free.pop_back();
    c.gone.push_back(slot);
    --c.live;
    uint8_t& backed = c.backed[static_cast<size_t>(slot)];
    if (backed == 0) continue;
    madvise(part(of, slot, 0), c.slot_bytes, MADV_DONTNEED);
    backed = 0;
    --c.touched;
  }
}

ArenaUse SlotArena::use() const {
  ArenaUse use;
  for (const SizeClass& c : classes_) {
    use.least += static_cast<uint64_t>(std::min(c.least, c.most)) * c.slot_bytes;
    use.most += static_cast<uint64_t>(c.most) * c.slot_bytes;
    use.aim += static_cast<uint64_t>(c.aim) * c.slot_bytes;
    use.excess += static_cast<uint64_t>(std::max<int64_t>(0, c.live - c.aim)) * c.slot_bytes;
    use.untouched += static_cast<uint64_t>(c.live - c.touched) * c.slot_bytes;
  }
  return use;
}

}  // namespace sluice::residency
