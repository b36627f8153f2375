// SPDX-License-Identifier: Apache-2.0
// Who fetches which pieces of a file. Thread-safe.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace sluice::hub {

class Pieces {
 public:
  explicit Pieces(const std::vector<bool>& done) : states_(done.size(), kMissing) {
    for (size_t i = 0; i < done.size(); ++i)
      if (done[i]) states_[i] = kHere;
    missing_ = static_cast<uint64_t>(std::count(states_.begin(), states_.end(), kMissing));
  }

  struct Run {
    uint64_t first, count;
  };
  // The first ones that nobody has, in one run of at most `most`; fewer near the end, so that all
  // of `takers` have something to do until then.
  std::optional<Run> take(uint64_t most, int takers) {
    const std::lock_guard lock(mutex_);
    while (next_ < states_.size() && states_[next_] != kMissing) ++next_;
    if (next_ == states_.size()) return std::nullopt;
    const uint64_t fair = missing_ / (2 * static_cast<uint64_t>(takers));
    const uint64_t limit = std::clamp<uint64_t>(fair, 1, most);
    Run run{next_, 0};
    while (next_ < states_.size() && states_[next_] == kMissing && run.count < limit) {
      states_[next_++] = kTaken;
      ++run.count;
    }
    missing_ -= run.count;
    return run;
  }

  void finish(uint64_t piece) {
    const std::lock_guard lock(mutex_);
    states_[piece] = kHere;
    finished_.push_back(piece);
    changed_.notify_all();
  }

  // What has been finished since the last call, ascending.
  std::vector<uint64_t> collect() {
    const std::lock_guard lock(mutex_);
    std::vector<uint64_t> out = std::exchange(finished_, {});
    std::sort(out.begin(), out.end());
    return out;
  }

  // Waits until the piece is here; false when give_up() came first.
  bool wait_for(uint64_t piece) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return given_up_ || states_[piece] == kHere; });
    return states_[piece] == kHere;
  }

  void give_up() {
    const std::lock_guard lock(mutex_);
    given_up_ = true;
    changed_.notify_all();
  }

  bool all_here() const {
    const std::lock_guard lock(mutex_);
    return std::all_of(states_.begin(), states_.end(), [](State s) { return s == kHere; });
  }

 private:
  enum State : uint8_t { kMissing, kTaken, kHere };
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<State> states_;
  std::vector<uint64_t> finished_;
  uint64_t missing_ = 0, next_ = 0;
  bool given_up_ = false;
};

}  // namespace sluice::hub
