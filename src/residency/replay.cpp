// SPDX-License-Identifier: Apache-2.0
#include "residency/replay.h"

#include <algorithm>
#include <list>
#include <memory>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "base/check.h"

namespace sluice::residency {
namespace {

class LruLayer {
 public:
  LruLayer(int64_t slots, int32_t experts)
      : slots_(static_cast<size_t>(slots)), place_(static_cast<size_t>(experts), order_.end()) {}

  // True when the expert was there; it is afterwards.
  bool use(int32_t expert) {
    auto& place = place_[static_cast<size_t>(expert)];
    if (place != order_.end()) {
      order_.splice(order_.begin(), order_, place);
      return true;
    }
    if (slots_ == 0) return false;
    if (order_.size() == slots_) {
      place_[static_cast<size_t>(order_.back())] = order_.end();
      order_.pop_back();
    }
    order_.push_front(expert);
    place = order_.begin();
    return false;
  }

 private:
  size_t slots_;
  std::list<int32_t> order_;  // last used first
  std::vector<std::list<int32_t>::iterator> place_;
};

int32_t key_of(const Trace& trace, const ExpertRequest& request, size_t i) {
  return request.layer * trace.experts + request.experts[i];
}

size_t pool_of(const Pools& pools, int32_t layer) {
  const int32_t pool = pools.pool_of_layer[static_cast<size_t>(layer)];
  SLUICE_CHECK(pool >= 0, "a layer that is asked for experts has some");
  return static_cast<size_t>(pool);
}

// How many experts of each pool a step of tokens asks for, in the mean.
std::vector<int32_t> token_uses(const Trace& trace, const Pools& pools) {
  struct Sum {
    int64_t experts = 0;
    int64_t steps = 0;
    int64_t last_step = -1;
  };
  std::vector<Sum> sums(pools.pools.size());
  for (const ExpertRequest& request : trace.requests) {
    if (request.use != Use::kToken) continue;
    Sum& sum = sums[pool_of(pools, request.layer)];
    sum.experts += static_cast<int64_t>(request.experts.size());
    if (request.step != sum.last_step) ++sum.steps;
    sum.last_step = request.step;
  }
  std::vector<int32_t> uses;
  uses.reserve(sums.size());
  for (const Sum& sum : sums)
    uses.push_back(
        static_cast<int32_t>(std::max<int64_t>(1, sum.steps == 0 ? 0 : sum.experts / sum.steps)));
  return uses;
}

// Who leaves, one order for each pool.
class PolicyOrders {
 public:
  PolicyOrders(const Trace& trace, const Pools& pools, Policy policy, int32_t keys) {
    for (const int32_t uses : token_uses(trace, pools))
      orders_.push_back(make_eviction(policy, keys, uses));
  }

  void begin_request(size_t) {}
  void insert(size_t pool, int32_t key, Use use, size_t) { orders_[pool]->insert(key, use); }
  void touch(size_t pool, int32_t key, Use use, size_t) { orders_[pool]->touch(key, use); }
  void erase(size_t pool, int32_t key) { orders_[pool]->erase(key); }
  int32_t victim(size_t pool, KeyTest may_leave) const { return orders_[pool]->victim(may_leave); }

 private:
  std::vector<std::unique_ptr<Eviction>> orders_;
};

// The same with knowledge of the whole trace.
class OptimumOrders {
 public:
  OptimumOrders(const Trace& trace, const Pools& pools, int32_t keys)
      : waiting_(pools.pools.size()), due_(static_cast<size_t>(keys)) {
    std::vector<size_t> next(static_cast<size_t>(keys), trace.requests.size());
    next_.resize(trace.requests.size());
    for (size_t r = trace.requests.size(); r-- > 0;) {
      const ExpertRequest& request = trace.requests[r];
      next_[r].resize(request.experts.size());
      for (size_t i = 0; i < request.experts.size(); ++i) {
        size_t& of_key = next[static_cast<size_t>(key_of(trace, request, i))];
        next_[r][i] = of_key;
        of_key = r;
      }
    }
  }

  void begin_request(size_t request) { request_ = request; }
  void insert(size_t pool, int32_t key, Use, size_t i) {
    due_[static_cast<size_t>(key)] = next_[request_][i];
    waiting_[pool].emplace(next_[request_][i], key);
  }
  void touch(size_t pool, int32_t key, Use use, size_t i) {
    erase(pool, key);
    insert(pool, key, use, i);
  }
  void erase(size_t pool, int32_t key) {
    waiting_[pool].erase({due_[static_cast<size_t>(key)], key});
  }
  int32_t victim(size_t pool, KeyTest may_leave) const {
    for (auto at = waiting_[pool].rbegin(); at != waiting_[pool].rend(); ++at)
      if (may_leave(at->second)) return at->second;
    return -1;
  }

 private:
  std::vector<std::set<std::pair<size_t, int32_t>>> waiting_;  // (request, key), for each pool
  std::vector<size_t> due_;                                    // the request that needs the key
  std::vector<std::vector<size_t>> next_;                      // of each expert of each request
  size_t request_ = 0;
};

template <typename Orders>
ReplayCount replay_with(const Trace& trace, const Pools& pools, Orders orders, int64_t first_step) {
  const auto keys = static_cast<size_t>(trace.layers) * static_cast<size_t>(trace.experts);
  std::vector<bool> present(keys);
  std::vector<uint64_t> held_in(keys);  // the round that holds the key
  std::vector<int64_t> free;
  for (const Pool& pool : pools.pools) free.push_back(pool.slots);
  uint64_t round = 0;
  std::vector<size_t> missing;
  ReplayCount count;
  for (size_t r = 0; r < trace.requests.size(); ++r) {
    const ExpertRequest& request = trace.requests[r];
    const auto layer = static_cast<size_t>(request.layer);
    const size_t pool = pool_of(pools, request.layer);
    orders.begin_request(r);
    ++round;
    missing.clear();
    for (size_t i = 0; i < request.experts.size(); ++i) {
      const int32_t key = key_of(trace, request, i);
      if (!present[static_cast<size_t>(key)]) {
        missing.push_back(i);
        continue;
      }
      held_in[static_cast<size_t>(key)] = round;
      orders.touch(pool, key, request.use_of(i), i);
    }
    if (request.step >= first_step) {
      HitCount& of_use = request.use == Use::kToken ? count.token : count.scan;
      of_use.requests += request.experts.size();
      of_use.hits += request.experts.size() - missing.size();
      count.bytes_read += missing.size() * pools.expert_bytes[layer];
    }
    if (pools.pools[pool].slots == 0) continue;
    const auto may_leave = [&](int32_t other) {
      return held_in[static_cast<size_t>(other)] != round;
    };
    for (const size_t i : missing) {
      const int32_t key = key_of(trace, request, i);
      if (free[pool] > 0) {
        --free[pool];
      } else {
        int32_t leaving = orders.victim(pool, may_leave);
        if (leaving < 0) {
          ++round;
          leaving = orders.victim(pool, may_leave);
        }
        orders.erase(pool, leaving);
        present[static_cast<size_t>(leaving)] = false;
      }
      present[static_cast<size_t>(key)] = true;
      held_in[static_cast<size_t>(key)] = round;
      orders.insert(pool, key, request.use_of(i), i);
    }
  }
  return count;
}

}  // namespace

int64_t Pools::slots() const {
  int64_t sum = 0;
  for (const Pool& pool : pools) sum += pool.slots;
  return sum;
}

Pools one_pool(int32_t layers, int64_t slots) {
  const auto count = static_cast<size_t>(layers);
  return {{{0, slots}}, std::vector<int32_t>(count), std::vector<uint64_t>(count)};
}

Pools pools_by_size(std::span<const uint64_t> expert_bytes, int32_t experts, uint64_t bytes) {
  Pools result;
  uint64_t total = 0;
  for (const uint64_t size : expert_bytes) {
    if (size == 0) {
      result.pool_of_layer.push_back(-1);
      continue;
    }
    auto pool = std::find_if(result.pools.begin(), result.pools.end(),
                             [size](const Pool& p) { return p.slot_bytes == size; });
    if (pool == result.pools.end()) pool = result.pools.insert(pool, {size, 0});
    pool->slots += experts;  // wanted, until the share is known
    total += size * static_cast<uint64_t>(experts);
    result.pool_of_layer.push_back(static_cast<int32_t>(pool - result.pools.begin()));
  }
  result.expert_bytes.assign(expert_bytes.begin(), expert_bytes.end());
  if (bytes >= total) return result;
  // All pools get the same share of what they want.
  const double share = static_cast<double>(bytes) / static_cast<double>(total);
  for (Pool& pool : result.pools)
    pool.slots = static_cast<int64_t>(share * static_cast<double>(pool.slots));
  return result;
}

Pools pool_of_largest(std::span<const uint64_t> expert_bytes, uint64_t bytes) {
  const uint64_t largest =
      expert_bytes.empty() ? 0 : *std::max_element(expert_bytes.begin(), expert_bytes.end());
  Pools result = one_pool(static_cast<int32_t>(expert_bytes.size()), 0);
  result.pools[0] = {largest, largest == 0 ? 0 : static_cast<int64_t>(bytes / largest)};
  result.expert_bytes.assign(expert_bytes.begin(), expert_bytes.end());
  return result;
}

ReplayCount replay(const Trace& trace, const Pools& pools, Policy policy, int64_t first_step) {
  return replay_with(trace, pools, PolicyOrders(trace, pools, policy, trace.layers * trace.experts),
                     first_step);
}

ReplayCount replay_optimum(const Trace& trace, const Pools& pools, int64_t first_step) {
  return replay_with(trace, pools, OptimumOrders(trace, pools, trace.layers * trace.experts),
                     first_step);
}

int64_t slots_of(const Trace& trace, double percent) {
  return static_cast<int64_t>(static_cast<double>(trace.experts) * percent / 100.0);
}

HitCount replay_lru(const Trace& trace, int64_t slots, int64_t first_step) {
  std::list<LruLayer> layers;  // holds iterators to itself: must not move
  std::vector<LruLayer*> layer;
  layer.reserve(static_cast<size_t>(trace.layers));
  for (int32_t n = 0; n < trace.layers; ++n)
    layer.push_back(&layers.emplace_back(slots, trace.experts));
  HitCount count;
  for (const ExpertRequest& request : trace.requests)
    for (const int32_t expert : request.experts) {
      const bool hit = layer[static_cast<size_t>(request.layer)]->use(expert);
      if (request.step < first_step) continue;
      ++count.requests;
      count.hits += hit ? 1 : 0;
    }
  return count;
}

HitCount replay_static(const Trace& chosen_on, const Trace& trace, int64_t slots,
                       int64_t first_step) {
  SLUICE_CHECK(chosen_on.layers == trace.layers && chosen_on.experts == trace.experts,
               "both traces are of the same model");
  const auto experts = static_cast<size_t>(trace.experts);
  const auto layers = static_cast<size_t>(trace.layers);
  std::vector<uint64_t> uses(layers * experts);
  for (const ExpertRequest& request : chosen_on.requests) {
    if (request.step < first_step) continue;
    for (const int32_t expert : request.experts)
      ++uses[static_cast<size_t>(request.layer) * experts + static_cast<size_t>(expert)];
  }
  std::vector<bool> held(layers * experts);
  std::vector<size_t> order(experts);
  for (size_t n = 0; n < layers; ++n) {
    const uint64_t* of_layer = uses.data() + n * experts;
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [of_layer](size_t a, size_t b) { return of_layer[a] > of_layer[b]; });
    for (size_t i = 0; i < std::min(experts, static_cast<size_t>(slots)); ++i)
      held[n * experts + order[i]] = true;
  }
  HitCount count;
  for (const ExpertRequest& request : trace.requests) {
    if (request.step < first_step) continue;
    for (const int32_t expert : request.experts) {
      ++count.requests;
      count.hits +=
          held[static_cast<size_t>(request.layer) * experts + static_cast<size_t>(expert)] ? 1 : 0;
    }
  }
  return count;
}

}  // namespace sluice::residency
