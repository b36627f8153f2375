// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "engine/session.h"

namespace sluice::engine {

struct Perplexity {
  double value = 0;    // exp of the mean negative log-likelihood
  double error = 0;    // standard error of `value`
  int64_t tokens = 0;  // scored
  int64_t chunks = 0;
};

// Cuts the tokens into windows of `window`, reads each with an empty context and scores its second
// half (the first half is context only), as llama.cpp's perplexity tool does. kUsage when the text
// has fewer than two windows of tokens. `progress` sees the running result after every window.
Result<Perplexity> perplexity(
    Session& session, std::span<const text::Token> tokens, int64_t window,
    const std::function<void(const Perplexity&, int64_t windows)>& progress = nullptr);

}  // namespace sluice::engine
