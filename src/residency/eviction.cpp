// SPDX-License-Identifier: Apache-2.0
#include "residency/eviction.h"

#include <cmath>
#include <vector>

#include "base/check.h"

namespace sluice::residency {
namespace {

constexpr int32_t kNone = -1;

// Lists of keys; each key is in at most one of them. Links are arrays, so that nothing allocates.
class KeyLists {
 public:
  KeyLists(int32_t keys, int32_t lists)
      : keys_(keys), links_(static_cast<size_t>(keys + lists)), list_(static_cast<size_t>(keys)) {
    // A list is a ring through a node of its own behind the keys.
    for (int32_t node = 0; node < keys + lists; ++node) link(node) = {node, node};
    for (int32_t& list : list_) list = kNone;
  }

  int32_t list_of(int32_t key) const { return list_[static_cast<size_t>(key)]; }
  int32_t first(int32_t list) const { return key_or_none(link(keys_ + list).next); }
  int32_t next(int32_t key) const { return key_or_none(link(key).next); }

  void push_front(int32_t list, int32_t key) { put_behind(keys_ + list, list, key); }
  void push_back(int32_t list, int32_t key) { put_behind(link(keys_ + list).previous, list, key); }
  void remove(int32_t key) {
    const Link old = link(key);
    link(old.previous).next = old.next;
    link(old.next).previous = old.previous;
    list_[static_cast<size_t>(key)] = kNone;
  }

 private:
  struct Link {
    int32_t previous;
    int32_t next;
  };

  Link& link(int32_t node) { return links_[static_cast<size_t>(node)]; }
  const Link& link(int32_t node) const { return links_[static_cast<size_t>(node)]; }
  int32_t key_or_none(int32_t node) const { return node < keys_ ? node : kNone; }
  void put_behind(int32_t node, int32_t list, int32_t key) {
    SLUICE_CHECK(list_of(key) == kNone, "a key is in one list");
    const int32_t after = link(node).next;
    link(key) = {node, after};
    link(node).next = key;
    link(after).previous = key;
    list_[static_cast<size_t>(key)] = list;
  }

  int32_t keys_;
  std::vector<Link> links_;
  std::vector<int32_t> list_;
};

// The first of a list that may leave.
int32_t first_of(const KeyLists& lists, int32_t list, KeyTest may_leave) {
  int32_t key = lists.first(list);
  while (key != kNone && !may_leave(key)) key = lists.next(key);
  return key;
}

class Lru final : public Eviction {
 public:
  Lru(int32_t keys, bool resists_scans) : keys_(keys, 1), resists_scans_(resists_scans) {}

  void insert(int32_t key, Use use) override {
    if (resists_scans_ && use == Use::kScan)
      keys_.push_front(0, key);
    else
      keys_.push_back(0, key);
  }
  void touch(int32_t key, Use use) override {
    if (resists_scans_ && use == Use::kScan) return;
    keys_.remove(key);
    keys_.push_back(0, key);
  }
  void erase(int32_t key) override { keys_.remove(key); }
  int32_t victim(KeyTest may_leave) const override { return first_of(keys_, 0, may_leave); }

 private:
  KeyLists keys_;  // the last used at the back
  bool resists_scans_;
};

class SegmentedLru final : public Eviction {
 public:
  explicit SegmentedLru(int32_t keys) : keys_(keys, 2) {}

  void insert(int32_t key, Use use) override {
    if (use == Use::kScan)
      keys_.push_front(kProbation, key);
    else
      keys_.push_back(kProbation, key);
    ++present_;
  }
  void touch(int32_t key, Use use) override {
    if (use == Use::kScan) return;
    if (keys_.list_of(key) == kProbation) ++protected_;
    keys_.remove(key);
    keys_.push_back(kProtected, key);
    while (protected_ > kProtectedShare * present_) {
      const int32_t oldest = keys_.first(kProtected);
      keys_.remove(oldest);
      keys_.push_back(kProbation, oldest);
      --protected_;
    }
  }
  void erase(int32_t key) override {
    if (keys_.list_of(key) == kProtected) --protected_;
    keys_.remove(key);
    --present_;
  }
  int32_t victim(KeyTest may_leave) const override {
    const int32_t key = first_of(keys_, kProbation, may_leave);
    return key != kNone ? key : first_of(keys_, kProtected, may_leave);
  }

 private:
  enum : int32_t { kProbation, kProtected };
  static constexpr double kProtectedShare = 0.8;

  KeyLists keys_;
  int32_t present_ = 0;
  int32_t protected_ = 0;
};

class TwoQueues final : public Eviction {
 public:
  explicit TwoQueues(int32_t keys) : keys_(keys, 3) {}

  void insert(int32_t key, Use use) override {
    const bool known = keys_.list_of(key) == kGone;
    if (known) {
      keys_.remove(key);
      --gone_;
    }
    ++present_;
    if (known && use == Use::kToken) {
      keys_.push_back(kMain, key);
      return;
    }
    ++new_;
    if (use == Use::kScan)
      keys_.push_front(kNew, key);
    else
      keys_.push_back(kNew, key);
  }
  // A second use soon after the first says little: only those in the main queue move.
  void touch(int32_t key, Use use) override {
    if (use == Use::kScan || keys_.list_of(key) == kNew) return;
    keys_.remove(key);
    keys_.push_back(kMain, key);
  }
  void erase(int32_t key) override {
    const bool was_new = keys_.list_of(key) == kNew;
    keys_.remove(key);
    --present_;
    if (!was_new) return;
    --new_;
    keys_.push_back(kGone, key);
    ++gone_;
    while (gone_ > kGoneShare * present_) {
      keys_.remove(keys_.first(kGone));
      --gone_;
    }
  }
  int32_t victim(KeyTest may_leave) const override {
    const bool many_new = new_ > kNewShare * present_;
    const int32_t key = first_of(keys_, many_new ? kNew : kMain, may_leave);
    return key != kNone ? key : first_of(keys_, many_new ? kMain : kNew, may_leave);
  }

 private:
  enum : int32_t { kNew, kMain, kGone };
  static constexpr double kNewShare = 0.25;  // of the slots, as the paper has it
  static constexpr double kGoneShare = 0.5;

  KeyLists keys_;
  int32_t present_ = 0;
  int32_t new_ = 0;
  int32_t gone_ = 0;  // remembered, without a slot
};

// A binary heap of keys, the least score on top.
class KeyHeap {
 public:
  explicit KeyHeap(int32_t keys)
      : score_(static_cast<size_t>(keys)), place_(static_cast<size_t>(keys), kNone) {
    heap_.reserve(static_cast<size_t>(keys));
  }

  void add(int32_t key, double score) {
    SLUICE_CHECK(place_[static_cast<size_t>(key)] == kNone, "a key has one place");
    score_[static_cast<size_t>(key)] = score;
    heap_.push_back(key);
    rise(heap_.size() - 1);
  }
  void change(int32_t key, double score) {
    score_[static_cast<size_t>(key)] = score;
    sink(rise(place_of(key)));
  }
  void remove(int32_t key) {
    const size_t at = place_of(key);
    const int32_t last = heap_.back();
    heap_.pop_back();
    place_[static_cast<size_t>(key)] = kNone;
    if (last == key) return;
    put(at, last);
    sink(rise(at));
  }
  int32_t least(KeyTest may_leave) const {
    int32_t best = kNone;
    search(0, may_leave, best);
    return best;
  }

 private:
  bool less(int32_t a, int32_t b) const {
    const double of_a = score_[static_cast<size_t>(a)], of_b = score_[static_cast<size_t>(b)];
    return of_a < of_b || (of_a == of_b && a < b);
  }
  size_t place_of(int32_t key) const {
    SLUICE_CHECK(place_[static_cast<size_t>(key)] != kNone, "the key has a slot");
    return static_cast<size_t>(place_[static_cast<size_t>(key)]);
  }
  void put(size_t at, int32_t key) {
    heap_[at] = key;
    place_[static_cast<size_t>(key)] = static_cast<int32_t>(at);
  }
  size_t rise(size_t at) {
    const int32_t key = heap_[at];
    for (; at > 0 && less(key, heap_[(at - 1) / 2]); at = (at - 1) / 2)
      put(at, heap_[(at - 1) / 2]);
    put(at, key);
    return at;
  }
  void sink(size_t at) {
    const int32_t key = heap_[at];
    for (;;) {
      size_t child = 2 * at + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && less(heap_[child + 1], heap_[child])) ++child;
      if (!less(heap_[child], key)) break;
      put(at, heap_[child]);
      at = child;
    }
    put(at, key);
  }
  // Nothing is less below a key that may leave, nor below one that is not less than the best.
  void search(size_t at, KeyTest may_leave, int32_t& best) const {
    if (at >= heap_.size()) return;
    const int32_t key = heap_[at];
    if (best != kNone && !less(key, best)) return;
    if (may_leave(key)) {
      best = key;
      return;
    }
    search(2 * at + 1, may_leave, best);
    search(2 * at + 2, may_leave, best);
  }

  std::vector<double> score_;
  std::vector<int32_t> heap_;
  std::vector<int32_t> place_;  // in the heap
};

// A key's value is the sum of its uses by tokens, each halved with every half-life since. All
// values shrink alike, so that the order only changes for a key that is used; kept is the time at
// which the value was or will be one, which stays. A key that leaves keeps its value.
class Lfru final : public Eviction {
 public:
  Lfru(int32_t keys, int32_t token_uses)
      : present_(keys),
        worth_one_at_(static_cast<size_t>(keys), kNeverUsed),
        step_(1.0 / (kHalfLifeTokens * token_uses)) {}

  void insert(int32_t key, Use use) override {
    present_.add(key, count(key, use, kScanRenewsAbsent));
  }
  void touch(int32_t key, Use use) override {
    present_.change(key, count(key, use, kScanRenewsPresent));
  }
  void erase(int32_t key) override { present_.remove(key); }
  int32_t victim(KeyTest may_leave) const override { return present_.least(may_leave); }

 private:
  static constexpr double kHalfLifeTokens = 8;
  static constexpr double kNeverUsed = -1e9;
  // A scan makes a key younger, by this part of its age, and leaves those that tokens use in their
  // order. What it brings in gains less than what it finds, or else each sweep would push out what
  // the next one needs. Experts that tokens never used are behind all others until many scans have
  // used them.
  static constexpr double kScanRenewsPresent = 0.75;
  static constexpr double kScanRenewsAbsent = 0.25;

  double count(int32_t key, Use use, double scan_renews) {
    double& at = worth_one_at_[static_cast<size_t>(key)];
    if (use == Use::kToken) {
      now_ += step_;
      at = now_ + std::log2(1.0 + std::exp2(at - now_));
    } else if (at < now_) {
      at += scan_renews * (now_ - at);
    }
    return at;
  }

  KeyHeap present_;
  std::vector<double> worth_one_at_;  // in half-lives
  double now_ = 0;
  double step_;
};

struct Named {
  Policy policy;
  std::string_view name;
};
constexpr Named kNames[] = {{Policy::kLru, "lru"},
                            {Policy::kScanLru, "lru-scan"},
                            {Policy::kSegmentedLru, "slru"},
                            {Policy::kTwoQueues, "2q"},
                            {Policy::kLfru, "lfru"}};
constexpr Policy kAll[] = {Policy::kLru, Policy::kScanLru, Policy::kSegmentedLru,
                           Policy::kTwoQueues, Policy::kLfru};

}  // namespace

std::unique_ptr<Eviction> make_eviction(Policy policy, int32_t keys, int32_t token_uses) {
  switch (policy) {
    case Policy::kLru:
      return std::make_unique<Lru>(keys, false);
    case Policy::kScanLru:
      return std::make_unique<Lru>(keys, true);
    case Policy::kSegmentedLru:
      return std::make_unique<SegmentedLru>(keys);
    case Policy::kTwoQueues:
      return std::make_unique<TwoQueues>(keys);
    case Policy::kLfru:
      return std::make_unique<Lfru>(keys, token_uses);
  }
  SLUICE_CHECK(false, "every policy is made above");
}

std::span<const Policy> all_policies() {
  return kAll;
}

std::string_view name_of(Policy policy) {
  for (const Named& named : kNames)
    if (named.policy == policy) return named.name;
  SLUICE_CHECK(false, "every policy has a name");
}

std::optional<Policy> policy_named(std::string_view name) {
  for (const Named& named : kNames)
    if (named.name == name) return named.policy;
  return std::nullopt;
}

}  // namespace sluice::residency
