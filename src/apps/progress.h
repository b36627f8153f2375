// SPDX-License-Identifier: Apache-2.0
// How a download is going, on standard error.
#pragma once

#include <chrono>
#include <deque>
#include <string>

#include "hub/pull.h"

namespace sluice::apps {

// On a terminal one line that changes, else a line now and then.
class ProgressMeter {
 public:
  explicit ProgressMeter(bool terminal) : terminal_(terminal) {}
  ~ProgressMeter() { finish(); }
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;

  void show(const hub::PullProgress& progress);
  // Leaves the line; the next show() begins another.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point time;
    uint64_t fetched;
  };
  bool terminal_;
  bool open_ = false;
  Clock::time_point shown_{};
  std::deque<Sample> samples_;  // of the last seconds
};

// The line, without the rate where none is known yet; `rate` in bytes per second.
std::string progress_text(const hub::PullProgress& progress, double rate);

}  // namespace sluice::apps
