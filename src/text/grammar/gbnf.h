// SPDX-License-Identifier: Apache-2.0
// Grammars as llama.cpp writes them (GBNF).
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

constexpr size_t kMaxGrammarBytes = 1 << 20;
constexpr int kMaxGroupDepth = 200;

// kUsage with line and column for what is malformed: syntax, a rule that is not defined or defined
// twice, no rule "root"; kTooLarge for more than the limits above.
Result<Grammar> parse_gbnf(std::string_view source);

}  // namespace sluice::text::grammar
