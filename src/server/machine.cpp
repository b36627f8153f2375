// SPDX-License-Identifier: Apache-2.0
#include "server/machine.h"

#include <system_error>

#include "base/log.h"
#include "server/service.h"

namespace sluice::server {
namespace {

constexpr std::chrono::milliseconds kInterval{250};
// Every expert's tier is told again after so many events, in case a client lost one.
constexpr int kRepeat = 20;

Json describe(const engine::Engine& engine, const std::string& name) {
  const model::Config& config = engine.model().config();
  const residency::ExpertTable& table = engine.model().experts().table();
  const compute::Backend& backend = engine.backend();
  const auto& device = engine.device_plan();
  return {
      {"model", name},
      {"layers", table.layers.empty() ? static_cast<size_t>(config.layers) : table.layers.size()},
      {"experts", table.layers.empty() ? 0 : table.layers.front().experts.size()},
      {"used", config.experts_used},
      {"budgets", {{"vram", device ? device->budget : 0}, {"ram", engine.plan().budget}}},
      {"expert_bytes", table.bytes()},
      {"backend",
       device ? backend.describe() + " + " + backend.host().describe() : backend.describe()}};
}

}  // namespace

Machine::Machine(const engine::Engine& engine, const engine::Scheduler& scheduler,
                 const std::string& name)
    : engine_(engine), scheduler_(scheduler), description_(describe(engine, name)) {}

Machine::~Machine() {
  stop();
}

void Machine::stop() {
  {
    const std::lock_guard lock(watchers_->mutex);
    watchers_->stop = true;
  }
  watchers_->changed.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status Machine::watch(const std::shared_ptr<Exchange>& exchange) {
  {
    const std::lock_guard lock(watchers_->mutex);
    if (watchers_->stop) return fail(ErrorKind::kCancelled, "the server is shutting down");
    if (watchers_->list.size() >= kMostWatchers)
      return fail(ErrorKind::kBusy, "{} clients watch already: close one", kMostWatchers);
    if (!thread_.joinable()) try {
        thread_ = std::thread([this] { work(); });
      } catch (const std::system_error& error) {
        return fail(ErrorKind::kTooLarge, "no thread to watch with: {}: raise ulimit -u",
                    error.code().message());
      }
    HttpResponse head;
    head.content_type = "text/event-stream";
    head.headers.emplace_back("Cache-Control", "no-store");
    exchange->begin_stream(std::move(head), ": ping\n\n");
    watchers_->list.push_back({exchange});
  }
  watchers_->changed.notify_all();
  // The exchange keeps the call, so that the call must not keep the exchange.
  exchange->on_gone([watchers = watchers_, raw = exchange.get()] {
    const std::lock_guard lock(watchers->mutex);
    watchers->list.remove_if([&](const Watcher& w) { return w.exchange.get() == raw; });
  });
  return {};
}

void Machine::work() {
  MachineFeed feed(Clock::now());
  Watchers& w = *watchers_;
  Clock::time_point next = Clock::now();
  int until_repeat = 0;
  std::unique_lock lock(w.mutex);
  while (!w.stop) {
    if (w.list.empty()) {
      feed.pause();
      w.changed.wait(lock, [&] { return w.stop || !w.list.empty(); });
    }
    if (w.changed.wait_until(lock, next, [&] { return w.stop; })) break;
    next = Clock::now() + kInterval;
    if (until_repeat-- == 0) {
      until_repeat = kRepeat - 1;
      for (Watcher& watcher : w.list) watcher.informed = false;
    }
    try {
      lock.unlock();
      feed.add(engine::take_sample(engine_, scheduler_));
      lock.lock();
      std::string news, all;
      for (Watcher& watcher : w.list) {
        std::string& text = watcher.informed ? news : all;
        if (text.empty()) text = "data: " + feed.event(!watcher.informed) + "\n\n";
        watcher.exchange->write(text);
        watcher.informed = true;
      }
    } catch (const std::exception& error) {  // no memory: the next event is complete again
      spdlog::error("the machine's state cannot be told: {}", error.what());
      if (!lock.owns_lock()) lock.lock();
      until_repeat = 0;
    }
  }
  for (const Watcher& watcher : w.list) watcher.exchange->end();
  w.list.clear();
}

void machine(const Call& call) {
  call.exchange->respond(to_response(call.service.machine.description()));
}

void machine_stream(const Call& call) {
  if (call.request.method == "HEAD") {
    HttpResponse head;
    head.content_type = "text/event-stream";
    return call.exchange->respond(std::move(head));
  }
  if (const Status begun = call.service.machine.watch(call.exchange); !begun) {
    const ApiError error = to_api(begun.error());
    call.service.metrics.refused(error.status);
    call.exchange->respond(to_response(error));
  }
}

}  // namespace sluice::server
