// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/dry.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

namespace sluice::engine::sampling {

Dry::Dry(Options options, std::function<std::string_view(int32_t)> piece)
    : options_(std::move(options)), piece_(std::move(piece)), history_(options_.last_n) {
  std::erase_if(options_.breakers, [](const std::string& breaker) { return breaker.empty(); });
  for (const std::string& breaker : options_.breakers) {
    unfinished_ = std::max(unfinished_, breaker.size() - 1);
  }
}

void Dry::accept(int32_t token) {
  const size_t old = text_.size();
  text_ += piece_(token);
  bool ends_breaker = false;
  for (const std::string& breaker : options_.breakers) {
    // The first place from which a match ends within this token's bytes.
    const size_t from = old - std::min(old, breaker.size() - 1);
    ends_breaker = ends_breaker || text_.find(breaker, from) != std::string::npos;
  }
  if (text_.size() > unfinished_) text_.erase(0, text_.size() - unfinished_);
  history_.push({token, ends_breaker});
}

void Dry::clear() {
  history_.clear();
  text_.clear();
}

bool Dry::contains_breaker(int32_t token) const {
  const std::string_view bytes = piece_(token);
  return std::ranges::any_of(options_.breakers, [&](const std::string& breaker) {
    return bytes.find(breaker) != std::string_view::npos;
  });
}

// With r the window read backwards, z[i] is the length of the longest passage that r begins with
// (the text's end) and that also begins at r[i]; the token after that passage is r[i - 1].
void Dry::find_continuations() {
  continuations_.clear();
  const std::span<const Entry> window = history_.last();
  const auto n = static_cast<int32_t>(window.size());
  const int32_t allowed = options_.allowed_length;
  if (n <= allowed) return;
  const auto r = [&](int32_t i) { return window[static_cast<size_t>(n - 1 - i)].token; };

  int32_t limit = 0;  // tokens after the last breaker
  while (limit < n && !window[static_cast<size_t>(n - 1 - limit)].ends_breaker) ++limit;
  if (limit < allowed) return;

  matches_.resize(window.size());
  int32_t from = 0;  // r[from, to) is the match that reaches furthest; it equals r[0, to - from)
  int32_t to = 0;
  for (int32_t i = 1; i < n; ++i) {
    int32_t length = i < to ? std::min(to - i, matches_[static_cast<size_t>(i - from)]) : 0;
    while (i + length < n && r(length) == r(i + length)) ++length;
    if (i + length > to) {
      from = i;
      to = i + length;
    }
    matches_[static_cast<size_t>(i)] = length;
    length = std::min(length, limit);
    if (length >= allowed) continuations_.push_back({r(i - 1), length});
  }
  std::ranges::sort(continuations_, [](const Continuation& a, const Continuation& b) {
    return a.token < b.token || (a.token == b.token && a.length > b.length);
  });
  const auto same = [](const Continuation& a, const Continuation& b) { return a.token == b.token; };
  continuations_.erase(std::unique(continuations_.begin(), continuations_.end(), same),
                       continuations_.end());
  std::erase_if(continuations_, [&](const Continuation& c) { return contains_breaker(c.token); });
}

float Dry::penalized(float logit, int32_t length) const {
  logit = std::min(logit, std::numeric_limits<float>::max());  // +inf minus inf would be no number
  const double penalty =
      options_.multiplier * std::pow(double{options_.base}, length - options_.allowed_length);
  // A huge penalty makes a last resort, not a ban. (A banned -inf stays.)
  const double lowest = std::min(logit, std::numeric_limits<float>::lowest());
  return static_cast<float>(std::max(logit - penalty, lowest));
}

void Dry::apply(CandidateSet& set) {
  find_continuations();
  if (continuations_.empty()) return;
  if (set.dense()) {
    const std::span<float> logits = set.logits();
    for (const Continuation& c : continuations_) {
      float& logit = logits[static_cast<size_t>(c.token)];
      logit = penalized(logit, c.length);
    }
  } else {
    for (Candidate& c : set.list()) {
      const auto found =
          std::ranges::lower_bound(continuations_, c.token, {}, &Continuation::token);
      if (found != continuations_.end() && found->token == c.token) {
        c.logit = penalized(c.logit, found->length);
      }
    }
  }
  set.changed();
}

}  // namespace sluice::engine::sampling
