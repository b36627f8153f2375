// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::engine {

Result<Session> Session::create(Engine& engine) {
  return create(engine, engine.context(), engine.options().cache);
}

Result<Session> Session::create(Engine& engine, int64_t capacity, const model::CacheTypes& types) {
  SLUICE_ASSIGN(model::Sequence sequence, engine.model().create_sequence(capacity, types));
  return Session(engine, std::move(sequence));
}

Status Session::check(std::span<const text::Token> tokens) const {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count > capacity() - length())
    return fail(
        ErrorKind::kTooLarge,
        "the prompt needs {} positions, the context has {}: use -c {} or more, or a shorter prompt",
        length() + count, capacity(), length() + count + 1);
  const int64_t vocabulary = engine_->model().config().vocabulary;
  for (const text::Token token : tokens)
    if (token < 0 || token >= vocabulary)
      return fail(ErrorKind::kUsage, "token id {} is outside the vocabulary of {}", token,
                  vocabulary);
  return {};
}

Status Session::read(const model::Chunk& chunk, const model::Observer& observer) {
  Status done = engine_->model().forward({&chunk, 1}, logits_, observer);
  if (done)
    tokens_.insert(tokens_.end(), chunk.tokens.begin(), chunk.tokens.end());
  else
    tokens_.resize(static_cast<size_t>(length()));  // the model may have lost what came before
  return done;
}

Status Session::feed(std::span<const text::Token> tokens, const std::atomic<bool>* cancel) {
  SLUICE_TRY(check(tokens));
  const auto step = static_cast<size_t>(engine_->options().ubatch);
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    if (cancel && cancel->load(std::memory_order_relaxed))
      return fail(ErrorKind::kCancelled, "cancelled");
    const auto part = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    const model::Chunk chunk{&sequence_, part, false};
    SLUICE_TRY(read(chunk, nullptr));
  }
  return {};
}

Status Session::feed_all_logits(std::span<const text::Token> tokens,
                                const std::function<Status(std::span<const float>)>& sink,
                                const model::Observer& observer) {
  SLUICE_TRY(check(tokens));
  // 64 rows of a vocabulary of 151936 are 39 MB.
  const size_t step = static_cast<size_t>(std::min<int64_t>(engine_->options().ubatch, 64));
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    const auto part = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    const model::Chunk chunk{&sequence_, part, true};
    SLUICE_TRY(read(chunk, observer));
    const Status taken = sink(logits_);
    // logits() speaks of the last token alone.
    logits_.erase(logits_.begin(), logits_.end() - engine_->model().config().vocabulary);
    SLUICE_TRY(taken);
  }
  return {};
}

void Session::truncate(int64_t length) {
  SLUICE_CHECK(length >= 0 && length <= this->length(), "truncate beyond the end");
  tokens_.resize(static_cast<size_t>(sequence_.rewind(length)));
  logits_.clear();
}

Result<Session::Checkpoint> Session::checkpoint() const {
  SLUICE_ASSIGN(model::Snapshot memory, sequence_.snapshot(model::SnapshotContent::kRecurrent));
  return Checkpoint{std::move(memory), tokens_};
}

Status Session::restore(const Checkpoint& checkpoint) {
  SLUICE_TRY(sequence_.restore(checkpoint.memory));
  tokens_ = checkpoint.tokens;
  logits_.clear();
  return {};
}

Result<int64_t> Session::reuse(std::span<const text::Token> tokens,
                               const std::atomic<bool>* cancel) {
  const auto same = std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(), tokens.end());
  auto kept = static_cast<int64_t>(same.first - tokens_.begin());
  kept = std::min(kept, std::max<int64_t>(static_cast<int64_t>(tokens.size()) - 1, 0));
  truncate(kept);
  kept = this->length();
  SLUICE_TRY(feed(tokens.subspan(static_cast<size_t>(kept)), cancel));
  return kept;
}

}  // namespace sluice::engine
