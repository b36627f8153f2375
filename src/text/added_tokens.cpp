// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace sluice::text {

AddedTokens::AddedTokens(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.text < b.text; });
  for (const auto& entry : entries_) {
    SLUICE_CHECK(!entry.text.empty() && entry.text.size() <= kMaxLength, "length of added tokens");
    begins_[static_cast<uint8_t>(entry.text[0])] = true;
  }
  if (std::count(begins_.begin(), begins_.end(), true) == 1) {
    only_first_byte_ = static_cast<uint8_t>(entries_[0].text[0]);
  }
}

std::optional<std::pair<int32_t, int32_t>> AddedTokens::duplicate() const {
  const auto same =
      std::adjacent_find(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.text == b.text; });
  if (same == entries_.end()) return std::nullopt;
  return std::pair{same->token, (same + 1)->token};
}

void AddedTokens::append_matches(std::string_view text, size_t from, size_t to,
                                 std::vector<Match>& out) const {
  if (entries_.empty()) return;
  for (size_t i = from; i < to;) {
    if (only_first_byte_ >= 0) {
      const void* hit = std::memchr(text.data() + i, only_first_byte_, to - i);
      if (hit == nullptr) return;
      i = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
    } else if (!begins_[static_cast<uint8_t>(text[i])]) {
      ++i;
      continue;
    }
    const auto match = match_at(text, i, to);
    if (match) out.push_back(*match);
    i += match ? match->length : 1;
  }
}

// Narrows the sorted entries byte by byte to those that the text goes on with.
std::optional<AddedTokens::Match> AddedTokens::match_at(std::string_view text, size_t at,
                                                        size_t to) const {
  std::optional<Match> longest;
  auto begin = entries_.begin();
  auto end = entries_.end();
  for (size_t depth = 0; at + depth < to && begin != end; ++depth) {
    const auto byte = static_cast<uint8_t>(text[at + depth]);
    const auto at_depth = [depth](const Entry& entry) {
      return entry.text.size() > depth ? static_cast<uint8_t>(entry.text[depth]) : -1;
    };
    begin = std::partition_point(begin, end, [&](const Entry& e) { return at_depth(e) < byte; });
    end = std::partition_point(begin, end, [&](const Entry& e) { return at_depth(e) == byte; });
    if (begin != end && begin->text.size() == depth + 1) {
      longest = Match{at, depth + 1, begin->token};
    }
  }
  return longest;
}

int32_t AddedTokens::find_exact(std::string_view text) const {
  const auto match = match_at(text, 0, text.size());
  return match && match->length == text.size() ? match->token : -1;
}

}  // namespace sluice::text
