// SPDX-License-Identifier: Apache-2.0
// Samples of the running machine become events of GET /machine/stream: what changed since the last
// one, and rates over the last seconds. docs/web.md has the format.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/machine_sample.h"

namespace sluice::server {

class MachineFeed {
 public:
  explicit MachineFeed(std::chrono::steady_clock::time_point start) : start_(start) {}

  void add(engine::MachineSample sample);
  // Nobody looks for a while: the next sample is compared with nothing.
  void pause();
  // {"t": ..., ...} of the last sample; `all_tiers`: every expert's, beside the changes.
  std::string event(bool all_tiers) const;

 private:
  struct Counts {  // all of them grow
    std::chrono::steady_clock::time_point at;
    uint64_t tokens = 0;
    uint64_t disk_bytes = 0, link_bytes = 0;
    uint64_t requests = 0, memory_hits = 0, device_hits = 0;  // of experts
  };
  double rate(uint64_t Counts::*count) const;
  double token_rate() const;

  const std::chrono::steady_clock::time_point start_;
  engine::MachineSample last_;
  bool any_ = false;
  std::deque<Counts> counts_;  // of the last seconds, oldest first
  std::vector<std::pair<size_t, residency::Tier>> changes_;
  std::vector<size_t> lit_;
  std::optional<std::pair<double, double>> hits_;  // shares of device and memory when last used
};

}  // namespace sluice::server
