// SPDX-License-Identifier: Apache-2.0
// Runs a program: a state is the set of all places of the grammar that the text so far may have
// led to, each with its stack of calls and counters. States and their transitions are made when
// they are first needed, and kept: a step that was taken before is one look-up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/grammar/program.h"

namespace sluice::text::grammar {

using StateId = uint32_t;
using FrameId = uint32_t;

constexpr StateId kDead = 0;  // nothing can follow, and nothing has ended here

// With a trigger (`text` not empty) the text is free until that has come, then follows the grammar
// to the first place where it may end, and is free again.
struct Trigger {
  std::string text;
  bool once = false;  // the text is over behind the grammar
  // Between these two (not empty) the trigger is text like any other: where a model thinks aloud.
  std::string pause_begin, pause_end;
  bool paused = false;  // the text begins there
};

class Automaton {
 public:
  Automaton(std::shared_ptr<const Program> program, Trigger trigger);

  StateId start();
  StateId step(StateId state, uint8_t byte) {
    const StateId next = table_[size_t{state} * 256 + byte];
    return next != kUnknown ? next : compute_step(state, byte);
  }
  bool accepting(StateId state) const { return states_[state].accepting; }
  bool ends(StateId state) const { return states_[state].configs.empty(); }  // nothing can follow
  bool free(StateId state) const { return states_[state].free >= 0; }
  bool exits(StateId state) const { return states_[state].exits; }

  // Part of a state: the places within one call of a rule. `local` is a state that knows nothing of
  // the caller: where the rule ends it exits(). `after` is then the state to go on in. Counters in
  // `local` that are further than `reach` bytes from their bounds are all the same, so that long
  // strings share it.
  struct Part {
    StateId local;
    FrameId caller;
    auto operator<=>(const Part&) const = default;
  };
  std::vector<Part> parts(StateId state, int32_t reach);
  StateId after(FrameId caller);

  // Steps refused since some state would have been too large; the work so far (places visited).
  // Both since reset_work(), after which `limit` may be done before everything is refused.
  void reset_work(uint64_t limit) {
    work_ = 0;
    work_limit_ = limit;
    overflow_ = false;
  }
  bool overflow() const { return overflow_; }

  size_t bytes() const;  // of memory, roughly
  // Forgets everything but `state`, whose new name is returned. Other ids become invalid.
  StateId restart(StateId state);

 private:
  static constexpr StateId kUnknown = UINT32_MAX;

  struct Config {
    NodeId node;  // kBytes
    FrameId frame;
    auto operator<=>(const Config&) const = default;
  };
  struct State {
    std::vector<Config> configs;  // sorted
    int32_t free = -1;            // free_
    bool accepting = false;
    bool exits = false;
  };
  struct Frame {
    NodeId node;    // where to go on (calls), or the repetition
    int32_t count;  // kCallFrame, or finished rounds
    FrameId parent;
    bool operator==(const Frame&) const = default;
  };
  struct FrameHash {
    size_t operator()(const Frame& f) const;
  };
  struct Item {
    NodeId node;
    FrameId frame;
    bool consumed;  // a byte was read since the topmost repetition's round began
  };
  // Which items a closure has seen; forgets all at once.
  class Seen {
   public:
    void clear();
    bool insert(uint64_t key);

   private:
    void grow();
    std::vector<std::pair<uint64_t, uint32_t>> slots_ =
        std::vector<std::pair<uint64_t, uint32_t>>(64);
    uint32_t round_ = 0;
    size_t used_ = 0;
  };

  // In free text: the beginning of a mark that the text ends with.
  struct Free {
    bool paused;
    std::string begun;
    bool operator==(const Free&) const = default;
  };

  void clear();
  FrameId frame(NodeId node, int32_t count, FrameId parent);
  void visit_repeat(NodeId node, int32_t count, FrameId parent, bool consumed);
  StateId close();  // of work list items_, emptied
  StateId intern(State state);
  StateId compute_step(StateId state, uint8_t byte);
  StateId over();
  StateId free_step(const Free& from, uint8_t byte);
  StateId free_state(const Free& free) const;
  int32_t clamp(const Repeat& repeat, int32_t count, int32_t reach) const;

  std::shared_ptr<const Program> program_;
  Trigger trigger_;
  std::vector<Free> free_;  // of states 1 and up

  std::vector<State> states_;
  std::vector<StateId> table_;  // [states][256]
  std::unordered_multimap<uint64_t, StateId> by_hash_;
  std::vector<Frame> frames_;
  std::unordered_map<Frame, FrameId, FrameHash> frame_ids_;
  std::unordered_map<FrameId, StateId> after_;
  size_t configs_ = 0;

  std::vector<Item> items_;
  Seen seen_;
  uint64_t work_ = 0;
  uint64_t work_limit_ = UINT64_MAX;
  bool overflow_ = false;
};

}  // namespace sluice::text::grammar
