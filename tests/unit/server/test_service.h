// SPDX-License-Identifier: Apache-2.0
// The routes without HTTP: a request's body goes in, status and body of the answer come out.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "../engine/tiny_model.h"
#include "server/service.h"

namespace sluice::test {

// Remembers what is said to a client.
class RecordedExchange final : public server::Exchange {
 public:
  void respond(server::HttpResponse response) override {
    const std::lock_guard lock(mutex_);
    if (begun_ || over_) return;
    response_ = std::move(response);
    over_ = true;
    change_.notify_all();
  }
  void begin_stream(server::HttpResponse response, std::string) override {
    const std::lock_guard lock(mutex_);
    response_ = std::move(response);
    begun_ = true;
  }
  void write(std::string data) override {
    const std::lock_guard lock(mutex_);
    if (begun_ && !over_) response_.body += data;
  }
  void end() override {
    const std::lock_guard lock(mutex_);
    if (!begun_) return;
    over_ = true;
    change_.notify_all();
  }
  void on_gone(std::function<void()>) override {}

  server::HttpResponse wait() {
    std::unique_lock lock(mutex_);
    if (!change_.wait_for(lock, std::chrono::seconds(20), [this] { return over_; }))
      throw std::runtime_error("the request gets no answer");
    return response_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable change_;
  server::HttpResponse response_;
  bool begun_ = false, over_ = false;
};

class TestService {
 public:
  // `waiting` 0: whatever would be computed is refused with status 429 instead.
  explicit TestService(const TestModel& model, size_t waiting = 64) : engine_(model) {
    engine::SchedulerOptions options;
    options.slots = 2;
    options.waiting = waiting;
    options_.scheduler = options;
    auto scheduler = engine::Scheduler::create(*engine_, options);
    if (!scheduler) throw std::runtime_error(scheduler.error().message);
    scheduler_ = std::move(*scheduler);
    machine_.emplace(*engine_, *scheduler_, "model");
    service_.reset(new server::Service{
        .engine = *engine_,
        .scheduler = *scheduler_,
        .options = options_,
        .metrics = metrics_,
        .machine = *machine_,
        .model = "model",
        .limits = {engine_->model().config().vocabulary, engine_->context(), options.slots},
        .shown = server::shown_tokens(*engine_)});
  }

  server::HttpResponse ask(const std::string& path, std::string body) {
    server::HttpRequest request;
    request.method = "POST";
    request.path = path;
    request.body = std::move(body);
    const auto exchange = std::make_shared<RecordedExchange>();
    for (const server::Route& route : server::routes())
      if (route.method == request.method && server::leads_to(route, path))
        route.handle({*service_, request, exchange, ""});
    return exchange->wait();
  }

 private:
  TinyEngine engine_;
  server::ServerOptions options_;
  server::Metrics metrics_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  std::optional<server::Machine> machine_;
  std::unique_ptr<server::Service> service_;
};

}  // namespace sluice::test
