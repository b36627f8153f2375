// SPDX-License-Identifier: Apache-2.0
// A server compares the requests that ran alone with what a plan would have said of them, on a
// thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "apps/learning.h"
#include "server/server.h"

namespace sluice::apps {

class ServedLearning {
 public:
  // nullptr where this machine was never measured. `engine` must outlive it.
  static std::unique_ptr<ServedLearning> of(const engine::Engine& engine);
  // As finish().
  ~ServedLearning();
  ServedLearning(const ServedLearning&) = delete;
  ServedLearning& operator=(const ServedLearning&) = delete;

  // For the scheduler's thread: hands over what may be worth comparing.
  void ended(const engine::Outcome& outcome);
  // Of the last comparison; before the first, what is predicted of an empty context.
  server::Speeds speeds() const;
  // Remembers what was learned. No request may end any more.
  void finish();

 private:
  struct Request {
    engine::RequestFigures figures;
    bool warm = false;  // it found a cache that was full
  };
  ServedLearning(const engine::Engine& engine, Learning learning, const UsualSpeeds& usual);
  void work();
  void compare(const Request& request);

  const engine::Engine& engine_;
  Learning learning_;  // the thread's
  bool warm_ = false;  // the scheduler's thread's

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Request> requests_;
  server::Speeds speeds_;
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace sluice::apps
