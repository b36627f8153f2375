// SPDX-License-Identifier: Apache-2.0
#include "apps/served_learning.h"

#include <chrono>

namespace sluice::apps {
namespace {

constexpr int64_t kLeastPrompt = 64, kLeastAnswer = 32;  // tokens that tell something
constexpr size_t kMostWaiting = 64;                      // more are not looked at
// A server may be killed at any time, and is not to write all the time.
constexpr std::chrono::minutes kRemember{5};

}  // namespace

std::unique_ptr<ServedLearning> ServedLearning::of(const engine::Engine& engine) {
  Learning learning = Learning::of(engine);
  const std::optional<UsualSpeeds> usual = learning.usual(engine.options().ubatch);
  if (!usual) return nullptr;
  return std::unique_ptr<ServedLearning>(new ServedLearning(engine, std::move(learning), *usual));
}

ServedLearning::ServedLearning(const engine::Engine& engine, Learning learning,
                               const UsualSpeeds& usual)
    : engine_(engine), learning_(std::move(learning)) {
  speeds_.prompt.predicted = usual.prompt;
  speeds_.generation.predicted = usual.generation;
  thread_ = std::thread([this] { work(); });
}

ServedLearning::~ServedLearning() {
  finish();
}

void ServedLearning::finish() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (!thread_.joinable()) return;
  thread_.join();
  learning_.remember();
}

void ServedLearning::ended(const engine::Outcome& outcome) {
  const bool warm = warm_;
  warm_ = engine_.plan().all_experts() || engine_.model().experts().statistics().evictions > 0;
  const engine::RequestFigures& f = outcome.figures;
  // What drafts gain is not predicted.
  if (outcome.error || !f.alone || f.guessed_tokens > 0) return;
  if (f.prompt_tokens - f.reused_tokens < kLeastPrompt && f.generated_tokens <= kLeastAnswer)
    return;
  {
    const std::lock_guard lock(mutex_);
    if (requests_.size() >= kMostWaiting) return;
    requests_.push_back({f, warm});
  }
  wake_.notify_one();
}

server::Speeds ServedLearning::speeds() const {
  const std::lock_guard lock(mutex_);
  return speeds_;
}

void ServedLearning::work() {
  auto remembered = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !requests_.empty(); });
    if (requests_.empty()) return;
    const Request request = requests_.front();
    requests_.pop_front();
    lock.unlock();
    compare(request);
    if (const auto now = std::chrono::steady_clock::now(); now - remembered >= kRemember) {
      learning_.remember();
      remembered = now;
    }
    lock.lock();
  }
}

void ServedLearning::compare(const Request& request) {
  const engine::RequestFigures& f = request.figures;
  // A cache that still fills says little of later requests.
  if (!request.warm && !engine_.plan().all_experts()) return;
  const int64_t ubatch = engine_.options().ubatch;
  const int64_t read = f.prompt_tokens - f.reused_tokens;
  std::optional<Compared> prompt, generation;
  // One that was cancelled before its first token has no time.
  if (read >= kLeastPrompt && f.generated_tokens > 0)
    prompt = learning_.measured(read, 0, f.reused_tokens, ubatch, f.prompt_seconds,
                                f.prompt_wait_seconds);
  // The first token is the prompt's.
  if (const int64_t generated = f.generated_tokens - 1; generated >= kLeastAnswer)
    generation = learning_.measured(0, generated, f.prompt_tokens, ubatch, f.generate_seconds,
                                    f.expert_wait_seconds - f.prompt_wait_seconds);
  const std::lock_guard lock(mutex_);
  if (prompt) speeds_.prompt = {prompt->predicted, prompt->measured};
  if (generation) speeds_.generation = {generation->predicted, generation->measured};
}

}  // namespace sluice::apps
