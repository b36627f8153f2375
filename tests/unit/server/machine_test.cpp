// SPDX-License-Identifier: Apache-2.0
#include "server/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "../engine/tiny_model.h"

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Collects what a client would get.
class Collected final : public Exchange {
 public:
  void respond(HttpResponse) override { FAIL() << "a stream was expected"; }
  void begin_stream(HttpResponse response, std::string) override {
    const std::lock_guard lock(mutex_);
    head_ = std::move(response);
  }
  void write(std::string data) override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(head_.content_type, "text/event-stream") << "the head comes first";
    EXPECT_TRUE(data.starts_with("data: ") && data.ends_with("\n\n")) << data;
    events_.push_back(Json::parse(data.substr(6)));
    times_.push_back(std::chrono::steady_clock::now());
    changed_.notify_all();
  }
  void end() override {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  void on_gone(std::function<void()> call) override { gone_ = std::move(call); }

  void go() { gone_(); }
  bool ended() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return events_.size();
  }
  std::vector<Json> wait_for(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 20s, [&] { return events_.size() >= count; }));
    return events_;
  }
  std::vector<std::chrono::steady_clock::time_point> times() {
    const std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  HttpResponse head_;
  std::vector<Json> events_;
  std::vector<std::chrono::steady_clock::time_point> times_;
  bool ended_ = false;
  std::function<void()> gone_;
};

class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    auto scheduler = engine::Scheduler::create(*engine_, {});
    EXPECT_TRUE(scheduler);
    scheduler_ = std::move(*scheduler);
    EXPECT_TRUE(engine_->wait_until_loaded());
  }
  void generate() {
    std::promise<void> ended;
    engine::Request request;
    request.prompt = test::bytes_as_tokens("T");
    request.sampling.temperature = 0;
    const auto ticket = scheduler_->submit(
        std::move(request),
        {[](const engine::Update&) {}, [&](const engine::Outcome&) { ended.set_value(); }});
    ASSERT_TRUE(ticket);
    ASSERT_EQ(ended.get_future().wait_for(60s), std::future_status::ready);
  }

  test::TinyEngine engine_{test::scripted_model("The quickly~")};
  std::unique_ptr<engine::Scheduler> scheduler_;
};

TEST_F(MachineTest, DescribesTheModel) {
  Machine machine(*engine_, *scheduler_, "name");
  const Json& d = machine.description();
  EXPECT_EQ(d["model"], "name");
  const residency::ExpertCache& cache = engine_->model().experts();
  EXPECT_EQ(d["layers"].get<int64_t>() * d["experts"].get<int64_t>(), cache.experts());
  EXPECT_EQ(d["used"], engine_->model().config().experts_used);
  EXPECT_EQ(d["expert_bytes"], cache.expert_bytes());
  EXPECT_EQ(d["budgets"]["vram"], 0);
  EXPECT_EQ(d["budgets"]["ram"], engine_->plan().budget);
  EXPECT_EQ(d["backend"], engine_->backend().describe());
}

TEST_F(MachineTest, TellsWhatIsUsedWhileItGenerates) {
  Machine machine(*engine_, *scheduler_, "name");
  const auto client = std::make_shared<Collected>();
  ASSERT_TRUE(machine.watch(client));
  const Json first = client->wait_for(1)[0];
  const auto experts = static_cast<size_t>(engine_->model().experts().experts());
  EXPECT_EQ(first["tiers"], std::string(experts, '1')) << "all are in memory";
  EXPECT_TRUE(first["lit"].empty());
  EXPECT_FALSE(first.contains("token"));
  generate();
  size_t lit = 0;
  for (const Json& event : client->wait_for(client->count() + 2)) lit += event["lit"].size();
  EXPECT_GT(lit, 0u);
  const Json last = client->wait_for(1).back();
  EXPECT_EQ(last["hits"]["ram"], 1.0);
  EXPECT_GT(last["token"]["cpu_ms"], 0.0);
  EXPECT_GT(last["token"]["attention_ms"], 0.0);
  EXPECT_EQ(last["token"]["waiting_ms"], 0.0);
  EXPECT_GT(last["tokens_per_second"], 0.0);
  EXPECT_GT(last["memory"]["ram"], 1 << 20);
}

TEST_F(MachineTest, LooksFourTimesASecondForAllTogether) {
  Machine machine(*engine_, *scheduler_, "name");
  const auto one = std::make_shared<Collected>();
  ASSERT_TRUE(machine.watch(one));
  one->wait_for(2);
  const auto two = std::make_shared<Collected>();
  ASSERT_TRUE(machine.watch(two));
  two->wait_for(4);
  const auto times = one->times();
  for (size_t n = 1; n < times.size(); ++n) EXPECT_GE(times[n] - times[n - 1], 200ms);
  const auto mine = two->wait_for(4);
  EXPECT_TRUE(mine[0].contains("tiers")) << "who comes later is told everything too";
  EXPECT_FALSE(mine[1].contains("tiers"));
  const auto theirs = one->wait_for(1);
  EXPECT_TRUE(std::ranges::any_of(theirs, [&](const Json& e) { return e["t"] == mine[1]["t"]; }))
      << "one look serves both";
}

TEST_F(MachineTest, WhoGoesGetsNothingMore) {
  Machine machine(*engine_, *scheduler_, "name");
  const auto client = std::make_shared<Collected>();
  ASSERT_TRUE(machine.watch(client));
  client->wait_for(1);
  client->go();
  const size_t count = client->count();
  std::this_thread::sleep_for(600ms);
  EXPECT_EQ(client->count(), count);
  EXPECT_EQ(client.use_count(), 1) << "it is forgotten";
  const auto later = std::make_shared<Collected>();
  ASSERT_TRUE(machine.watch(later));
  EXPECT_TRUE(later->wait_for(1)[0].contains("tiers")) << "after a pause it goes on";
}

TEST_F(MachineTest, RefusesTooMany) {
  Machine machine(*engine_, *scheduler_, "name");
  std::vector<std::shared_ptr<Collected>> clients;
  for (size_t n = 0; n < Machine::kMostWatchers; ++n)
    ASSERT_TRUE(machine.watch(clients.emplace_back(std::make_shared<Collected>())));
  const Status refused = machine.watch(std::make_shared<Collected>());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kBusy);
  clients.front()->go();
  EXPECT_TRUE(machine.watch(std::make_shared<Collected>()));
}

TEST_F(MachineTest, EndsAllStreams) {
  const auto client = std::make_shared<Collected>();
  {
    Machine machine(*engine_, *scheduler_, "name");
    ASSERT_TRUE(machine.watch(client));
    client->wait_for(1);
    machine.stop();
    EXPECT_TRUE(client->ended());
    const Status refused = machine.watch(std::make_shared<Collected>());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kCancelled);
  }
  client->go();  // after the machine itself
}

}  // namespace
}  // namespace sluice::server
