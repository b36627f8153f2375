// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/token_trie.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::text::grammar {

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, int32_t>> tokens, size_t vocabulary)
    : vocabulary_(vocabulary) {
  std::ranges::sort(tokens);
  std::vector<size_t> path = {0};  // nodes from the root to the last token
  nodes_.push_back({0, 0, 0, 0});
  std::string_view last;
  for (const auto& [text, token] : tokens) {
    SLUICE_CHECK(!text.empty() && text.size() < UINT16_MAX, "the length of a token's text");
    SLUICE_CHECK(token >= 0 && static_cast<size_t>(token) < vocabulary, "a token's id");
    longest_ = std::max(longest_, text.size());
    const auto common = static_cast<size_t>(std::ranges::mismatch(last, text).in1 - last.begin());
    for (; path.size() > common + 1; path.pop_back())
      nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
    for (size_t i = common; i < text.size(); ++i) {
      path.push_back(nodes_.size());
      nodes_.push_back({0, static_cast<uint32_t>(tokens_.size()), static_cast<uint16_t>(i + 1),
                        static_cast<uint8_t>(text[i])});
    }
    tokens_.push_back(token);
    last = text;
  }
  for (; !path.empty(); path.pop_back())
    nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back(
      {static_cast<uint32_t>(nodes_.size()), static_cast<uint32_t>(tokens_.size()), 0, 0});
}

}  // namespace sluice::text::grammar
