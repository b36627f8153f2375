// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/matcher.h"

#include <algorithm>
#include <utility>

namespace sluice::text::grammar {
namespace {

constexpr size_t kMaxMasks = 256;  // of either kind: 5 MiB for 150,000 tokens
constexpr size_t kMaxAutomatonBytes = 8 << 20;
constexpr uint64_t kMaxWork = 3'000'000;  // places visited for one mask or token

void set_bits(std::span<const int32_t> tokens, std::vector<uint64_t>& words) {
  for (const int32_t token : tokens)
    words[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<size_t>(token) % 64);
}

}  // namespace

Matcher::Matcher(std::shared_ptr<const Program> program, std::shared_ptr<const TokenTrie> trie,
                 Trigger trigger)
    : trie_(std::move(trie)),
      automaton_(std::move(program), std::move(trigger)),
      state_(automaton_.start()),
      path_(trie_->longest() + 1) {}

void Matcher::reset() {
  make_room();
  automaton_.reset_work(kMaxWork);
  state_ = automaton_.start();
}

bool Matcher::accept(std::string_view bytes) {
  make_room();
  automaton_.reset_work(kMaxWork);
  StateId state = state_;
  for (const char c : bytes) {
    state = automaton_.step(state, static_cast<uint8_t>(c));
    if (state == kDead) return false;
  }
  state_ = state;
  return true;
}

size_t Matcher::bytes() const {
  const size_t mask = (trie_->vocabulary() + 63) / 64 * sizeof(uint64_t) + 256;
  return automaton_.bytes() + (locals_.size() + masks_.size()) * mask + by_state_.size() * 64;
}

void Matcher::make_room() {
  if (automaton_.bytes() > kMaxAutomatonBytes) {
    state_ = automaton_.restart(state_);
    locals_.clear();
    by_state_.clear();
    by_parts_.clear();
    masks_.clear();
  }
  if (locals_.size() > kMaxMasks) locals_.clear();
  if (masks_.size() > kMaxMasks || by_state_.size() > 64 * kMaxMasks) {
    by_state_.clear();
    by_parts_.clear();
    masks_.clear();
  }
}

void Matcher::walk(size_t node, StateId state, std::vector<uint64_t>& words) {
  const size_t end = trie_->node(node).end;
  path_[trie_->node(node).depth] = state;
  for (size_t i = node + 1; i < end;) {
    const TokenTrie::Node& n = trie_->node(i);
    const StateId next = automaton_.step(path_[n.depth - 1U], n.byte);
    if (next == kDead) {
      i = n.end;
      continue;
    }
    set_bits(trie_->tokens_at(i), words);
    path_[n.depth] = next;
    ++i;
  }
}

const Matcher::LocalMask& Matcher::local_mask(StateId local) {
  const auto [found, fresh] = locals_.try_emplace(local);
  LocalMask& mask = found->second;
  if (!fresh) return mask;
  mask.words.assign((trie_->vocabulary() + 63) / 64, 0);
  path_[0] = local;
  for (size_t i = 1; i < trie_->size();) {
    const TokenTrie::Node& n = trie_->node(i);
    const StateId next = automaton_.step(path_[n.depth - 1U], n.byte);
    if (next == kDead) {
      i = n.end;
      continue;
    }
    set_bits(trie_->tokens_at(i), mask.words);
    if (automaton_.exits(next) && n.end > i + 1) mask.exits.push_back(static_cast<uint32_t>(i));
    path_[n.depth] = next;
    i = automaton_.ends(next) ? n.end : i + 1;
  }
  return mask;
}

Result<const TokenMask*> Matcher::mask() {
  make_room();
  if (const auto known = by_state_.find(state_); known != by_state_.end())
    return masks_[known->second].get();
  automaton_.reset_work(kMaxWork);

  const bool free = automaton_.free(state_);
  std::vector<Automaton::Part> parts;
  if (!free) {
    parts = automaton_.parts(state_, static_cast<int32_t>(trie_->longest()));
    const auto known = by_parts_.find({parts, may_end()});
    if (known != by_parts_.end()) {
      by_state_.emplace(state_, known->second);
      return masks_[known->second].get();
    }
  }
  auto mask = std::make_unique<TokenMask>();
  mask->free = free;
  mask->may_end = may_end();
  mask->words.assign((trie_->vocabulary() + 63) / 64, 0);
  if (free) {
    walk(0, state_, mask->words);
    for (const int32_t token : trie_->tokens())
      if ((mask->words[static_cast<size_t>(token) / 64] >> (token % 64) & 1) == 0)
        mask->refused.push_back(token);
  }
  for (const Automaton::Part& part : parts) {
    const LocalMask& local = local_mask(part.local);
    for (size_t i = 0; i < local.words.size(); ++i) mask->words[i] |= local.words[i];
    if (local.exits.empty()) continue;
    const StateId after = automaton_.after(part.caller);
    if (automaton_.ends(after) && !automaton_.free(after)) continue;
    for (const uint32_t node : local.exits) walk(node, after, mask->words);
  }
  if (automaton_.overflow()) {
    locals_.clear();  // what was computed last may be incomplete
    return fail(ErrorKind::kTooLarge,
                "the grammar is too ambiguous to follow here: too many ways to read the same text; "
                "avoid repetitions of what can be divided in many ways, as in (a+ a*)+");
  }
  const auto index = static_cast<uint32_t>(masks_.size());
  masks_.push_back(std::move(mask));
  by_state_.emplace(state_, index);
  if (!free) by_parts_.emplace(std::pair(std::move(parts), may_end()), index);
  return masks_.back().get();
}

}  // namespace sluice::text::grammar
