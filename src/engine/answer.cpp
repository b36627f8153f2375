// SPDX-License-Identifier: Apache-2.0
#include "engine/answer.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice::engine {
namespace {

// log(sum(exp(x))) over what is finite.
double log_sum(std::span<const float> x) {
  float most = -std::numeric_limits<float>::infinity();
  for (const float v : x)
    if (v > most && std::isfinite(v)) most = v;
  double sum = 0;
  for (const float v : x)
    if (std::isfinite(v)) sum += std::exp(static_cast<double>(v) - most);
  return most + std::log(sum);
}

constexpr float kImpossible = -9999.0f;  // JSON has no infinity

}  // namespace

Result<Answer> Answer::create(const Engine& engine, Request request, int64_t capacity) {
  if (request.prompt.empty()) return fail(ErrorKind::kUsage, "the prompt is empty");
  const auto count = static_cast<int64_t>(request.prompt.size());
  if (count > capacity)
    return fail(ErrorKind::kTooLarge,
                "the prompt has {} tokens, the context {}: use -c {} or more, or a shorter prompt",
                count, capacity, count + 1);
  const int64_t vocabulary = engine.model().config().vocabulary;
  for (const text::Token token : request.prompt)
    if (token < 0 || token >= vocabulary)
      return fail(ErrorKind::kUsage, "token id {} is outside the vocabulary of {}", token,
                  vocabulary);
  SLUICE_ASSIGN(Sampler sampler, engine.make_sampler(request.sampling));
  return Answer(engine, std::move(request), std::move(sampler), capacity);
}

Answer::Answer(const Engine& engine, Request request, Sampler sampler, int64_t capacity)
    : engine_(&engine),
      request_(std::move(request)),
      sampler_(std::move(sampler)),
      capacity_(capacity),
      prompt_size_(static_cast<int64_t>(request_.prompt.size())),
      tokens_(std::move(request_.prompt)),
      stop_(request_.stop) {
  for (const text::Token token : tokens_) sampler_.accept(token);
}

bool Answer::shown(text::Token token) const {
  return engine_->tokenizer().kind(token) != text::TokenKind::kControl ||
         std::ranges::find(request_.shown, token) != request_.shown.end();
}

void Answer::report(std::span<const float> logits) {
  before_.assign(logits.begin(), logits.end());
  TokenReport report;
  before_sum_ = log_sum(before_);
  std::vector<text::Token> order(before_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<text::Token>(i);
  const auto count =
      static_cast<std::ptrdiff_t>(std::min(static_cast<size_t>(request_.chances), order.size()));
  const auto logit = [this](text::Token t) { return before_[static_cast<size_t>(t)]; };
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](text::Token a, text::Token b) {
                      const float x = std::isnan(logit(a)) ? kImpossible : logit(a);
                      const float y = std::isnan(logit(b)) ? kImpossible : logit(b);
                      return x > y || (x == y && a < b);
                    });
  const auto chance = [&](text::Token t) -> TokenChance {
    const double value = logit(t) - before_sum_;
    return {t, std::isfinite(value) ? static_cast<float>(value) : kImpossible};
  };
  for (auto token = order.begin(); token != order.begin() + count; ++token)
    report.best.push_back(chance(*token));
  reports_.push_back(std::move(report));
}

std::optional<FinishReason> Answer::step(std::span<float> logits) {
  if (request_.max_tokens == 0) return FinishReason::kLength;
  if (request_.chances >= 0) report(logits);
  const text::Token token = sampler_.sample(logits);
  sampler_.accept(token);
  ++generated_;
  const text::Tokenizer& tokenizer = engine_->tokenizer();
  if (tokenizer.is_end_of_generation(token)) {
    if (request_.chances >= 0) reports_.pop_back();
    return FinishReason::kEndOfGeneration;
  }
  if (request_.chances >= 0) {
    const double value = before_[static_cast<size_t>(token)] - before_sum_;
    reports_.back().chosen = {token,
                              std::isfinite(value) ? static_cast<float>(value) : kImpossible};
  }
  if (shown(token)) certain_ += stop_.push(utf8_.push(tokenizer.bytes(token)));
  if (stop_.stopped()) return FinishReason::kStopString;
  tokens_.push_back(token);
  if (request_.max_tokens >= 0 && generated_ >= request_.max_tokens) return FinishReason::kLength;
  if (static_cast<int64_t>(tokens_.size()) > capacity_) return FinishReason::kContext;
  return std::nullopt;
}

Update Answer::take(bool at_end) {
  if (at_end) {
    certain_ += stop_.push(utf8_.finish());
    certain_ += stop_.finish();
  }
  return {std::exchange(certain_, {}), std::exchange(reports_, {}), {}};
}

}  // namespace sluice::engine
