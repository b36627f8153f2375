// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/no_memory.h"
#include "engine/lookahead.h"

namespace sluice::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  // The one that is complete first counts, so that it does not matter how the text is cut; of those
  // that end together, the longest.
  size_t cut = std::string::npos;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t begin = stop.empty() ? std::string::npos : held_.find(stop);
    if (begin == std::string::npos) continue;
    if (std::pair(begin + stop.size(), begin) < std::pair(end, cut)) {
      stop_ = stop;
      cut = begin;
      end = begin + stop.size();
    }
  }
  if (cut != std::string::npos) {
    stopped_ = true;
    held_.resize(cut);
    return std::exchange(held_, {});
  }
  // The longest tail that is a beginning of some stop string stays.
  size_t keep = 0;
  for (const std::string& stop : stops_)
    for (size_t n = std::min(held_.size(), stop.empty() ? 0 : stop.size() - 1); n > keep; --n)
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopFilter::finish() {
  return stopped_ ? std::string() : std::exchange(held_, {});
}

namespace {

Result<GenerateResult> generate_text(Session& session, Sampler& sampler,
                                     std::span<const text::Token> prompt,
                                     const GenerateOptions& options, const TextSink& sink,
                                     const std::atomic<bool>* cancel) {
  const text::Tokenizer& tokenizer = session.engine().tokenizer();
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  if (prompt.empty())
    return fail(ErrorKind::kUsage,
                "the prompt is empty: give at least one character with -p or -f");

  const Clock::time_point start = Clock::now();
  auto kept = session.reuse(prompt, cancel, options.turns);
  if (!kept && kept.error().kind == ErrorKind::kCancelled) {
    result.reason = FinishReason::kCancelled;
    return result;
  }
  if (!kept) return fail(std::move(kept.error()));
  result.reused_tokens = *kept;
  sampler.reset();
  for (const text::Token token : prompt) sampler.accept(token);
  const Clock::time_point prompt_done = Clock::now();
  result.prompt_seconds = seconds(start, prompt_done);

  text::Utf8Stream utf8;
  StopFilter stop(options.stop);
  const auto emit = [&](std::string_view text) {
    if (text.empty()) return;
    result.text += text;
    if (sink) sink(text);
  };

  Lookahead ahead(session, options.drafts);
  Clock::time_point first_token = prompt_done;
  for (;;) {
    if (options.max_tokens >= 0 && result.generated_tokens >= options.max_tokens) {
      result.reason = FinishReason::kLength;
      break;
    }
    const text::Token token = sampler.sample(ahead.logits());
    sampler.accept(token);
    if (++result.generated_tokens == 1) {
      first_token = Clock::now();
      result.first_token_seconds = seconds(start, first_token);
    }
    if (tokenizer.is_end_of_generation(token)) {
      if (options.show_special) emit(stop.push(utf8.push(tokenizer.bytes(token))));
      break;
    }
    if (options.show_special || tokenizer.kind(token) != text::TokenKind::kControl)
      emit(stop.push(utf8.push(tokenizer.bytes(token))));
    if (stop.stopped()) {
      result.reason = FinishReason::kStopString;
      break;
    }
    if (cancel && cancel->load(std::memory_order_relaxed)) {
      result.reason = FinishReason::kCancelled;
      break;
    }
    if (options.max_tokens >= 0 && result.generated_tokens >= options.max_tokens) {
      result.reason = FinishReason::kLength;
      break;
    }
    if (ahead.length() >= session.capacity()) {
      result.reason = FinishReason::kContext;
      break;
    }
    // The last token of an answer is never read.
    SLUICE_TRY(ahead.feed(token, options.max_tokens < 0
                                     ? std::numeric_limits<int64_t>::max()
                                     : options.max_tokens - result.generated_tokens - 1));
  }
  SLUICE_TRY(ahead.settle());
  result.guessed_tokens = ahead.guessed();
  result.right_guesses = ahead.right();
  emit(stop.push(utf8.finish()));
  emit(stop.finish());
  result.generate_seconds = seconds(first_token, Clock::now());
  return result;
}

}  // namespace

Result<GenerateResult> generate(Session& session, Sampler& sampler,
                                std::span<const text::Token> prompt, const GenerateOptions& options,
                                const TextSink& sink, const std::atomic<bool>* cancel) {
  return or_no_memory(
      [&] { return generate_text(session, sampler, prompt, options, sink, cancel); });
}

}  // namespace sluice::engine
