// SPDX-License-Identifier: Apache-2.0
// Positions of a session's text that it can come back to without reading the text before them
// again. Keys and values can be cut back anywhere; states of recurrent layers cannot, so that a
// model with such layers keeps copies of them. Models without keep none.
//
// Taken: at turn boundaries (Session::reuse), and in the course of a long text at the first end of
// a forward pass that is a step or more behind the last checkpoint.
//
// Thinned out when there are as many as allowed: what changes at a distance from the end makes the
// whole text behind it be read again anyway, so that the loss of a checkpoint counts in proportion
// to that distance. Dropped is the one whose loss leaves the smallest gap in this measure, which
// keeps an exponential spread: fine near the end, coarse far from it. The newest turn boundaries
// (four, or half of all if fewer) stay.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/snapshot.h"

namespace sluice::engine {

// The 80B model's states are 75 MiB, so that 13 checkpoints fill the default memory.
struct CheckpointOptions {
  int64_t count = 32;                  // most at a time; 0: none
  uint64_t bytes = uint64_t{1} << 30;  // most memory of all together
  // Tokens between those in the course of a text; 0: after every forward pass; < 0: at turns only.
  // The default is a forward pass's default size: no pass is cut for it, a change near the end
  // costs at most that many tokens besides its own, and a copy takes milliseconds where reading
  // them takes seconds.
  int64_t step = 512;
};

// Only the books: who takes and restores the memory is the session.
class Checkpoints {
 public:
  struct Entry {
    int64_t position = 0;  // tokens before it
    bool turn = false;
    std::shared_ptr<const model::Snapshot> memory;  // also of who is writing it to a file
    std::vector<float> logits;                      // of the token before it; empty: unknown
  };

  Checkpoints() = default;  // keeps none
  Checkpoints(int64_t limit, int64_t step) : limit_(limit), step_(step) {}

  int64_t limit() const { return limit_; }
  std::span<const Entry> entries() const { return entries_; }  // by position
  uint64_t bytes() const;
  // Position of the last one, 0 when there is none.
  int64_t newest() const { return entries_.empty() ? 0 : entries_.back().position; }
  // Whether the text has gone on far enough for one at `position`.
  bool due(int64_t position) const;

  // Drops one if there are as many as allowed, before `add` at `position`.
  void make_room(int64_t position);
  // There must be room, and `entry` be behind the newest.
  void add(Entry entry);
  // The newest one turns out to be a turn's; `logits` may be empty.
  void mark_turn(std::span<const float> logits);
  // The last one at or before `position`, nullptr when there is none.
  const Entry* nearest(int64_t position) const;
  // Forgets those behind `position`.
  void truncate(int64_t position);

 private:
  std::vector<Entry> entries_;
  int64_t limit_ = 0;
  int64_t step_ = -1;
};

}  // namespace sluice::engine
