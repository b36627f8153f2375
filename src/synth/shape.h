// SPDX-License-Identifier: Apache-2.0
// The shapes of published models: sizes, metadata, and the list of tensors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/quantize.h"
#include "gguf/writer.h"

namespace sluice::synth {

// Gated delta nets in place of attention, see qwen3next. Head widths are equal for keys and values.
struct LinearAttention {
  int64_t interval = 0;  // every interval-th layer has full attention; 0: all of them
  int64_t convolution = 0;
  int64_t head_dim = 0;
  int64_t key_heads = 0;
  int64_t value_heads = 0;
};

struct Shape {
  std::string name;
  std::string architecture;
  int64_t layers = 0;
  int64_t dim = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t rope_dims = 0;  // 0: all of head_dim
  int64_t feed_forward = 0;
  int64_t experts = 0;
  int64_t experts_used = 0;
  int64_t expert_hidden = 0;
  int64_t shared_hidden = 0;  // of the shared expert; 0: there is none
  int64_t context = 0;
  int64_t vocabulary = 0;
  LinearAttention linear;

  bool gated_attention() const { return linear.interval > 0; }
  bool full_attention(int64_t layer) const {
    return linear.interval == 0 || (layer + 1) % linear.interval == 0;
  }
};

// False, with the names there are in known_shapes(), when there is none.
bool find_shape(std::string_view name, Shape& shape);
std::string known_shapes();

// kUsage naming the flag for sizes that no file of this architecture can have.
Status check_shape(const Shape& shape);

// What the model's keys say, without the vocabulary.
void set_metadata(const Shape& shape, const gguf::Mix& mix, gguf::Writer& writer);

enum class Role {
  kEmbedding,
  kOutput,
  kNorm,
  kHeadNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kRouter,
  kExpertIn,
  kExpertOut,
  kSharedIn,
  kSharedOut,
  kSharedGate,
  kLinearIn,
  kLinearGate,
  kLinearBetaAlpha,
  kLinearConvolution,
  kLinearBias,
  kLinearDecay,
  kLinearOut,
};

struct TensorPlan {
  std::string name;
  std::vector<int64_t> shape;  // ne[0] first
  quant::Type type;
  Role role;
  int64_t layer;  // -1: of no layer
};

// All tensors in the order of the file, with the types that the published file of this mix has.
std::vector<TensorPlan> plan_tensors(const Shape& shape, const gguf::Mix& mix);

}  // namespace sluice::synth
