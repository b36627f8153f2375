// SPDX-License-Identifier: Apache-2.0
// A batch on its way through the layers: rows of several sequences side by side.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/rope.h"

namespace sluice::model {

struct Batch {
  std::vector<int32_t> tokens;                   // [rows]
  std::vector<sluice_span> spans;                // one per chunk; kv is set per layer
  std::vector<sluice_recurrent_span> recurrent;  // the same for recurrent layers
  std::vector<Sequence*> sequences;              // one per chunk
  std::vector<bool> tentative;                   // one per chunk
  int64_t recurrent_layer = 0;                   // that select_recurrent() was told
  std::vector<int32_t> wanted;                   // rows whose logits are wanted
  std::vector<sluice_span> wanted_spans;         // one per chunk, these rows side by side
  std::vector<float> cos, sin;                   // [rows, rotary / 2]

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t wanted_rows() const { return static_cast<int64_t>(wanted.size()); }

  void assign(std::span<const Chunk> chunks, const Rope& rope);
  // cos and sin from the spans' positions.
  void set_angles(const Rope& rope);
  // Points every span at the cache of the `layer`-th layer that has one.
  void select_cache(int64_t layer);
  // Points every recurrent span at the memory of the `layer`-th recurrent layer.
  void select_recurrent(int64_t layer);
  // Makes the stored positions part of the sequences, but for tentative ones.
  void commit() const;
  // After an error on the way.
  void abandon() const;
};

// first, first + 1, ...: rows for the backend's gather.
std::vector<int32_t> consecutive(int64_t first, int64_t count);

}  // namespace sluice::model
