// SPDX-License-Identifier: Apache-2.0
#include "residency/eviction.h"

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

class Lru final : public Eviction {
 public:
  explicit Lru(int32_t keys) : keys_(keys, 1) {}

  void insert(int32_t key, Use) override { keys_.push_back(0, key); }
  void touch(int32_t key, Use) override {
    keys_.remove(key);
    keys_.push_back(0, key);
  }
  void erase(int32_t key) override { keys_.remove(key); }
  int32_t victim(KeyTest may_leave) const override {
    int32_t key = keys_.first(0);
    while (key != kNone && !may_leave(key)) key = keys_.next(key);
    return key;
  }

 private:
  KeyLists keys_;  // the last used at the back
};

struct Named {
  Policy policy;
  std::string_view name;
};
constexpr Named kPolicies[] = {{Policy::kLru, "lru"}};

}  // namespace

std::unique_ptr<Eviction> make_eviction(Policy policy, int32_t keys) {
  switch (policy) {
    case Policy::kLru:
      return std::make_unique<Lru>(keys);
  }
  SLUICE_CHECK(false, "every policy is made above");
}

std::string_view name_of(Policy policy) {
  for (const Named& named : kPolicies)
    if (named.policy == policy) return named.name;
  SLUICE_CHECK(false, "every policy has a name");
}

std::optional<Policy> policy_named(std::string_view name) {
  for (const Named& named : kPolicies)
    if (named.name == name) return named.policy;
  return std::nullopt;
}

}  // namespace sluice::residency
