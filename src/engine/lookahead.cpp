// SPDX-License-Identifier: Apache-2.0
#include "engine/lookahead.h"

#include <algorithm>

namespace sluice::engine {

Lookahead::Lookahead(Session& session, DraftPolicy* policy)
    : session_(session), policy_(session.engine().model().can_draft() ? policy : nullptr) {}

std::span<float> Lookahead::logits() {
  if (taken_ == 0) return session_.logits();
  const auto row = static_cast<size_t>(session_.engine().model().config().vocabulary);
  return std::span(logits_).subspan(static_cast<size_t>(taken_ - 1) * row, row);
}

Status Lookahead::feed(text::Token token, int64_t most) {
  if (!policy_) return session_.feed({&token, 1});
  const auto taken = static_cast<size_t>(taken_);
  if (taken > 0 && taken < ahead_.size() && ahead_[taken] == token) {
    ++taken_;
    ++right_;
    return {};
  }
  if (taken > 0) {
    const double start = policy_->now();
    SLUICE_TRY(keep());
    seconds_ += policy_->now() - start;
    policy_->record(static_cast<int64_t>(ahead_.size()) - 1, static_cast<int64_t>(taken), seconds_);
  }

  const double start = policy_->now();
  const int64_t guesses =
      std::min({policy_->next(), most, session_.capacity() - session_.length() - 1,
                model::Sequence::kMostAhead - 1});
  ahead_.clear();
  if (guesses > 0) SLUICE_TRY(session_.guess(token, guesses, ahead_));
  if (ahead_.empty()) {
    SLUICE_TRY(session_.feed({&token, 1}));
    policy_->record(0, 1, policy_->now() - start);
    return {};
  }
  guessed_ += static_cast<int64_t>(ahead_.size());
  ahead_.insert(ahead_.begin(), token);
  SLUICE_TRY(session_.read_ahead(ahead_, logits_));
  taken_ = 1;
  seconds_ = policy_->now() - start;
  return {};
}

Status Lookahead::keep() {
  const auto count = static_cast<size_t>(std::exchange(taken_, 0));
  return session_.keep_ahead(std::span(ahead_).first(count));
}

Status Lookahead::settle() {
  return taken_ > 0 ? keep() : Status{};
}

}  // namespace sluice::engine
