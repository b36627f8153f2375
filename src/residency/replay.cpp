// SPDX-License-Identifier: Apache-2.0
#include "residency/replay.h"

#include <algorithm>
#include <list>
#include <numeric>
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

}  // namespace

int64_t slots_of(const Trace& trace, double percent) {
  return static_cast<int64_t>(static_cast<double>(trace.experts) * percent / 100.0);
}

HitCount replay_lru(const Trace& trace, int64_t slots, int64_t first_step) {
  std::list<LruLayer> layers;  // holds iterators to itself: must not move
  std::vector<LruLayer*> layer;
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
