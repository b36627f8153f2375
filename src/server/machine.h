// SPDX-License-Identifier: Apache-2.0
// Tells who watches what the machine does: where every expert is and which are used, memory, rates,
// and what the last token's time went to. Looks at the engine while somebody watches, and four
// times a second at most, however many do.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "server/api.h"
#include "server/machine_feed.h"

namespace sluice::server {

class Machine {
 public:
  // More are refused: each gets some 10 KB per event.
  static constexpr size_t kMostWatchers = 32;

  // Both must outlive it; `name` is the model's.
  Machine(const engine::Engine& engine, const engine::Scheduler& scheduler,
          const std::string& name);
  // As stop().
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // What stays: {"model", "layers", "experts", "used", "budgets", "expert_bytes", "backend"}.
  const Json& description() const { return description_; }
  // Begins a stream of events that ends when its client goes, or with stop(). kBusy when too many
  // watch already.
  Status watch(const std::shared_ptr<Exchange>& exchange);
  // Ends all streams.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Watcher {
    std::shared_ptr<Exchange> exchange;
    bool informed = false;  // has been told every expert's tier lately
  };
  // What callbacks of clients that go may still use when this is gone.
  struct Watchers {
    std::mutex mutex;
    std::condition_variable changed;
    std::list<Watcher> list;
    bool stop = false;
  };
  void work();

  const engine::Engine& engine_;
  const engine::Scheduler& scheduler_;
  Json description_;
  std::shared_ptr<Watchers> watchers_ = std::make_shared<Watchers>();
  std::thread thread_;
};

}  // namespace sluice::server
