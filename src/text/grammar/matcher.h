// SPDX-License-Identifier: Apache-2.0
// Where in a grammar a text is, and which tokens may come next.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/grammar/automaton.h"
#include "text/grammar/token_trie.h"

namespace sluice::text::grammar {

// Which tokens may come. Bit t % 64 of word t / 64 is token t; only tokens of the trie are set.
struct TokenMask {
  std::vector<uint64_t> words;
  bool may_end = false;          // the text may end here
  bool free = false;             // waiting for a trigger: tokens without text may come too
  std::vector<int32_t> refused;  // where free: the few tokens of the trie that are not set
};

// One text. Not thread-safe; program and trie are shared.
class Matcher {
 public:
  Matcher(std::shared_ptr<const Program> program, std::shared_ptr<const TokenTrie> trie,
          Trigger trigger = {});

  // The text goes on with `bytes`, which may be part of a character. False, and nothing changed, if
  // the grammar does not allow them, or the places they may lead to are too many to follow.
  bool accept(std::string_view bytes);
  // Valid until the next call. kTooLarge where the grammar is so ambiguous that too many places
  // would have to be followed.
  Result<const TokenMask*> mask();

  bool may_end() const { return automaton_.accepting(state_); }
  // The text has ended: nothing can follow. (With a trigger: only if that is for once.)
  bool done() const { return !automaton_.free(state_) && automaton_.ends(state_); }
  bool free() const { return automaton_.free(state_); }
  size_t bytes() const;  // of memory, roughly
  void reset();          // to the beginning; what was computed is kept

 private:
  // Tokens that end within one call of a rule, and where in the trie it ends before the token does.
  struct LocalMask {
    std::vector<uint64_t> words;
    std::vector<uint32_t> exits;
  };

  const LocalMask& local_mask(StateId local);
  void walk(size_t node, StateId state, std::vector<uint64_t>& words);
  void make_room();

  std::shared_ptr<const TokenTrie> trie_;
  Automaton automaton_;
  StateId state_;
  std::unordered_map<StateId, LocalMask> locals_;
  std::unordered_map<StateId, uint32_t> by_state_;  // -> masks_
  std::map<std::pair<std::vector<Automaton::Part>, bool>, uint32_t> by_parts_;
  std::vector<std::unique_ptr<TokenMask>> masks_;
  std::vector<StateId> path_;  // of a walk: the state at each depth
};

}  // namespace sluice::text::grammar
