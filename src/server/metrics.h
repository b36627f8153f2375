// SPDX-License-Identifier: Apache-2.0
// Counters of the server in Prometheus' text format. The set of series is fixed: nothing that a
// client sends becomes a label.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "server/server.h"

namespace sluice::server {

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void add(double value);
  void write(const std::string& name, const std::string& help, std::string& out) const;

 private:
  mutable std::mutex mutex_;
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
};

class Metrics {
 public:
  void record(const engine::RequestFigures& figures);
  void refused(int status);
  std::string text(const engine::Engine& engine, const engine::Scheduler& scheduler,
                   const std::optional<Speeds>& speeds) const;

 private:
  Histogram queue_{{0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60}};
  Histogram first_token_{{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120}};
  Histogram per_token_{{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}};
  Histogram request_{{0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}};
  std::atomic<uint64_t> client_errors_{0}, server_errors_{0};
};

}  // namespace sluice::server
