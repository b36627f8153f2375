// SPDX-License-Identifier: Apache-2.0
// Feeds a session token by token, and reads ahead where the model can guess what comes: the tokens
// that were guessed right are there already when they are asked for. A guess is right when the
// sampler picks that very token from the model's own logits, so that the text is the same with and
// without.
#pragma once

#include <span>
#include <vector>

#include "engine/draft_policy.h"
#include "engine/session.h"

namespace sluice::engine {

class Lookahead {
 public:
  // Without a policy, or for a model that cannot guess, nothing is read ahead. Session and policy
  // must outlive it; until settle() the session must not be used.
  Lookahead(Session& session, DraftPolicy* policy);

  // Of the last token.
  std::span<float> logits();
  // Tokens of the session, those that it does not know of yet counted.
  int64_t length() const { return session_.length() + taken_; }
  // Appends a token. At most `most` tokens behind it are worth guessing.
  Status feed(text::Token token, int64_t most);
  // The session holds what was fed, and nothing else. Its logits are gone if something was read
  // ahead.
  Status settle();

  int64_t guessed() const { return guessed_; }
  int64_t right() const { return right_; }

 private:
  Status keep();

  Session& session_;
  DraftPolicy* policy_;
  std::vector<text::Token> ahead_;  // the last certain token, and the guesses behind it
  std::vector<float> logits_;       // [ahead_, vocabulary]
  int64_t taken_ = 0;               // tokens of ahead_ that were fed; 0: nothing was read ahead
  double seconds_ = 0;              // that reading took
  int64_t guessed_ = 0, right_ = 0;
};

}  // namespace sluice::engine
