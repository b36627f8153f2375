// SPDX-License-Identifier: Apache-2.0
// Sessions of models with recurrent layers that keep checkpoints: what is read again, and that the
// bits are those of a session that has read everything.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "engine/chat.h"
#include "engine/generate.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using nlohmann::ordered_json;
using test::tiny_model;
using test::TinyEngine;
using Tokens = std::vector<int32_t>;
using Positions = std::vector<int64_t>;

Tokens some_tokens(size_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 256);
  return tokens;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Tokens first(const Tokens& tokens, size_t count) {
  return {tokens.begin(), tokens.begin() + static_cast<long>(count)};
}

test::TestModel hybrid_model() {
  auto model = tiny_model(1, "qwen3next");
  model.set("qwen3next.context_length", uint32_t{4096});
  return model;
}

EngineOptions small_passes() {
  EngineOptions options;
  options.ubatch = 32;
  return options;
}

class GoingBack : public testing::Test {
 protected:
  GoingBack() { session_.keep_checkpoints({32, uint64_t{1} << 30, 64}); }

  int64_t reuse(const Tokens& tokens, const Positions& turns = {}) {
    auto kept = session_.reuse(tokens, nullptr, turns);
    if (!kept) throw std::runtime_error(kept.error().message);
    expect_holds(tokens);
    return *kept;
  }

  void expect_holds(const Tokens& tokens) {
    EXPECT_TRUE(std::ranges::equal(session_.tokens(), tokens));
    fresh_.truncate(0);
    ASSERT_TRUE(fresh_.feed(tokens));
    EXPECT_TRUE(std::ranges::equal(session_.logits(), fresh_.logits()));
  }

  Positions positions() {
    Positions out;
    for (const auto& entry : session_.checkpoints().entries()) out.push_back(entry.position);
    return out;
  }

  TinyEngine engine_{hybrid_model(), small_passes()};
  Session session_ = engine_.session(), fresh_ = engine_.session();
};

TEST_F(GoingBack, KeepsThemOnASchedule) {
  const Tokens text = some_tokens(300);
  EXPECT_EQ(reuse(text), 0);
  EXPECT_EQ(positions(), (Positions{64, 128, 192, 256, 300}));
  // And while it generates.
  for (const int32_t token : some_tokens(70, 2)) ASSERT_TRUE(session_.feed({&token, 1}));
  EXPECT_EQ(positions(), (Positions{64, 128, 192, 256, 300, 364}));
}

TEST_F(GoingBack, AChangeIsReadFromTheNearestCheckpoint) {
  const Tokens text = some_tokens(300);
  reuse(text);
  for (const auto& [at, from] :
       {std::pair{299, 256}, {200, 192}, {192, 192}, {191, 128}, {10, 0}}) {
    Tokens changed = text;
    changed[static_cast<size_t>(at)] ^= 1;
    EXPECT_EQ(reuse(changed), from) << at;
    reuse(text);
  }
  EXPECT_EQ(reuse(first(text, 150)), 128);  // shortened
  EXPECT_EQ(reuse(first(text, 128)), 64);   // the last token's logits are wanted
  EXPECT_EQ(reuse(first(text, 30)), 0);
  EXPECT_EQ(reuse(some_tokens(50, 3)), 0);
}

TEST_F(GoingBack, AnotherAnswerReadsNothingAgain) {
  const Tokens prompt = some_tokens(100);
  reuse(prompt);
  for (uint32_t seed = 2; seed < 5; ++seed) {
    std::ranges::fill(session_.logits(), 0.0f);  // samplers change them
    ASSERT_TRUE(session_.feed(some_tokens(40, seed)));
    EXPECT_EQ(reuse(prompt), 100);
  }
  EXPECT_EQ(reuse(prompt), 100);
}

TEST_F(GoingBack, AFollowUpReadsOnlyWhatIsNew) {
  const Tokens prompt = some_tokens(100);
  reuse(prompt);
  const Tokens answer = some_tokens(40, 2);
  for (const int32_t token : answer) ASSERT_TRUE(session_.feed({&token, 1}));
  const Tokens held = joined(prompt, answer);
  EXPECT_EQ(reuse(joined(held, some_tokens(30, 3))), 140);
  // The end of the answer has become a checkpoint: another message instead.
  EXPECT_EQ(positions(), (Positions{64, 100, 140, 170}));
  EXPECT_EQ(reuse(joined(held, some_tokens(30, 4))), 140);
}

TEST_F(GoingBack, TurnsAreCheckpoints) {
  const Tokens prompt = some_tokens(230);
  reuse(prompt, {70, 225});
  EXPECT_EQ(positions(), (Positions{64, 134, 198, 225}));  // 70 and 230 follow others closely
  session_.truncate(0);
  EXPECT_TRUE(positions().empty());
  session_.keep_checkpoints({32, uint64_t{1} << 30, -1});
  reuse(prompt, {70, 225});
  EXPECT_EQ(positions(), (Positions{70, 225}));
  EXPECT_EQ(reuse(joined(first(prompt, 225), some_tokens(20, 2))), 225);
  EXPECT_EQ(reuse(joined(first(prompt, 80), some_tokens(20, 2)), {82, 5000}), 70);
}

TEST_F(GoingBack, TruncateStopsAtACheckpoint) {
  reuse(some_tokens(300));
  session_.truncate(200);
  EXPECT_EQ(session_.length(), 192);
  EXPECT_TRUE(std::ranges::equal(session_.tokens(), first(some_tokens(300), 192)));
  EXPECT_EQ(positions(), (Positions{64, 128, 192}));
  const Tokens more = some_tokens(20, 2);
  ASSERT_TRUE(session_.feed(more));
  expect_holds(joined(first(some_tokens(300), 192), more));
}

TEST_F(GoingBack, CheckpointsOfTheCallerGoWithThem) {
  const Tokens text = some_tokens(300);
  reuse(first(text, 100));
  const auto own = session_.checkpoint();
  ASSERT_TRUE(own);
  reuse(text);
  ASSERT_TRUE(session_.restore(*own));
  EXPECT_EQ(positions(), (Positions{64, 100}));
  const Tokens more = some_tokens(50, 2);
  ASSERT_TRUE(session_.feed(more));
  expect_holds(joined(first(text, 100), more));
  EXPECT_EQ(reuse(first(text, 90)), 64);
}

TEST_F(GoingBack, CancelledOnTheWay) {
  const Tokens text = some_tokens(300);
  const std::atomic<bool> cancel{true};
  reuse(first(text, 100));
  EXPECT_FALSE(session_.reuse(text, &cancel));
  EXPECT_EQ(session_.length(), 100);
  EXPECT_EQ(reuse(text), 100);
  EXPECT_FALSE(session_.reuse(some_tokens(300, 2), &cancel));
  EXPECT_EQ(reuse(text), 0);
}

TEST_F(GoingBack, ATextThatDoesNotFitIsRefusedBeforeItIsRead) {
  const Tokens text = some_tokens(300);
  reuse(text);
  const Positions turns{600};
  const auto refused = session_.reuse(joined(text, some_tokens(4000)), nullptr, turns);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kTooLarge);
  EXPECT_EQ(session_.length(), 300);
  EXPECT_EQ(reuse(joined(text, {1})), 300);
}

TEST_F(GoingBack, MemoryStaysInItsBudget) {
  const uint64_t one = fresh_.checkpoint()->memory.bytes() + test::kRows * sizeof(float);
  session_.keep_checkpoints({100, 4 * one + one / 2, 32});
  EXPECT_EQ(session_.checkpoints().limit(), 4);
  const Tokens text = some_tokens(2000);
  reuse(text);
  EXPECT_LE(session_.checkpoints().bytes(), 4 * one);
  EXPECT_EQ(positions().size(), 4u);
  Tokens changed = text;
  changed[1990] ^= 1;
  EXPECT_GE(reuse(changed), 1600);
}

// Any conversation gives the bits of one that is read at once.
TEST_F(GoingBack, RandomConversations) {
  std::mt19937 random(7);
  session_.keep_checkpoints({5, uint64_t{1} << 30, 32});
  Tokens text = some_tokens(100);
  int64_t read = 0, all = 0;
  for (uint32_t i = 0; i < 60; ++i) {
    const size_t keep = random() % 3 == 0 ? random() % (text.size() + 1) : text.size();
    text = joined(first(text, keep), some_tokens(1 + random() % 60, i));
    if (text.size() > 900) text.resize(100);
    Positions turns{static_cast<int64_t>(random() % text.size())};
    read += static_cast<int64_t>(text.size()) - reuse(text, turns);
    all += static_cast<int64_t>(text.size());
    if (i % 2 == 0) {
      const Tokens answer = some_tokens(random() % 40, 100 + i);
      for (const int32_t token : answer) ASSERT_TRUE(session_.feed({&token, 1}));
      if (i % 4 == 0) text = joined(text, answer);
    }
  }
  EXPECT_LT(read, all / 2);
}

TEST(GoingBackWithoutRecurrentLayers, NeedsNoCheckpoints) {
  TinyEngine engine(tiny_model());
  Session session = engine.session();
  session.keep_checkpoints({});
  EXPECT_EQ(session.checkpoints().limit(), 0);
  const Tokens text = some_tokens(100);
  const Positions turns{80};
  ASSERT_TRUE(session.reuse(text, nullptr, turns));
  Tokens changed = text;
  changed[50] ^= 1;
  EXPECT_EQ(session.reuse(changed).value(), 50);
}

// --- conversations ---

// Like published ones of models that think: the generation prompt opens a thought, and turns that
// have an answer are rendered without it.
constexpr const char* kThinking =
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content.split('</think>')[-1] + "
    "'<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n<think>\\n' }}{%- endif -%}";

class Conversation : public testing::Test {
 protected:
  explicit Conversation(const char* chat_template = nullptr)
      : engine_([&] {
          auto model = hybrid_model();
          if (chat_template) model.set("tokenizer.chat_template", std::string(chat_template));
          return model;
        }()) {
    session_.keep_checkpoints({});
  }

  void say(const std::string& role, const std::string& content) {
    messages_.push_back({{"role", role}, {"content", content}});
  }

  GenerateResult answer(int64_t tokens = 5) {
    const auto prompt = render_chat(*engine_, messages_, {});
    if (!prompt) throw std::runtime_error(prompt.error().message);
    GenerateOptions options;
    options.max_tokens = tokens;
    options.turns = turn_boundaries(*engine_, messages_, {}, *prompt);
    Sampler sampler = engine_.greedy();
    auto result = generate(session_, sampler, *prompt, options, nullptr);
    if (!result) throw std::runtime_error(result.error().message);
    return std::move(*result);
  }

  TinyEngine engine_;
  Session session_ = engine_.session();
  ordered_json messages_ = ordered_json::array();
  // Bytes are tokens in this model.
  const std::string long_message_ = std::string(700, 'a') + std::string(800, 'b');
};

class PlainConversation : public Conversation {};

TEST_F(PlainConversation, EachTurnReadsWhatIsNew) {
  say("user", long_message_);
  GenerateResult result = answer();
  EXPECT_EQ(result.reused_tokens, 0);
  const int64_t prompt = result.prompt_tokens;
  const std::string text = answer().text;  // another answer to the same
  EXPECT_EQ(answer().reused_tokens, prompt);
  say("assistant", text);
  say("user", "why?");
  EXPECT_GE(answer().reused_tokens, prompt);
  messages_.back()["content"] = "where?";  // the last message is edited
  EXPECT_GE(answer().reused_tokens, prompt);
  messages_.erase(messages_.size() - 1);  // the conversation is shortened, then goes on
  messages_.erase(messages_.size() - 1);
  EXPECT_EQ(answer().reused_tokens, prompt);
}

TEST_F(PlainConversation, ALongSystemMessageIsReadOnce) {
  say("system", long_message_);
  say("user", "hello");
  EXPECT_EQ(answer().reused_tokens, 0);
  messages_.erase(1);
  say("user", "something else");
  EXPECT_GE(answer().reused_tokens, 1500);
}

class ThinkingConversation : public Conversation {
 protected:
  ThinkingConversation() : Conversation(kThinking) {}
};

// The prompt ends earlier than it was: its end with the open thought does not come again.
TEST_F(ThinkingConversation, ADroppedThoughtCostsTheAnswerOnly) {
  say("user", long_message_);
  GenerateResult result = answer(60);
  const int64_t prompt = result.prompt_tokens;
  say("assistant", result.text + "</think>yes");
  say("user", "why?");
  result = answer();
  EXPECT_EQ(result.reused_tokens, prompt - 8);  // "<think>\n"
  EXPECT_LT(result.prompt_tokens - result.reused_tokens, 60);
}

TEST(TurnBoundaries, AreWhereTheTextWillChange) {
  TinyEngine engine(hybrid_model());
  ordered_json messages = ordered_json::array({{{"role", "user"}, {"content", "hi"}}});
  const auto boundaries = [&](const ChatOptions& options = {}) {
    const auto prompt = render_chat(*engine, messages, options);
    return turn_boundaries(*engine, messages, options, *prompt);
  };
  // <|im_start|> u s e r \n h i <|im_end|> \n <|im_start|> a s s i s t a n t \n
  EXPECT_EQ(boundaries(), (Positions{6, 21}));
  messages.push_back({{"role", "assistant"}, {"content", "x"}});
  messages.push_back({{"role", "user"}, {"content", "\nyes"}});
  EXPECT_EQ(boundaries(), (Positions{30, 47}));

  auto model = hybrid_model();
  model.set(
      "tokenizer.chat_template",
      std::string("{% if messages[-1].content == '\x01' %}{{ raise_exception('no') }}{% endif %}"
                  "{{ messages[0].content }}"));
  TinyEngine refusing(model);
  EXPECT_TRUE(turn_boundaries(*refusing, messages, {}, Tokens{1, 2}).empty());
}

}  // namespace
}  // namespace sluice::engine
