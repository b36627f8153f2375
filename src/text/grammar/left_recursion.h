// SPDX-License-Identifier: Apache-2.0
// What a compiler must know of a grammar's rules beforehand.
#pragma once

#include <vector>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

// [rule]: whether the empty text follows it.
std::vector<bool> find_nullable(const Grammar& grammar);
bool may_be_empty(const Grammar& grammar, const std::vector<bool>& nullable, ExprId expr);

// Whether some finite text follows `expr`: what is not may go on, but never ends.
bool may_end(const Grammar& grammar, ExprId expr);

// A rule that comes back to itself with something to do afterwards before a character was read, or
// -1. (Coming back with nothing to do afterwards is no more than another way to the same place.)
RuleId find_left_recursion(const Grammar& grammar, const std::vector<bool>& nullable);

}  // namespace sluice::text::grammar
