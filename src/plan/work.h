// SPDX-License-Identifier: Apache-2.0
// What a forward pass has to do, read from the header of a file: products by weight type, bytes
// that experts take, attention and recurrent layers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "model/config.h"

namespace sluice::plan {

// A weight matrix that is multiplied with a row of activations.
struct Product {
  quant::Type type = quant::Type::kF32;
  int64_t weights = 0;  // elements: multiply-adds of one row
  uint64_t bytes = 0;
  bool fine = false;  // activations in 16 bits: two rows for one
  bool late = false;  // of a prompt's last layer: only for the rows whose logits are wanted
};

struct LayerWork {
  bool recurrent = false;
  std::vector<Product> dense;   // beside the experts, the router not among them
  Product router;               // weights 0: none
  std::vector<Product> expert;  // parts of one expert; of a dense layer its feed-forward block
  std::vector<Product> shared;  // of the shared expert
  uint64_t expert_bytes() const;
};

struct Work {
  std::vector<LayerWork> layers;  // with what guesses further tokens: every row goes through it
  Product output;
  int64_t dim = 0;
  int64_t experts = 0;  // 0: dense
  int64_t used = 0;
  // Of one layer with a key-value cache.
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double state_floats = 0;  // of one recurrent layer
  bool last_layer_late = false;

  // What one token reads of weights, and of it experts.
  uint64_t dense_bytes() const;
  uint64_t expert_bytes() const;
  uint64_t all_expert_bytes() const;
};

Work work_of(const gguf::Gguf& file, const model::Config& config);

}  // namespace sluice::plan
