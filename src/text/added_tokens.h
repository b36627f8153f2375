// SPDX-License-Identifier: Apache-2.0
// Finds the literal texts of added tokens ("<|im_start|>", "<think>") in text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text {

class AddedTokens {
 public:
  static constexpr size_t kMaxLength = 1024;  // bytes; bounds the work per character of text

  struct Entry {
    std::string_view text;  // 1 to kMaxLength bytes, kept alive by the owner
    int32_t token;
  };
  struct Match {
    size_t begin;
    size_t length;
    int32_t token;
  };

  AddedTokens() = default;
  explicit AddedTokens(std::vector<Entry> entries);

  // Two entries with the same text, if there are any.
  std::optional<std::pair<int32_t, int32_t>> duplicate() const;
  // Appends the matches in text[from, to): the leftmost, the longest of those that begin there, and
  // on from its end.
  void append_matches(std::string_view text, size_t from, size_t to, std::vector<Match>& out) const;
  // The token whose text is `text`, or -1.
  int32_t find_exact(std::string_view text) const;

 private:
  std::optional<Match> match_at(std::string_view text, size_t at, size_t to) const;

  std::vector<Entry> entries_;      // sorted by text
  std::array<bool, 256> begins_{};  // bytes that some entry begins with
  int only_first_byte_ = -1;        // if all begin with the same one, as usual
};

}  // namespace sluice::text
