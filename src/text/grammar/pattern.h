// SPDX-License-Identifier: Apache-2.0
// Regular expressions of JSON schemas.
#pragma once

#include <optional>
#include <string_view>

#include "text/grammar/json_text.h"

namespace sluice::text::grammar {

// The content of JSON strings (without quotes) in which `pattern` is found. Characters, classes
// (\d \w \s and their opposites too), groups, alternatives and repetitions; ^ and $ at the ends of
// the whole or of its alternatives. Nothing for all the rest: look-around, references, word
// boundaries, properties, more than 100 groups in each other, malformed ones.
std::optional<ExprId> pattern_expr(std::string_view pattern, Grammar& grammar, JsonText& json);

}  // namespace sluice::text::grammar
