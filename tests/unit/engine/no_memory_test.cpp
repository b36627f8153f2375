// SPDX-License-Identifier: Apache-2.0
// Memory that runs out at any allocation: an error or fewer experts in memory, never an abort, and
// afterwards everything works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "engine/draft_policy.h"
#include "engine/generate.h"
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
  EXPECT_GT(calls, 10);
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
  EXPECT_GT(calls, 10) << "a warm engine needs few";
}

INSTANTIATE_TEST_SUITE_P(Models, NoMemoryTest, testing::Values("plain", "hybrid"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace sluice::engine
