// SPDX-License-Identifier: Apache-2.0
// Hyperparameters of a model, read and checked from GGUF metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"

namespace sluice::model {

enum class RopeScaling { kNone, kLinear, kYarn };

// What a user may override on the command line.
struct RopeOverride {
  std::optional<RopeScaling> scaling;
  std::optional<double> factor;
  std::optional<double> freq_base;
  std::optional<int64_t> original_context;
};

struct RopeConfig {
  double freq_base = 10000;
  int64_t dims = 0;  // rotated dimensions of a head, even
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;             // context extension
  int64_t original_context = 0;  // YaRN
  double extrapolation = 1, attention_factor = 1, beta_fast = 32, beta_slow = 1;  // YaRN
};

// The recurrent layers of a hybrid model (gated delta net).
struct DeltaNetConfig {
  int64_t conv_taps = 0;
  int64_t key_heads = 0;
  int64_t value_heads = 0;  // a multiple of key_heads
  int64_t key_dim = 0;
  int64_t value_dim = 0;

  int64_t keys() const { return key_heads * key_dim; }
  int64_t values() const { return value_heads * value_dim; }
  int64_t channels() const { return 2 * keys() + values(); }  // q, k, v
  // One layer's memory of a sequence, see sluice_recurrent_span.
  int64_t conv_floats() const { return (conv_taps - 1) * channels(); }
  int64_t state_floats() const { return key_dim * values(); }
  // What a token changes it by: q, k and v, and two gates per value head.
  int64_t input_floats() const { return channels() + 2 * value_heads; }
};

struct Config {
  std::string architecture;
  std::string name;     // general.name, may be empty
  int64_t layers = 0;   // of the main model: blocks that only draft further tokens not counted
  int64_t context = 0;  // positions it can be used for: as trained, extended by rope scaling
  int64_t trained_context = 0;
  int64_t dim = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocabulary = 0;
  float eps = 0;
  RopeConfig rope;
  int64_t hidden = 0;   // dense feed-forward width, 0 when every layer is a mixture
  int64_t experts = 0;  // 0: dense
  int64_t experts_used = 0;
  int64_t expert_hidden = 0;
  int64_t shared_expert_hidden = 0;  // 0: none
  bool attention_gate = false;       // attn_q gives a query and a gate
  DeltaNetConfig delta_net;          // used where a layer is recurrent
  std::vector<bool> recurrent;       // by layer; empty: none is
  int64_t draft_layers = 0;  // 1: behind the last layer lies a block that guesses further tokens

  int64_t attention_layers() const;  // those of the main model with a key-value cache
  int64_t cache_layers() const { return attention_layers() + draft_layers; }
  // Floats that a sequence's recurrent layers remember at any length.
  int64_t recurrent_floats() const;

  // kBadFile naming the key; kUnsupported for an architecture that the registry does not know.
  static Result<Config> read(const gguf::Gguf& file, const RopeOverride& rope);
};

}  // namespace sluice::model
