// SPDX-License-Identifier: Apache-2.0
// Python's operations on strings, each keeping the trust of every byte.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

// The offset of the first `needle` at or after `from`, or npos; linear in any case.
size_t find_bytes(std::string_view text, std::string_view needle, size_t from);

enum class Side { kBoth, kLeft, kRight };

// Without white space, or any of the characters of `set`, at the ends.
Value strip(Budget& budget, const Text& text, const Text* set, Side side);
// `limit` < 0: as often as possible. Without a separator: at runs of white space.
std::vector<Value> split(Budget& budget, const Text& text, const Text* separator, int64_t limit);
std::vector<Value> split_from_right(Budget& budget, const Text& text, const Text* separator,
                                    int64_t limit);
// Ranges of the lines, without their ends unless `keep_ends`.
std::vector<Range> line_ranges(Budget& budget, std::string_view text, bool keep_ends);
Value replace(Budget& budget, const Text& text, const Text& old, const Text& by, int64_t limit);
int64_t count_occurrences(Budget& budget, std::string_view text, std::string_view needle);

Value upper(Budget& budget, const Text& text);
Value lower(Budget& budget, const Text& text);
// First character in title case, the others lower.
Value capitalize(Budget& budget, const Text& text);
// Words as str.title() does: every letter after a sign that has no case begins one.
Value title(Budget& budget, const Text& text);
// Words as the filter does: only white space and -({[< separate them.
Value title_words(Budget& budget, const Text& text);

enum class CharacterClass { kAlpha, kDigit, kAlnum, kSpace, kLower, kUpper };
// Whether the text is not empty and all of it is of the class (for case: all that has a case).
bool is_all(Budget& budget, std::string_view text, CharacterClass wanted);

}  // namespace sluice::text::jinja
