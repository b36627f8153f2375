// SPDX-License-Identifier: Apache-2.0
// The last entries of a sequence as one contiguous span.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace sluice::engine::sampling {

template <typename T>
class History {
 public:
  explicit History(int last_n) : last_n_(last_n) {  // -1: everything
    constexpr int kAtOnce = 4096;
    if (last_n > 0) entries_.reserve(2 * static_cast<size_t>(std::min(last_n, kAtOnce)) + 1);
  }

  bool full() const { return last_n_ >= 0 && last().size() == static_cast<size_t>(last_n_); }
  std::span<const T> last() const {
    const std::span<const T> all(entries_);
    if (last_n_ < 0 || all.size() <= static_cast<size_t>(last_n_)) return all;
    return all.last(static_cast<size_t>(last_n_));
  }
  void push(const T& entry) {
    // The forgotten half leaves in one move, so that pushing is constant time on average.
    if (last_n_ >= 0 && entries_.size() > 2 * static_cast<size_t>(last_n_)) {
      entries_.erase(entries_.begin(), entries_.end() - last_n_);
    }
    entries_.push_back(entry);
  }
  void clear() { entries_.clear(); }

 private:
  int last_n_;
  std::vector<T> entries_;
};

}  // namespace sluice::engine::sampling
