// SPDX-License-Identifier: Apache-2.0
// A model bound to its weights: token ids in, logits out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "compute/backend.h"
#include "model/config.h"
#include "model/sequence.h"
#include "residency/device_tier.h"
#include "residency/expert_cache.h"

namespace sluice::model {

// Consecutive tokens of one sequence, maybe none; they are appended to it.
struct Chunk {
  Sequence* sequence;
  std::span<const int32_t> tokens;
  bool all_logits = false;  // logits of every token, else of the last one only
  // At most Sequence::kMostAhead tokens that are not appended yet: Model::accept() says how many of
  // them count, before anything else is done with the sequence. Only where can_draft().
  bool tentative = false;
};

// Sees activations on their way, for tests and tools: stage 0 is the input of the first layer,
// stage n + 1 the output of layer n, the last one the final norm's output. x [rows, dim], host
// memory.
using Observer = std::function<void(int64_t stage, const float* x, int64_t rows)>;

class Model {
 public:
  virtual ~Model() = default;

  virtual const Config& config() const = 0;
  // Bytes of all weights, wherever the experts are.
  virtual uint64_t weight_bytes() const = 0;
  // Differs between files that hold other tensors, and almost surely between other weights.
  virtual uint64_t fingerprint() const = 0;
  // Where the experts are; without layers for a dense model.
  virtual residency::ExpertCache& experts() = 0;
  // Those in a device's memory; nullptr where all are computed in the host's.
  virtual residency::DeviceTier* device_experts() { return nullptr; }
  virtual Result<Sequence> create_sequence(int64_t capacity, const CacheTypes& types) const = 0;

  // Runs the chunks as one batch. logits is resized to [wanted rows, vocabulary], in the chunks'
  // order. Token ids must be in the vocabulary and the sequences long enough (checked by the
  // caller). After an error the sequences have their old length, or 0 where they have recurrent
  // state, which cannot be taken back. Not for concurrent calls.
  virtual Status forward(std::span<const Chunk> chunks, std::vector<float>& logits,
                         const Observer& observer = nullptr) = 0;

  // Whether the file has a block that guesses further tokens, and it was loaded.
  virtual bool can_draft() const { return false; }
  // Guesses up to `count` tokens behind `token`, which is to follow the sequence; none when the
  // sequence is empty. They are as good as the block, and change nothing but speed. `logits`, if
  // given: of each guess [guesses, vocabulary]. The sequence needs room for token and guesses.
  virtual Status draft(Sequence& sequence, int32_t token, int64_t count,
                       std::vector<int32_t>& tokens, std::vector<float>* logits = nullptr);
  // After a tentative chunk: its first `count` tokens become part of the sequence, with the same
  // bits as if they alone had been read. After an error like forward().
  virtual Status accept(Sequence& sequence, int64_t count);
};

}  // namespace sluice::model
