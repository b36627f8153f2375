// SPDX-License-Identifier: Apache-2.0
// What a server tells of its machine (GET /machine and /machine/stream, docs/web.md), added up. The
// server is not trusted: nothing in it is out of range, and its texts hold no control characters.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::apps {

inline constexpr int kSsd = 0, kRam = 1, kVram = 2, kTiers = 3;

struct MachineState {
  // What stays.
  std::string model, backend;
  int64_t layers = 0;
  int64_t experts = 0;  // of each layer; 0: a dense model
  int64_t used = 0;
  std::array<double, kTiers> budget{};  // bytes
  double expert_bytes = 0;

  // As of the last event.
  std::vector<uint8_t> tiers;            // layer after layer
  std::vector<uint8_t> heat;             // kHottest: used since the event before; halves with each
  std::array<int64_t, kTiers> counts{};  // experts
  std::array<double, kTiers> memory{};   // bytes in use
  std::array<std::optional<double>, kTiers> hits;  // shares of the experts used
  double disk_rate = 0, link_rate = 0, tokens_per_second = 0;
  std::optional<double> attention_ms, cpu_ms, gpu_ms, waiting_ms;  // of the last token
  std::deque<double> speeds, disk_rates;                           // of the last kHistory events

  static constexpr uint8_t kHottest = 8;
  static constexpr size_t kHistory = 240;

  int64_t cells() const { return layers * experts; }
};

// kBadFile when it is not what a server would say.
Result<MachineState> read_machine(const std::string& json);
Status apply_event(const std::string& json, MachineState& state);

// Puts a stream's lines together: returns an event's data once its end has come.
class EventLines {
 public:
  // Appends to `events` those that `bytes` complete. kBadFile when one becomes too large.
  Status add(std::string_view bytes, std::vector<std::string>& events);

 private:
  std::string line_, data_;
};

}  // namespace sluice::apps
