// SPDX-License-Identifier: Apache-2.0
// Tiny models with random weights, written as GGUF files: tests change keys and tensors before.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gguf/gguf.h"

namespace sluice::test {

struct ModelShape {
  std::string architecture = "qwen3moe";
  int64_t layers = 2;
  int64_t context = 256;
  int64_t dim = 64;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 32;
  int64_t vocabulary = 100;
  int64_t experts = 6;  // used by qwen3moe
  int64_t experts_used = 2;
  int64_t expert_hidden = 32;
  int64_t hidden = 96;  // used by qwen3
  // Used by qwen3next.
  int64_t attention_interval = 2;  // of this many layers the last has attention
  int64_t conv_taps = 4;
  int64_t key_heads = 2;
  int64_t value_heads = 4;
  int64_t key_dim = 16;
  int64_t value_dim = 32;
  int64_t shared_hidden = 32;
  int64_t draft_layers = 0;  // 1: and a block for multi-token prediction
};

// A model of architecture qwen3next: a recurrent layer, then one with attention.
ModelShape hybrid();
// The same with a block for multi-token prediction.
ModelShape drafting();

struct TestTensor {
  std::string name;
  std::vector<int64_t> shape;  // as in the file
  std::vector<float> values;
  quant::Type type = quant::Type::kF32;

  int64_t rows() const { return static_cast<int64_t>(values.size()) / shape[0]; }
};

struct TestModel {
  std::vector<std::pair<std::string, gguf::Value>> keys;
  std::vector<TestTensor> tensors;

  void set(const std::string& key, gguf::Value value);  // replaces
  void set(const std::string& key, uint32_t value);
  void set(const std::string& key, float value);
  void set(const std::string& key, const std::string& value);
  void set(const std::string& key, std::vector<std::string> values);
  void set(const std::string& key, std::vector<int32_t> values);
  void set(const std::string& key, std::vector<bool> values);
  void remove_key(const std::string& key);
  TestTensor& tensor(const std::string& name);
  void remove_tensor(const std::string& name);
  // Matrices (two or more dimensions) get this type; vectors and convolutions stay F32.
  void set_type(quant::Type type);

  // Writes one file, or `parts` split ones; returns the (first) path. Throws on errors.
  std::string write(const std::string& folder, const std::string& name = "model",
                    int parts = 1) const;
};

// The same seed gives the same values for each tensor's name, whatever else the model has.
TestModel random_model(const ModelShape& shape, uint32_t seed = 1);

}  // namespace sluice::test
