// SPDX-License-Identifier: Apache-2.0
#include "engine/session_memory.h"

#include <algorithm>
#include <limits>

namespace sluice::engine {

SessionMemory session_memory(const model::Config& config, int64_t positions,
                             const model::CacheTypes& types, const CheckpointOptions& options) {
  SessionMemory memory;
  const uint64_t position = static_cast<uint64_t>(config.cache_layers() * config.kv_heads) *
                            (quant::row_bytes(types.key, config.head_dim) +
                             quant::row_bytes(types.value, config.head_dim));
  if (__builtin_mul_overflow(position, static_cast<uint64_t>(positions), &memory.cache))
    memory.cache = std::numeric_limits<uint64_t>::max();
  const int64_t recurrent = config.layers - config.attention_layers();
  const int64_t known = config.draft_layers * config.dim;
  const int64_t inputs = config.draft_layers * recurrent * config.delta_net.input_floats();
  memory.states = static_cast<uint64_t>(config.recurrent_floats() + known) * sizeof(float);
  memory.ahead =
      static_cast<uint64_t>(model::Sequence::kMostAhead * (inputs + known)) * sizeof(float);
  if (recurrent == 0) return memory;
  memory.checkpoint = sizeof(model::SnapshotHeader) + memory.states +
                      static_cast<uint64_t>(config.vocabulary) * sizeof(float);
  const auto fitting = static_cast<int64_t>(options.bytes / memory.checkpoint);
  memory.checkpoints = std::min({options.count, fitting, positions});
  return memory;
}

}  // namespace sluice::engine
