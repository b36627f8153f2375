// SPDX-License-Identifier: Apache-2.0
// What a session takes of memory, known before the model is loaded. With quant::row_bytes(t, n) the
// bytes of n elements of type t:
//   cache = positions * (attention layers + draft layers) * kv_heads * (row_bytes(key type,
//   head_dim) +
//           row_bytes(value type, head_dim))
//   states = 4 * recurrent layers * ((conv_taps - 1) * (2 * key_heads * key_dim + value_heads *
//            value_dim) + value_heads * key_dim * value_dim) + 4 * draft layers * dim
//   ahead = 4 * draft layers * kMostAhead * (recurrent layers * (2 * key_heads * key_dim +
//           value_heads * value_dim + 2 * value_heads) + dim)
//   checkpoint = 104 (its header) + states + 4 * vocabulary (the logits of its last token)
// and at most `checkpoints` of the latter, see CheckpointOptions.
#pragma once

#include <cstdint>

#include "engine/checkpoints.h"
#include "model/config.h"
#include "model/sequence.h"

namespace sluice::engine {

struct SessionMemory {
  uint64_t cache = 0;       // positions that are not used cost nothing
  uint64_t states = 0;      // whatever the length
  uint64_t ahead = 0;       // likewise: for tokens that are read before it is known that they count
  uint64_t checkpoint = 0;  // one; 0 where the model has no recurrent layers
  int64_t checkpoints = 0;  // most at a time

  uint64_t all_checkpoints() const { return checkpoint * static_cast<uint64_t>(checkpoints); }
};

// A cache beyond 64 bits counts as the largest number.
SessionMemory session_memory(const model::Config& config, int64_t positions,
                             const model::CacheTypes& types, const CheckpointOptions& options);

}  // namespace sluice::engine
