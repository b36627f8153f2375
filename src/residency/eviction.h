// SPDX-License-Identifier: Apache-2.0
// Which expert leaves when another one needs its slot: pure bookkeeping, no threads, no time.
//
// A key is an expert of the model: layer * experts + expert, from 0 to keys - 1. Every call takes
// constant or logarithmic time (victim: for each key that it passes over), and nothing is allocated
// after construction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace sluice::residency {

enum class Use {
  kToken,  // by a step of few tokens
  kScan,   // by a batch that sweeps a layer's experts, as a prompt does
};

// A view of something that says bool(int32_t key); it must live until the call that takes it ends.
class KeyTest {
 public:
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, KeyTest> &&
           std::is_invocable_r_v<bool, const F&, int32_t>)
      KeyTest(const F& test)  // NOLINT(google-explicit-constructor): lambdas are passed as they are
      : test_(&test), call_([](const void* object, int32_t key) -> bool {
          return (*static_cast<const F*>(object))(key);
        }) {}

  bool operator()(int32_t key) const { return call_(test_, key); }

 private:
  const void* test_;
  bool (*call_)(const void*, int32_t);
};

class Eviction {
 public:
  virtual ~Eviction() = default;

  // The key has a slot from now on. It had none.
  virtual void insert(int32_t key, Use use) = 0;
  // The key was asked for while it has a slot.
  virtual void touch(int32_t key, Use use) = 0;
  // The key has no slot any more. It had one.
  virtual void erase(int32_t key) = 0;
  // Of the keys with a slot the first in the order of leaving for which may_leave(key); -1: none.
  // Changes nothing: a victim leaves with erase().
  virtual int32_t victim(KeyTest may_leave) const = 0;
};

enum class Policy {
  kLru,           // the least recently used leaves first
  kScanLru,       // the same, but a scan promotes nothing and what it brings in leaves first
  kSegmentedLru,  // SLRU, Karedla et al. 1994: who was used twice is protected
  kTwoQueues,     // 2Q, Johnson and Shasha 1994: who is asked for again after leaving is kept
  kLfru,          // LRFU, Lee et al. 2001: uses count, each half as much after eight tokens
};
// What the numbers chose: docs/experiments/0003-eviction.md.
inline constexpr Policy kDefaultPolicy = Policy::kLfru;

// `keys`: of the whole model, at least 0. `token_uses`: about how many keys one token uses, of
// those that this order holds (layers times experts of a layer), at least 1; only kLfru needs it,
// as its clock.
std::unique_ptr<Eviction> make_eviction(Policy policy, int32_t keys, int32_t token_uses);

std::span<const Policy> all_policies();
std::string_view name_of(Policy policy);
std::optional<Policy> policy_named(std::string_view name);

}  // namespace sluice::residency
