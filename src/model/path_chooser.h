// SPDX-License-Identifier: Apache-2.0
// Of two ways to do the same the one that took less time lately. Sizes are sorted by powers of two,
// since what pays depends on them; the other way is tried again now and then.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace sluice::model {

class PathChooser {
 public:
  // Which way, 0 or 1, for a step of this size (at least 1).
  int choose(int64_t size) {
    Bucket& b = bucket(size);
    if (b.steps[0] == 0) return 0;
    if (b.steps[1] == 0) return 1;
    const int best = b.cost[0] <= b.cost[1] ? 0 : 1;
    if (++b.since_other < kRetry) return best;
    b.since_other = 0;
    return 1 - best;
  }
  // A step of this size took so many nanoseconds per unit of work.
  void record(int64_t size, int way, double cost) {
    Bucket& b = bucket(size);
    double& known = b.cost[static_cast<size_t>(way)];
    known = b.steps[static_cast<size_t>(way)]++ == 0 ? cost : known + (cost - known) / 4;
  }

 private:
  static constexpr int64_t kRetry = 64;

  struct Bucket {
    std::array<double, 2> cost{};
    std::array<int64_t, 2> steps{};
    int64_t since_other = 0;
  };
  Bucket& bucket(int64_t size) {
    return buckets_[static_cast<size_t>(std::bit_width(static_cast<uint64_t>(size))) %
                    buckets_.size()];
  }

  std::array<Bucket, 32> buckets_{};
};

}  // namespace sluice::model
