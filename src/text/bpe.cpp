// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"

namespace sluice::text {
namespace {

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9u;
  return x;
}

}  // namespace

Bpe::Bpe(const std::array<int32_t, 256>& byte_tokens, size_t merge_count)
    : byte_tokens_(byte_tokens) {
  SLUICE_CHECK(merge_count <= INT32_MAX, "number of merges");
  const size_t size = std::bit_ceil(merge_count + merge_count / 2 + 2);
  slots_.resize(size);
  shift_ = 64 - std::countr_zero(size);
}

const Bpe::Slot& Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t i = mix(pair) >> shift_;
  while (slots_[i].rank != kNoRank && slots_[i].pair != pair) i = (i + 1) & (slots_.size() - 1);
  return slots_[i];
}

bool Bpe::add(const Merge& merge) {
  SLUICE_CHECK(next_rank_ + size_t{1} < slots_.size(), "no more merges than announced");
  auto& slot = const_cast<Slot&>(find(merge.left, merge.right));
  if (slot.rank != kNoRank) return false;
  slot = {pair_of(merge.left, merge.right), next_rank_++, merge.result};
  return true;
}

void Bpe::append_tokens(std::string_view word, BpeScratch& scratch,
                        std::vector<int32_t>& out) const {
  if (word.size() <= kShortWord) {
    append_short(word, out);
  } else {
    append_long(word, scratch, out);
  }
}

// Searching the whole word for the lowest rank at each step beats any queue at this length.
void Bpe::append_short(std::string_view word, std::vector<int32_t>& out) const {
  std::array<int32_t, kShortWord> tokens;
  std::array<uint32_t, kShortWord> ranks;  // of the pair that begins here
  std::array<int32_t, kShortWord> results;
  size_t n = word.size();
  const auto update = [&](size_t i) {
    const Slot& slot = find(tokens[i], tokens[i + 1]);
    ranks[i] = slot.rank;
    results[i] = slot.result;
  };
  for (size_t i = 0; i < n; ++i) tokens[i] = byte_tokens_[static_cast<uint8_t>(word[i])];
  for (size_t i = 0; i + 1 < n; ++i) update(i);
  while (n > 1) {
    ranks[n - 1] = kNoRank;
    results[n - 1] = 0;
    const auto lowest = std::min_element(ranks.begin(), ranks.begin() + n);
    if (*lowest == kNoRank) break;
    const size_t i = lowest - ranks.begin();
    tokens[i] = results[i];
    const auto drop_next = [i, n](auto& values) {
      std::copy(values.begin() + i + 2, values.begin() + n, values.begin() + i + 1);
    };
    drop_next(tokens);
    drop_next(ranks);
    drop_next(results);
    --n;
    if (i > 0) update(i - 1);
    if (i + 1 < n) update(i);
  }
  out.insert(out.end(), tokens.begin(), tokens.begin() + n);
}

void Bpe::append_long(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const {
  SLUICE_CHECK(word.size() < UINT32_MAX, "length of a word");
  const auto n = static_cast<uint32_t>(word.size());
  auto& symbols = scratch.symbols_;
  auto& queue = scratch.queue_;  // rank << 32 | position: the leftmost first among equal ranks
  symbols.resize(n);
  queue.clear();
  for (uint32_t i = 0; i < n; ++i) {
    symbols[i] = {byte_tokens_[static_cast<uint8_t>(word[i])], kNoRank, 0, i - 1, i + 1};
  }
  // Sets the rank of the pair at i; an entry in the queue counts while its rank is still this one.
  const auto update = [&](uint32_t i) {
    auto& symbol = symbols[i];
    symbol.rank = kNoRank;
    if (symbol.next == n) return false;
    const Slot& slot = find(symbol.token, symbols[symbol.next].token);
    symbol.rank = slot.rank;
    symbol.result = slot.result;
    return slot.rank != kNoRank;
  };
  const auto entry = [&](uint32_t i) { return uint64_t{symbols[i].rank} << 32 | i; };
  const auto push = [&](uint32_t i) {
    if (!update(i)) return;
    queue.push_back(entry(i));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < n; ++i) {
    if (update(i)) queue.push_back(entry(i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint64_t top = queue.back();
    queue.pop_back();
    const auto i = static_cast<uint32_t>(top);
    auto& symbol = symbols[i];
    if (symbol.token < 0 || symbol.rank != top >> 32) continue;
    auto& joined = symbols[symbol.next];
    symbol.token = symbol.result;
    symbol.next = joined.next;
    joined.token = -1;
    if (symbol.next != n) symbols[symbol.next].previous = i;
    push(i);
    if (i > 0) push(symbol.previous);
  }
  for (uint32_t i = 0; i != n; i = symbols[i].next) out.push_back(symbols[i].token);
}

}  // namespace sluice::text
