// SPDX-License-Identifier: Apache-2.0
// Byte-pair merging of one word: repeatedly joins the adjacent pair of lowest rank, the leftmost
// among equals, until no adjacent pair has a rank.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::text {

// Tokens `left` and `right`, adjacent, become `result`.
struct Merge {
  int32_t left;
  int32_t right;
  int32_t result;
};

// Working memory of Bpe::append_tokens, to be reused from word to word.
class BpeScratch {
  friend class Bpe;
  struct Symbol {
    int32_t token;  // negative: joined to the one before
    uint32_t rank;  // of the pair that begins here
    int32_t result;
    uint32_t previous;
    uint32_t next;
  };
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> queue_;
};

class Bpe {
 public:
  // byte_tokens: the token of each byte. Merges in order of rank, at most 2^31 - 1.
  explicit Bpe(const std::array<int32_t, 256>& byte_tokens, size_t merge_count);

  // The next rank. False if the pair has one already.
  bool add(const Merge& merge);

  // Appends the tokens of `word` (fewer than 2^32 - 1 bytes). O(n log n) in its length.
  void append_tokens(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  static constexpr size_t kShortWord = 128;

  struct Slot {
    uint64_t pair = 0;
    uint32_t rank = kNoRank;
    int32_t result = 0;
  };

  static uint64_t pair_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  // The pair's slot, or the empty one where it belongs.
  const Slot& find(int32_t left, int32_t right) const;
  void append_short(std::string_view word, std::vector<int32_t>& out) const;
  void append_long(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;

  std::array<int32_t, 256> byte_tokens_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  int shift_;                // takes the hash's upper bits to an index
  uint32_t next_rank_ = 0;
};

}  // namespace sluice::text
