// SPDX-License-Identifier: Apache-2.0
// DRY ("don't repeat yourself"): a token that would continue a passage of the history which the
// text now ends with again is penalised, exponentially in the passage's length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/candidates.h"
#include "engine/sampling/history.h"

namespace sluice::engine::sampling {

class Dry {
 public:
  struct Options {
    float multiplier;
    float base;
    int allowed_length;  // passages shorter than this go free
    int last_n;          // window of the history; -1: everything
    // No passage reaches back over one of these strings, and a token that contains one is never
    // penalised. Found in the text's bytes, so tokens may cut them anywhere.
    std::vector<std::string> breakers;
  };

  // piece: the bytes of a token; kept and called as long as this lives.
  Dry(Options options, std::function<std::string_view(int32_t)> piece);

  void accept(int32_t token);
  void clear();
  // Subtracts multiplier * base^(length - allowed_length) for the longest passage of at least
  // allowed_length tokens a candidate would continue. Linear in the window.
  void apply(CandidateSet& set);

 private:
  struct Entry {
    int32_t token;
    bool ends_breaker;  // a breaker's last byte lies in this token
  };
  struct Continuation {
    int32_t token;
    int32_t length;
  };

  bool contains_breaker(int32_t token) const;
  void find_continuations();
  float penalized(float logit, int32_t length) const;

  Options options_;
  std::function<std::string_view(int32_t)> piece_;
  size_t unfinished_ = 0;  // bytes of the longest breaker without its last
  std::string text_;       // the last unfinished_ bytes of the history: a breaker may have begun
  History<Entry> history_;
  std::vector<int32_t> matches_;             // the Z array
  std::vector<Continuation> continuations_;  // by token, each once
};

}  // namespace sluice::engine::sampling
