// SPDX-License-Identifier: Apache-2.0
// Memory that runs out at any allocation: an error or fewer experts in memory, never an abort, and
// afterwards everything works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "engine/draft_policy.h"
#include "engine/generate.h"
#include "engine/scheduler.h"
#include "failing_allocations.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::TestModel;

struct Fixed {
  Fixed() { greedy.temperature = 0; }
  SamplingParams greedy;
  const std::vector<int32_t> prompt = test::bytes_as_tokens("What runs out of memory?");
};

class NoMemoryTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const TestModel model =
        std::string_view(GetParam()) == "hybrid" ? test::drafting_model() : test::tiny_model();
    options_.model_path = model.write(folder_.path(), "model", 1);
    options_.threads = 2;
    options_.context = 128;
    options_.drafts = true;
    auto first = load_and_run();
    ASSERT_TRUE(first) << first.error().message;
    right_ = *first;
  }

  static Result<std::string> answer(Engine& engine) {
    SLUICE_ASSIGN(Session session, Session::create(engine));
    session.keep_checkpoints({4, uint64_t{1} << 20, 16});
    return answer(engine, session);
  }
  static Result<std::string> answer(Engine& engine, Session& session) {
    // Nothing here allocates but what is tested.
    static const Fixed fixed;
    SLUICE_ASSIGN(Sampler sampler, engine.make_sampler(fixed.greedy));
    static DraftPolicy drafts(3);
    GenerateOptions generate_options;
    generate_options.max_tokens = 8;
    if (engine.model().can_draft()) generate_options.drafts = &drafts;
    SLUICE_ASSIGN(GenerateResult result,
                  generate(session, sampler, fixed.prompt, generate_options, {}, nullptr));
    return std::move(result.text);
  }
  Result<std::string> load_and_run() {
    SLUICE_ASSIGN(const std::unique_ptr<Engine> engine, Engine::load(options_));
    return answer(*engine);
  }
  static void expect_told(const Error& error) {
    EXPECT_THAT(error.message, testing::HasSubstr("no memory"));
  }

  // Calls body(k) with the k-th allocation from now failing, until there are fewer: all of the
  // first `dense`, then one in `stride`.
  template <typename Body>
  static int64_t each(std::atomic<int64_t>& left, int64_t dense, int64_t stride, const Body& body) {
    int64_t k = 0;
    for (;; k += k < dense ? 1 : stride) {
      SCOPED_TRACE(k);
      left = k;
      body();
      const bool failed = left.exchange(-1) < 0;
      if (!failed || testing::Test::HasFailure()) return k;
    }
  }

  test::TempFolder folder_;
  EngineOptions options_;
  std::string right_;
};

TEST_P(NoMemoryTest, AMappingThatFails) {
  int errors = 0;
  const int64_t calls = each(test::maps_left, 1 << 20, 1, [&] {
    const auto text = load_and_run();
    if (text) {
      EXPECT_EQ(*text, right_) << "fewer experts in memory, and the same text";
    } else {
      expect_told(text.error());
      ++errors;
    }
  });
  EXPECT_GT(calls, 20);
  EXPECT_GT(errors, 15);
}

TEST_P(NoMemoryTest, AnAllocationThatFailsWhileLoading) {
  const int64_t calls = each(test::news_left, 100, 13, [&] {
    const auto engine = Engine::load(options_);
    if (!engine) expect_told(engine.error());
  });
  EXPECT_GT(calls, 500);
}

// The same engine and session go on afterwards.
TEST_P(NoMemoryTest, AnAllocationThatFailsWhileRunning) {
  auto engine = Engine::load(options_);
  ASSERT_TRUE(engine);
  ASSERT_TRUE((*engine)->model().experts().wait_until_full());
  auto session = Session::create(**engine);
  ASSERT_TRUE(session);
  session->keep_checkpoints({4, uint64_t{1} << 20, 16});
  const int64_t calls = each(test::news_left, 300, 7, [&] {
    session->truncate(0);
    const auto text = answer(**engine, *session);
    const int64_t left = test::news_left.exchange(-1);
    if (!text) {
      expect_told(text.error());
      const auto again = answer(**engine, *session);
      ASSERT_TRUE(again) << again.error().message;
      EXPECT_EQ(*again, right_);
    } else {
      EXPECT_EQ(*text, right_);
    }
    test::news_left = left;
  });
  EXPECT_GT(calls, 3);  // a running session makes few
}

// Experts come and go meanwhile: the threads that read allocate too.
TEST_P(NoMemoryTest, AnAllocationThatFailsWhileExpertsAreRead) {
  options_.ram_bytes = 1;
  const auto refused = Engine::load(options_);
  ASSERT_FALSE(refused);
  auto engine = Engine::load([&] {
    EngineOptions all = options_;
    all.ram_bytes = uint64_t{4} << 30;
    return all;
  }());
  ASSERT_TRUE(engine);
  residency::ExpertCache& experts = (*engine)->model().experts();
  (void)experts.wait_until_full();
  auto session = Session::create(**engine);
  ASSERT_TRUE(session);
  const int64_t calls = each(test::news_left, 100, 11, [&] {
    experts.resize(0);
    session->truncate(0);
    const auto text = answer(**engine, *session);
    const int64_t left = test::news_left.exchange(-1);
    if (text) {
      EXPECT_EQ(*text, right_);
    } else {
      expect_told(text.error());
    }
    const auto again = answer(**engine, *session);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, right_);
    test::news_left = left;
  });
  EXPECT_GT(calls, 3) << "how many there are depends on which thread meets the failure";
}

// What comes of a request, noted without an allocation.
struct Ending {
  std::mutex mutex;
  std::condition_variable change;
  std::string text = std::string(1000, ' ');
  bool over = false, failed = false, told = false;

  Listener listener() {
    text.clear();
    over = failed = told = false;
    return {[this](const Update& update) { text += update.text; },
            [this](const Outcome& outcome) {
              const std::lock_guard lock(mutex);
              failed = outcome.error.has_value();
              told = failed && outcome.error->message.find("no memory") != std::string::npos;
              over = true;
              change.notify_all();
            }};
  }
  bool wait() {
    std::unique_lock lock(mutex);
    return change.wait_for(lock, std::chrono::seconds(20), [this] { return over; });
  }
};

// Every request ends, with its text or an error, and the next ones are answered.
TEST_P(NoMemoryTest, AnAllocationThatFailsWhileServing) {
  auto engine = Engine::load(options_);
  ASSERT_TRUE(engine);
  ASSERT_TRUE((*engine)->model().experts().wait_until_full());
  SchedulerOptions scheduler_options;
  scheduler_options.slots = 2;
  scheduler_options.checkpoints = {4, uint64_t{1} << 20, 16};
  auto scheduler = Scheduler::create(**engine, scheduler_options);
  ASSERT_TRUE(scheduler);
  static const Fixed fixed;
  Request request;
  request.prompt = fixed.prompt;
  request.sampling = fixed.greedy;
  request.max_tokens = 8;
  request.reuse = false;
  Ending endings[2];
  int errors = 0;
  const int64_t calls = each(test::news_left, 200, 7, [&] {
    int64_t left = test::news_left.exchange(-1), after = -1;
    for (int round = 0; round < 2; ++round) {
      Request requests[2] = {request, request};
      Listener listeners[2] = {endings[0].listener(), endings[1].listener()};
      test::news_left = left;  // of the first round one call fails
      bool taken[2];
      for (int n = 0; n < 2; ++n) {
        auto ticket = (*scheduler)->submit(std::move(requests[n]), std::move(listeners[n]));
        taken[n] = ticket.has_value();
        if (!ticket) expect_told(ticket.error());
      }
      for (int n = 0; n < 2; ++n) {
        if (taken[n]) {
          ASSERT_TRUE(endings[n].wait());
        }
      }
      left = test::news_left.exchange(-1);
      for (int n = 0; n < 2; ++n) {
        if (!taken[n] || endings[n].failed) {
          ++errors;
          ASSERT_EQ(round, 0);
          EXPECT_TRUE(!taken[n] || endings[n].told);
        } else {
          EXPECT_EQ(endings[n].text, right_);
        }
      }
      if (round == 0) after = std::exchange(left, -1);
    }
    test::news_left = after;
  });
  EXPECT_GT(calls, 30);
  EXPECT_GT(errors, 20);
}

INSTANTIATE_TEST_SUITE_P(Models, NoMemoryTest, testing::Values("plain", "hybrid"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace sluice::engine
