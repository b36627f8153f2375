// SPDX-License-Identifier: Apache-2.0
// What a model takes of memory, decided before anything of it is loaded. Everything that grows with
// the model, the context and the batch is in it, so that the budget is a promise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoints.h"
#include "gguf/gguf.h"
#include "model/config.h"
#include "model/sequence.h"
#include "residency/device_tier.h"

namespace sluice::engine {

struct MemoryRequest {
  uint64_t budget = 0;  // bytes that the process may use in all
  int64_t context = 0;  // positions; 0: what the model can, or what a budget leaves room for
  int64_t ubatch = 512;
  model::CacheTypes cache;
  CheckpointOptions checkpoints{0, 0, -1};  // `bytes` is shared by the sessions
  int sessions = 1;             // at the same time; 0: up to 4, as many as do not crowd out experts
  bool device = false;          // what every token needs is in an accelerator's memory
  uint64_t device_experts = 0;  // bytes of experts that are there too
  std::vector<residency::ExpertPlace> places;  // of layers' experts, as DeviceTierOptions has them
};

inline constexpr int kMostSessions = 4;  // of those that are chosen here

// Bytes.
struct MemoryPlan {
  uint64_t budget = 0;
  uint64_t weights = 0;    // all but the experts
  uint64_t experts = 0;    // what would hold all of them
  uint64_t cache = 0;      // of it, what is planned: less means that experts come and go
  uint64_t elsewhere = 0;  // of it, what an accelerator's memory holds
  uint64_t session = 0;    // of all: keys and values of the context, states, checkpoints
  uint64_t buffers = 0;    // activations, vocabulary, the program itself
  int64_t context = 0;     // of each session
  int sessions = 1;

  uint64_t total() const { return weights + cache + session + buffers; }
  bool all_experts() const { return cache + elsewhere >= experts; }
};

// kTooLarge, with the settings that come nearest, when the budget cannot hold it; `path` is for
// that message.
Result<MemoryPlan> plan_memory(const std::string& path, const gguf::Gguf& file,
                               const model::Config& config, const MemoryRequest& request);

// "memory 7.90 of 8.00 GiB: weights 1.02, experts 5.20 of 15.90 (33 %), context of 8192 0.75, ..."
std::string describe(const MemoryPlan& plan);

}  // namespace sluice::engine
