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
  kLru,  // the least recently used leaves first
};

// `keys`: of the whole model, at least 0.
std::unique_ptr<Eviction> make_eviction(Policy policy, int32_t keys);

std::string_view name_of(Policy policy);
std::optional<Policy> policy_named(std::string_view name);

}  // namespace sluice::residency
