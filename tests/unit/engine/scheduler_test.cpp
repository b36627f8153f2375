// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <limits>
#include <random>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

using test::bytes_as_tokens;
using test::TestModel;
using test::TinyEngine;

using Tokens = std::vector<text::Token>;

// What came of one request.
struct Got {
  std::string text;
  std::vector<TokenReport> tokens;
  Outcome outcome;
};

// Collects a request's updates; get() waits for the end.
class Collector {
 public:
  Listener listener(std::function<void(const Update&)> also = nullptr) {
    return {[this, also](const Update& update) {
              got_.text += update.text;
              got_.tokens.insert(got_.tokens.end(), update.tokens.begin(), update.tokens.end());
              if (also) also(update);
            },
            [this](const Outcome& outcome) {
              got_.outcome = outcome;
              ended_.set_value();
            }};
  }
  const Got& get() {
    if (ended_.get_future().wait_for(std::chrono::seconds(60)) != std::future_status::ready)
      throw std::runtime_error("the request does not end");
    return got_;
  }

 private:
  Got got_;
  std::promise<void> ended_;
};

std::unique_ptr<Scheduler> make(Engine& engine, SchedulerOptions options) {
  auto scheduler = Scheduler::create(engine, options);
  if (!scheduler) throw std::runtime_error(scheduler.error().message);
  return std::move(*scheduler);
}

SchedulerOptions with_slots(int slots) {
  SchedulerOptions options;
  options.slots = slots;
  options.checkpoints = {16, uint64_t{1} << 30, 16};
  return options;
}

Tokens random_tokens(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (text::Token& token : tokens) token = static_cast<text::Token>(random() % 256);
  return tokens;
}

Request greedy(Tokens prompt, int64_t most) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = most;
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.chances = 3;
  return request;
}

std::shared_ptr<Ticket> submit(Scheduler& scheduler, Request request, Collector& collector) {
  auto ticket = scheduler.submit(std::move(request), collector.listener());
  if (!ticket) throw std::runtime_error(ticket.error().message);
  return *ticket;
}

Got run(Scheduler& scheduler, Request request) {
  Collector collector;
  submit(scheduler, std::move(request), collector);
  return collector.get();
}

void expect_same(const Got& a, const Got& b) {
  EXPECT_EQ(a.text, b.text);
  ASSERT_EQ(a.tokens.size(), b.tokens.size());
  for (size_t i = 0; i < a.tokens.size(); ++i) {
    EXPECT_EQ(a.tokens[i].chosen.token, b.tokens[i].chosen.token);
    // Bits: what else is in the batch must not matter.
    EXPECT_EQ(a.tokens[i].chosen.log_probability, b.tokens[i].chosen.log_probability);
    ASSERT_EQ(a.tokens[i].best.size(), b.tokens[i].best.size());
    for (size_t k = 0; k < a.tokens[i].best.size(); ++k)
      EXPECT_EQ(a.tokens[i].best[k].log_probability, b.tokens[i].best[k].log_probability);
  }
}

class SchedulerTest : public testing::TestWithParam<bool> {
 protected:
  static EngineOptions options() {
    EngineOptions options;
    options.ubatch = 16;
    return options;
  }
  TinyEngine engine_{GetParam() ? test::drafting_model() : test::tiny_model(), options()};
};

TEST_P(SchedulerTest, ASavedSlotGoesOnInAnotherScheduler) {
  const Tokens prompt = random_tokens(50, 1);
  std::optional<Session::Saved> saved;
  Got first;
  {
    const auto scheduler = make(*engine_, with_slots(2));
    Request request = greedy(prompt, 10);
    request.owner = "ann";
    first = run(*scheduler, std::move(request));
    EXPECT_EQ(scheduler->save_slot(2, "ann").error().kind, ErrorKind::kUsage);
    EXPECT_EQ(scheduler->save_slot(-1, "ann").error().kind, ErrorKind::kUsage);
    EXPECT_EQ(scheduler->save_slot(0, "bob").error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(scheduler->erase_slot(0, "bob").error().kind, ErrorKind::kNotFound);
    auto got = scheduler->save_slot(0, "ann");
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->tokens.size(), 59u);  // the last one has not been read
    EXPECT_EQ(
        scheduler
            ->load_slot(0, "bob", {got->tokens, *model::Snapshot::parse(got->memory.data()), {}})
            .error()
            .kind,
        ErrorKind::kNotFound);
    saved = std::move(*got);
    EXPECT_EQ(scheduler->erase_slot(0, "ann"), 59);
    EXPECT_EQ(scheduler->status()[0].held_tokens, 0);
    scheduler->stop();
    EXPECT_EQ(scheduler->save_slot(0, "ann").error().kind, ErrorKind::kCancelled);
  }
  const auto scheduler = make(*engine_, with_slots(2));
  const Status loaded = scheduler->load_slot(1, "ann", std::move(*saved));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(scheduler->status()[1].held_tokens, 59);
  Request same = greedy(prompt, 10);
  same.owner = "bob";
  EXPECT_EQ(run(*scheduler, same).outcome.figures.reused_tokens, 0);
  same.owner = "ann";
  const Got again = run(*scheduler, same);
  // A hybrid model goes on from its last checkpoint, at the end of a pass of 16.
  EXPECT_GE(again.outcome.figures.reused_tokens, GetParam() ? 48 : 49);
  expect_same(first, again);
}

TEST_P(SchedulerTest, ASlotWithARequestIsBusy) {
  const auto scheduler = make(*engine_, with_slots(1));
  std::promise<void> begun;
  std::atomic<bool> told{false};
  Collector collector;
  Request request = greedy(random_tokens(5, 1), -1);
  auto ticket = scheduler->submit(std::move(request), collector.listener([&](const Update&) {
    if (!told.exchange(true)) begun.set_value();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }));
  ASSERT_TRUE(ticket);
  begun.get_future().wait();
  const auto saved = scheduler->save_slot(0, "");
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().kind, ErrorKind::kBusy);
  (*ticket)->cancel();
  collector.get();
  EXPECT_TRUE(scheduler->save_slot(0, ""));
}

TEST_P(SchedulerTest, ABatchGivesWhatSinglesGive) {
  std::vector<Request> requests;
  for (uint32_t n = 0; n < 9; ++n) {
    Request request = greedy(random_tokens(1 + 11 * n, n), 20);
    request.reuse = n % 2;
    if (n >= 6) {
      request.sampling.temperature = 1.0f;
      request.sampling.seed = n;
    }
    requests.push_back(std::move(request));
  }
  std::vector<Got> alone;
  {
    const auto scheduler = make(*engine_, with_slots(1));
    for (const Request& request : requests) alone.push_back(run(*scheduler, request));
  }
  const auto scheduler = make(*engine_, with_slots(4));
  std::vector<Collector> together(requests.size());
  for (size_t n = 0; n < requests.size(); ++n) submit(*scheduler, requests[n], together[n]);
  for (size_t n = 0; n < requests.size(); ++n) {
    SCOPED_TRACE(n);
    const Got& got = together[n].get();
    EXPECT_EQ(got.outcome.figures.generated_tokens, 20);
    EXPECT_TRUE(alone[n].outcome.figures.alone);
    expect_same(got, alone[n]);
  }
  // They did share forward passes.
  const SchedulerStatistics statistics = scheduler->statistics();
  EXPECT_GT(statistics.slots_in_steps, 2 * statistics.steps);
}

TEST_P(SchedulerTest, AnswersFollowTheirConstraints) {
  const auto vocabulary = engine_->grammar_vocabulary();
  // Of even numbers: held to a grammar.
  const auto request_of = [&](uint32_t n, const char* grammar = "root ::= [a-f]{5,9} \"!\"") {
    Request request = greedy(random_tokens(5 + n, n), 40);
    request.sampling.temperature = 1.0f;
    request.sampling.seed = n;
    if (n % 2 == 1) return request;
    auto made = Constraint::from_gbnf(vocabulary, grammar);
    if (!made) throw std::runtime_error(made.error().message);
    request.constraint = std::make_shared<Constraint>(std::move(*made));
    return request;
  };
  std::vector<Got> alone;
  {
    const auto scheduler = make(*engine_, with_slots(1));
    for (uint32_t n = 0; n < 6; ++n) alone.push_back(run(*scheduler, request_of(n)));
  }
  const auto scheduler = make(*engine_, with_slots(3));
  std::vector<Collector> together(6);
  for (uint32_t n = 0; n < 6; ++n) submit(*scheduler, request_of(n), together[n]);
  for (uint32_t n = 0; n < 6; ++n) {
    SCOPED_TRACE(n);
    const Got& got = together[n].get();
    EXPECT_FALSE(got.outcome.error);
    expect_same(got, alone[n]);
    if (n % 2 == 1) {
      EXPECT_EQ(got.outcome.figures.generated_tokens, 40);
      continue;
    }
    // It ends with the grammar, although the end itself is never sampled here.
    EXPECT_EQ(got.outcome.reason, FinishReason::kEndOfGeneration);
    EXPECT_THAT(got.text, testing::MatchesRegex("[a-f]+!"));
    EXPECT_TRUE(got.text.size() >= 6 && got.text.size() <= 10) << got.text;
  }
  // A sampler that may not choose what the grammar needs fails alone.
  Request request = request_of(6, "root ::= \"!\"");
  request.sampling.logit_bias.emplace_back('!', -std::numeric_limits<float>::infinity());
  const Got wrong = run(*scheduler, std::move(request));
  ASSERT_TRUE(wrong.outcome.error);
  EXPECT_EQ(wrong.outcome.error->kind, ErrorKind::kUsage);
  EXPECT_FALSE(run(*scheduler, request_of(8)).outcome.error);
}

TEST_P(SchedulerTest, TheTextIsThatOfASession) {
  const Tokens prompt = random_tokens(40, 3);
  Session session = engine_.session();
  Sampler sampler = engine_.greedy();
  GenerateOptions options;
  options.max_tokens = 30;
  const auto expected = generate(session, sampler, prompt, options, nullptr);
  ASSERT_TRUE(expected);
  Request request = greedy(prompt, 30);
  request.sampling.ignore_eos = false;
  const Got got = run(*make(*engine_, with_slots(2)), request);
  EXPECT_EQ(got.text, expected->text);
  EXPECT_EQ(got.outcome.reason, expected->reason);
  EXPECT_EQ(got.outcome.figures.generated_tokens, expected->generated_tokens);
}

TEST_P(SchedulerTest, ALaterRequestReadsOnlyWhatIsNew) {
  const auto scheduler = make(*engine_, with_slots(2));
  const Tokens prompt = random_tokens(64, 5);
  const Got first = run(*scheduler, greedy(prompt, 8));
  EXPECT_EQ(first.outcome.figures.reused_tokens, 0);
  EXPECT_EQ(first.outcome.figures.prompt_tokens, 64);
  Tokens longer = prompt;
  longer.insert(longer.end(), 9, 65);
  EXPECT_EQ(run(*scheduler, greedy(longer, 4)).outcome.figures.reused_tokens, 64);
  // The same again: at most its last token is read.
  const Got again = run(*scheduler, greedy(prompt, 8));
  EXPECT_GE(again.outcome.figures.reused_tokens, 63);
  expect_same(again, first);
}

TEST_P(SchedulerTest, OwnersShareNoText) {
  const auto scheduler = make(*engine_, with_slots(1));
  Request request = greedy(random_tokens(64, 5), 4);
  request.owner = "a";
  const Got first = run(*scheduler, request);
  request.owner = "b";
  const Got other = run(*scheduler, request);
  EXPECT_EQ(other.outcome.figures.reused_tokens, 0);
  expect_same(other, first);
  request.reuse = false;
  EXPECT_EQ(run(*scheduler, request).outcome.figures.reused_tokens, 0);
}

// Several answers to one long prompt: it is read once, and copied.
TEST_P(SchedulerTest, ACommonBeginningIsReadOnce) {
  const auto scheduler = make(*engine_, with_slots(4));
  const Tokens prompt = random_tokens(100, 6);
  std::vector<Collector> collectors(4);
  for (Collector& collector : collectors) submit(*scheduler, greedy(prompt, 12), collector);
  const Got& first = collectors[0].get();
  for (Collector& collector : collectors)
    if (&collector != &collectors[0]) expect_same(collector.get(), first);
  // With recurrent layers, up to the last checkpoint.
  const uint64_t kept = GetParam() ? 96 : 99;
  EXPECT_LE(scheduler->statistics().prompt_tokens, 100 + 3 * (100 - kept));
  EXPECT_GE(scheduler->statistics().reused_tokens, 3 * kept);
}

TEST_P(SchedulerTest, CancelledWithinAStep) {
  const auto scheduler = make(*engine_, with_slots(1));
  Collector collector;
  std::shared_ptr<Ticket> ticket;
  std::mutex known;
  known.lock();
  int updates = 0;
  auto submitted =
      scheduler->submit(greedy(random_tokens(10, 1), -1), collector.listener([&](const Update&) {
        if (++updates != 5) return;
        const std::lock_guard wait(known);
        ticket->cancel();
      }));
  ASSERT_TRUE(submitted);
  ticket = *submitted;
  known.unlock();
  const Got& got = collector.get();
  EXPECT_EQ(got.outcome.reason, FinishReason::kCancelled);
  EXPECT_EQ(got.outcome.figures.generated_tokens, 5);
  EXPECT_EQ(scheduler->statistics().cancelled, 1u);
  // The slot is free for the next one.
  EXPECT_EQ(run(*scheduler, greedy(random_tokens(10, 2), 3)).outcome.figures.generated_tokens, 3);
}

TEST_P(SchedulerTest, CancelledInTheQueue) {
  const auto scheduler = make(*engine_, with_slots(1));
  Collector running, waiting;
  const auto first = submit(*scheduler, greedy(random_tokens(10, 1), -1), running);
  const auto second = submit(*scheduler, greedy(random_tokens(10, 2), -1), waiting);
  second->cancel();
  EXPECT_EQ(waiting.get().outcome.reason, FinishReason::kCancelled);
  first->cancel();
  running.get();
}

INSTANTIATE_TEST_SUITE_P(Models, SchedulerTest, testing::Bool(),
                         [](const auto& model) { return model.param ? "Hybrid" : "Attention"; });

TEST(SchedulerLimits, RefusesWhatCanNeverBeAnswered) {
  TinyEngine engine(test::tiny_model());
  const auto scheduler = make(*engine, with_slots(1));
  const auto kind = [&](Request request) {
    const auto ticket = scheduler->submit(std::move(request), {});
    return ticket ? std::optional<ErrorKind>() : ticket.error().kind;
  };
  EXPECT_EQ(kind(greedy({}, 1)), ErrorKind::kUsage);
  EXPECT_EQ(kind(greedy({-1}, 1)), ErrorKind::kUsage);
  EXPECT_EQ(kind(greedy({999999}, 1)), ErrorKind::kUsage);
  EXPECT_EQ(kind(greedy(random_tokens(129, 1), 1)), ErrorKind::kTooLarge);
  Request bad = greedy({1}, 1);
  bad.sampling.top_p = 2;
  EXPECT_EQ(kind(bad), ErrorKind::kUsage);
  EXPECT_FALSE(Scheduler::create(*engine, with_slots(0)));
}

TEST(SchedulerLimits, TheContextEndsAnAnswer) {
  TinyEngine engine(test::tiny_model());
  const auto scheduler = make(*engine, with_slots(1));
  const Got got = run(*scheduler, greedy(random_tokens(100, 1), -1));
  EXPECT_EQ(got.outcome.reason, FinishReason::kContext);
  EXPECT_EQ(got.outcome.figures.generated_tokens, 29);  // the last one is not read any more
  EXPECT_EQ(run(*scheduler, greedy(random_tokens(128, 2), -1)).outcome.figures.generated_tokens, 1);
  const Got none = run(*scheduler, greedy(random_tokens(20, 1), 0));
  EXPECT_EQ(none.outcome.figures.generated_tokens, 0);
  EXPECT_EQ(none.outcome.reason, FinishReason::kLength);
  EXPECT_EQ(none.text, "");
}

TEST(SchedulerLimits, AFullQueueRefuses) {
  TinyEngine engine(test::tiny_model());
  SchedulerOptions options = with_slots(1);
  options.waiting = 2;
  const auto scheduler = make(*engine, options);
  // Waits in its first update until all have been submitted.
  std::promise<void> go;
  auto gone = go.get_future().share();
  Collector first;
  std::promise<void> runs;
  bool told = false;
  ASSERT_TRUE(scheduler->submit(greedy({1}, 4), first.listener([&](const Update&) {
    if (!std::exchange(told, true)) runs.set_value();
    gone.wait();
  })));
  runs.get_future().wait();
  std::vector<Collector> waiting(2);
  for (Collector& collector : waiting) submit(*scheduler, greedy({2}, 1), collector);
  const auto refused = scheduler->submit(greedy({3}, 1), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kBusy);
  EXPECT_EQ(scheduler->statistics().waiting, 2u);
  EXPECT_EQ(scheduler->statistics().refused, 1u);
  go.set_value();
  for (Collector& collector : waiting)
    EXPECT_EQ(collector.get().outcome.figures.generated_tokens, 1);
  EXPECT_EQ(first.get().outcome.figures.generated_tokens, 4);
}

// Whoever was in a slot meanwhile knows it, whichever came first.
TEST(SchedulerLimits, RequestsKnowWhetherTheyWereAlone) {
  TinyEngine engine(test::tiny_model());
  const auto scheduler = make(*engine, with_slots(2));
  EXPECT_TRUE(run(*scheduler, greedy(random_tokens(20, 1), 4)).outcome.figures.alone);
  std::promise<void> go, runs;
  auto gone = go.get_future().share();
  bool told = false;
  Collector first, second;
  ASSERT_TRUE(scheduler->submit(greedy({1}, 40), first.listener([&](const Update&) {
    if (!std::exchange(told, true)) runs.set_value();
    gone.wait();
  })));
  runs.get_future().wait();
  submit(*scheduler, greedy({2}, 1), second);
  go.set_value();
  EXPECT_FALSE(second.get().outcome.figures.alone);
  EXPECT_FALSE(first.get().outcome.figures.alone);
  EXPECT_TRUE(run(*scheduler, greedy({3}, 2)).outcome.figures.alone);
}

TEST(SchedulerLimits, OwnersTakeTurns) {
  TinyEngine engine(test::tiny_model());
  const auto scheduler = make(*engine, with_slots(2));
  std::mutex mutex;
  std::vector<std::string> order;
  std::vector<Collector> collectors(7);
  std::promise<void> go;
  auto gone = go.get_future().share();
  for (size_t n = 0; n < collectors.size(); ++n) {
    Request request = greedy({static_cast<text::Token>(n + 1)}, 3);
    request.owner = n < 6 ? "greedy" : "modest";
    Listener listener = collectors[n].listener([gone](const Update&) { gone.wait(); });
    listener.end = [&, owner = request.owner, then = listener.end](const Outcome& outcome) {
      {
        const std::lock_guard lock(mutex);
        order.push_back(owner);
      }
      then(outcome);
    };
    ASSERT_TRUE(scheduler->submit(request, listener));
  }
  go.set_value();
  for (Collector& collector : collectors) collector.get();
  const auto modest = std::ranges::find(order, "modest") - order.begin();
  EXPECT_LE(modest, 4);  // at most the two that ran already, and who shares its passes
}

TEST(SchedulerLimits, StoppingEndsEverything) {
  TinyEngine engine(test::tiny_model());
  const auto scheduler = make(*engine, with_slots(1));
  std::vector<Collector> collectors(3);
  for (Collector& collector : collectors) {
    Request request = greedy({1}, -1);
    request.sampling.ignore_eos = true;
    submit(*scheduler, request, collector);
  }
  scheduler->stop();
  for (Collector& collector : collectors) {
    const FinishReason reason = collector.get().outcome.reason;
    EXPECT_TRUE(reason == FinishReason::kCancelled || reason == FinishReason::kContext);
  }
  const auto late = scheduler->submit(greedy({1}, 1), {});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kCancelled);
}

// One request alone reads what it guessed; others come and go meanwhile, and nothing changes.
TEST(SchedulerGuesses, TheSameTextsWithAndWithout) {
  EngineOptions engine_options;
  engine_options.ubatch = 16;
  TinyEngine engine(test::scripted_drafting_model("The quickly~", "ck"), engine_options);
  std::vector<Request> requests;
  for (uint32_t n = 0; n < 4; ++n) {
    Request request = greedy(random_tokens(5 + 20 * n, n), 40 + 3 * n);
    request.prompt.push_back('T');
    request.sampling.ignore_eos = n > 0;
    requests.push_back(std::move(request));
  }
  SchedulerOptions options = with_slots(2);
  std::vector<Got> plain;
  {
    const auto scheduler = make(*engine, options);
    for (const Request& request : requests) plain.push_back(run(*scheduler, request));
  }
  options.guesses = 3;
  const auto scheduler = make(*engine, options);
  int64_t guessed = 0, right = 0;
  for (size_t n = 0; n < requests.size(); ++n) {
    SCOPED_TRACE(n);
    const Got got = run(*scheduler, requests[n]);
    expect_same(got, plain[n]);
    guessed += got.outcome.figures.guessed_tokens;
    right += got.outcome.figures.right_guesses;
  }
  EXPECT_GT(right, 10);
  EXPECT_GT(guessed, right);
  // The second one begins when the first has read ahead, and ends before it.
  for (size_t n = 0; n + 1 < requests.size(); ++n) {
    SCOPED_TRACE(n);
    Request next = requests[n];
    next.max_tokens = 5;
    next.reuse = false;
    Collector first, second;
    std::promise<void> far, go;
    auto gone = go.get_future().share();
    int updates = 0;
    ASSERT_TRUE(scheduler->submit(requests[n + 1], first.listener([&](const Update&) {
      if (++updates != 7) return;
      far.set_value();
      gone.wait();
    })));
    far.get_future().wait();
    submit(*scheduler, next, second);
    go.set_value();
    expect_same(first.get(), plain[n + 1]);
    const Got& got = second.get();
    ASSERT_LE(got.tokens.size(), 5u);
    for (size_t k = 0; k < got.tokens.size(); ++k) {
      EXPECT_EQ(got.tokens[k].chosen.token, plain[n].tokens[k].chosen.token);
      EXPECT_EQ(got.tokens[k].chosen.log_probability, plain[n].tokens[k].chosen.log_probability);
    }
  }
}

// The file is cut short while experts come and go.
TEST(SchedulerFaults, AFailedReadEndsTheRequest) {
  const MemoryPlan all = TinyEngine(test::tiny_model())->plan();
  EngineOptions options;
  options.ram_bytes = all.total() - all.cache / 2;
  TinyEngine engine(test::tiny_model(), options);
  ASSERT_FALSE(engine->plan().all_experts());
  const auto scheduler = make(*engine, with_slots(2));
  ASSERT_FALSE(run(*scheduler, greedy(random_tokens(30, 1), 10)).outcome.error);

  const std::string path = engine->options().model_path;
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 8);
  std::vector<Collector> collectors(2);
  for (size_t n = 0; n < 2; ++n)
    submit(*scheduler, greedy(random_tokens(60, 5 + static_cast<uint32_t>(n)), 50), collectors[n]);
  for (Collector& collector : collectors) {
    const Outcome& outcome = collector.get().outcome;
    ASSERT_TRUE(outcome.error);
    EXPECT_THAT(outcome.error->message, testing::HasSubstr("model"));
  }
  EXPECT_EQ(scheduler->statistics().failed, 2u);

  // What comes later is answered too, be it with the same error.
  EXPECT_TRUE(run(*scheduler, greedy(random_tokens(60, 9), 50)).outcome.error);
}

// A model that continues each letter of this text with the next one, then ends its turn.
TEST(SchedulerText, StopStringsAndSpecialTokens) {
  TinyEngine engine(test::scripted_model("The quickly~"));
  const auto scheduler = make(*engine, with_slots(1));
  Request request = greedy(bytes_as_tokens("T"), -1);
  request.sampling.ignore_eos = false;
  Got got = run(*scheduler, request);
  EXPECT_EQ(got.text, "he quickly~");
  EXPECT_EQ(got.outcome.reason, FinishReason::kEndOfGeneration);
  EXPECT_EQ(got.outcome.figures.generated_tokens, 12);
  EXPECT_EQ(got.tokens.size(), 11u);
  for (const TokenReport& token : got.tokens) {
    EXPECT_EQ(token.chosen.token, token.best.at(0).token);
    EXPECT_EQ(token.chosen.log_probability, token.best.at(0).log_probability);
    EXPECT_LE(token.chosen.log_probability, 0);
  }
  request.stop = {"zzz", "ick"};
  got = run(*scheduler, request);
  EXPECT_EQ(got.text, "he qu");
  EXPECT_EQ(got.outcome.reason, FinishReason::kStopString);
  EXPECT_EQ(got.outcome.stop, "ick");
  request.stop = {"icky"};
  EXPECT_EQ(run(*scheduler, request).text, "he quickly~");
}

TEST(Scheduler, TellsTheTimeOfTokensButNotOfPrompts) {
  TinyEngine engine(test::tiny_model());
  const auto scheduler = make(*engine, with_slots(1));
  const auto ask = [&](int64_t most) {
    Collector collector;
    Request request;
    request.prompt = random_tokens(20, 3);
    request.max_tokens = most;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    EXPECT_TRUE(scheduler->submit(std::move(request), collector.listener()));
    collector.get();
    return scheduler->statistics();
  };
  const SchedulerStatistics one = ask(1);
  EXPECT_EQ(one.sampled_tokens, 1u);
  EXPECT_FALSE(one.last_token) << "the prompt's pass gave it";
  const SchedulerStatistics more = ask(5);
  EXPECT_EQ(more.sampled_tokens, 6u);
  ASSERT_TRUE(more.last_token);
  EXPECT_GT(more.last_token->waiting.count(), -1);
  EXPECT_GE(more.last_token->experts, more.last_token->waiting);
  EXPECT_GT(more.last_token->whole, more.last_token->experts);
}

}  // namespace
}  // namespace sluice::engine
