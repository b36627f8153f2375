// SPDX-License-Identifier: Apache-2.0
#include "engine/perplexity.h"

#include <algorithm>
#include <cmath>

namespace sluice::engine {
namespace {

double negative_log_likelihood(std::span<const float> logits, text::Token token) {
  const float maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - maximum));
  return std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)] - maximum);
}

}  // namespace

Result<Perplexity> perplexity(Session& session, std::span<const text::Token> tokens, int64_t window,
                              const std::function<void(const Perplexity&, int64_t)>& progress) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (window < 4 || window > session.capacity())
    return fail(ErrorKind::kUsage, "-c {}: windows must have from 4 to {} tokens", window,
                session.capacity());
  if (count < 2 * window)
    return fail(ErrorKind::kUsage,
                "the text has {} tokens, two windows of {} need {}: give more text or a smaller -c",
                count, window, 2 * window);
  const auto vocabulary = static_cast<size_t>(session.engine().model().config().vocabulary);
  const int64_t windows = count / window;
  const int64_t first = window / 2;
  Perplexity result;
  double sum = 0;
  double squares = 0;
  for (int64_t w = 0; w < windows; ++w) {
    const auto part = tokens.subspan(static_cast<size_t>(w * window), static_cast<size_t>(window));
    session.truncate(0);
    int64_t position = 0;
    SLUICE_TRY(session.feed_all_logits(part, [&](std::span<const float> rows) -> Status {
      for (size_t at = 0; at < rows.size(); at += vocabulary, ++position) {
        if (position < first || position + 1 >= window) continue;
        const double nll = negative_log_likelihood(rows.subspan(at, vocabulary),
                                                   part[static_cast<size_t>(position + 1)]);
        sum += nll;
        squares += nll * nll;
        ++result.tokens;
      }
      return {};
    }));
    ++result.chunks;
    const auto n = static_cast<double>(result.tokens);
    const double mean = sum / n;
    result.value = std::exp(mean);
    result.error =
        result.value * std::sqrt(std::max(squares / n - mean * mean, 0.0) / std::max(n - 1, 1.0));
    if (progress) progress(result, windows);
  }
  return result;
}

}  // namespace sluice::engine
