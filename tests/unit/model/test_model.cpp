// SPDX-License-Identifier: Apache-2.0
#include "test_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>

#include "gguf/split.h"
#include "gguf/writer.h"

namespace sluice::test {
namespace {

gguf::Value u16(uint64_t value) {
  return {gguf::ValueType::kU16, value};
}

void check(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

// Uniform, in integers: the same on every platform.
std::vector<float> random_values(const std::string& name, size_t count, float scale,
                                 uint32_t seed) {
  uint32_t hash = seed;
  for (const char c : name) hash = hash * 31 + static_cast<unsigned char>(c);
  std::mt19937 random(hash);
  std::vector<float> values(count);
  for (float& value : values)
    value = (static_cast<float>(random() >> 8) / 8388608.0f - 1.0f) * 1.7f * scale;
  return values;
}

void write_part(const TestModel& model, const std::string& path, size_t begin, size_t end, int part,
                int parts) {
  gguf::Writer writer;
  if (part == 0)
    for (const auto& [key, value] : model.keys) writer.set(key, value);
  if (parts > 1) {
    writer.set("split.no", u16(static_cast<uint64_t>(part)));
    writer.set("split.count", u16(static_cast<uint64_t>(parts)));
    writer.set("split.tensors.count",
               {gguf::ValueType::kI32, static_cast<int64_t>(model.tensors.size())});
  }
  for (size_t i = begin; i < end; ++i) {
    const TestTensor& tensor = model.tensors[i];
    writer.add_tensor(tensor.name, tensor.type, tensor.shape);
  }
  check(writer.begin(path));
  for (size_t i = begin; i < end; ++i) {
    const TestTensor& tensor = model.tensors[i];
    const size_t row_bytes = quant::row_bytes(tensor.type, tensor.shape[0]);
    std::vector<uint8_t> bytes(row_bytes * static_cast<size_t>(tensor.rows()));
    for (int64_t r = 0; r < tensor.rows(); ++r)
      quant::traits(tensor.type)
          .encode(tensor.values.data() + r * tensor.shape[0], tensor.shape[0],
                  bytes.data() + static_cast<size_t>(r) * row_bytes);
    check(writer.write(bytes));
  }
  check(writer.finish());
}

}  // namespace

void TestModel::set(const std::string& key, gguf::Value value) {
  for (auto& [name, old] : keys)
    if (name == key) {
      old = std::move(value);
      return;
    }
  keys.emplace_back(key, std::move(value));
}

void TestModel::set(const std::string& key, uint32_t value) {
  set(key, gguf::Value{gguf::ValueType::kU32, uint64_t{value}});
}

void TestModel::set(const std::string& key, float value) {
  set(key, gguf::Value{gguf::ValueType::kF32, double{value}});
}

void TestModel::set(const std::string& key, const std::string& value) {
  set(key, gguf::Value{gguf::ValueType::kString, value});
}

void TestModel::set(const std::string& key, std::vector<std::string> values) {
  set(key, gguf::Value{gguf::ValueType::kArray,
                       gguf::Array{gguf::ValueType::kString, std::move(values)}});
}

void TestModel::set(const std::string& key, std::vector<int32_t> values) {
  set(key, gguf::Value{gguf::ValueType::kArray,
                       gguf::Array{gguf::ValueType::kI32,
                                   std::vector<int64_t>(values.begin(), values.end())}});
}

void TestModel::set(const std::string& key, std::vector<bool> values) {
  set(key,
      gguf::Value{gguf::ValueType::kArray, gguf::Array{gguf::ValueType::kBool, std::move(values)}});
}

void TestModel::remove_key(const std::string& key) {
  if (std::erase_if(keys, [&](const auto& pair) { return pair.first == key; }) != 1)
    throw std::runtime_error("no key " + key);
}

TestTensor& TestModel::tensor(const std::string& name) {
  for (TestTensor& tensor : tensors)
    if (tensor.name == name) return tensor;
  throw std::runtime_error("no tensor " + name);
}

void TestModel::remove_tensor(const std::string& name) {
  if (std::erase_if(tensors, [&](const TestTensor& t) { return t.name == name; }) != 1)
    throw std::runtime_error("no tensor " + name);
}

void TestModel::set_type(quant::Type type) {
  for (TestTensor& tensor : tensors)
    if (tensor.shape.size() > 1 && tensor.name.find("conv1d") == std::string::npos)
      tensor.type = type;
}

std::string TestModel::write(const std::string& folder, const std::string& name, int parts) const {
  const std::string prefix = folder + "/" + name;
  if (parts == 1) {
    write_part(*this, prefix + ".gguf", 0, tensors.size(), 0, 1);
    return prefix + ".gguf";
  }
  const auto count = static_cast<size_t>(parts);
  for (size_t part = 0; part < count; ++part)
    write_part(*this, gguf::split_path(prefix, part + 1, count), tensors.size() * part / count,
               tensors.size() * (part + 1) / count, static_cast<int>(part), parts);
  return gguf::split_path(prefix, 1, count);
}

ModelShape hybrid() {
  ModelShape shape;
  shape.architecture = "qwen3next";
  return shape;
}

ModelShape drafting() {
  ModelShape shape = hybrid();
  shape.draft_layers = 1;
  return shape;
}

TestModel random_model(const ModelShape& s, uint32_t seed) {
  TestModel model;
  const std::string& a = s.architecture;
  const bool next = a == "qwen3next";
  const bool moe = a == "qwen3moe" || next;
  model.set("general.architecture", a);
  model.set("general.name", std::string("tiny"));
  const auto count = [&](const char* key, int64_t value) {
    model.set(a + "." + key, static_cast<uint32_t>(value));
  };
  count("block_count", s.layers + s.draft_layers);
  count("context_length", s.context);
  count("embedding_length", s.dim);
  count("feed_forward_length", s.hidden);
  count("attention.head_count", s.heads);
  count("attention.head_count_kv", s.kv_heads);
  count("attention.key_length", s.head_dim);
  count("attention.value_length", s.head_dim);
  model.set(a + ".attention.layer_norm_rms_epsilon", 1e-6f);
  model.set(a + ".rope.freq_base", 1e6f);
  if (moe) {
    count("expert_count", s.experts);
    count("expert_used_count", s.experts_used);
    count("expert_feed_forward_length", s.expert_hidden);
  }

  const int64_t values = s.value_heads * s.value_dim;
  const int64_t channels = 2 * s.key_heads * s.key_dim + values;
  if (next) {
    count("full_attention_interval", s.attention_interval);
    count("ssm.conv_kernel", s.conv_taps);
    count("ssm.state_size", s.key_dim);
    count("ssm.group_count", s.key_heads);
    count("ssm.time_step_rank", s.value_heads);
    count("ssm.inner_size", values);
    count("expert_shared_feed_forward_length", s.shared_hidden);
    count("rope.dimension_count", s.head_dim / 4);
    if (s.draft_layers > 0) count("nextn_predict_layers", s.draft_layers);
  }

  const auto add = [&](const std::string& name, std::vector<int64_t> shape, float scale,
                       float offset = 0) {
    int64_t elements = 1;
    for (const int64_t n : shape) elements *= n;
    TestTensor tensor{name, std::move(shape),
                      random_values(name, static_cast<size_t>(elements), scale, seed)};
    for (float& value : tensor.values) value += offset;
    model.tensors.push_back(std::move(tensor));
  };
  const auto matrix = [&](const std::string& name, std::vector<int64_t> shape) {
    const float scale = 1 / std::sqrt(static_cast<float>(shape[0]));
    add(name, std::move(shape), scale);
  };
  add("token_embd.weight", {s.dim, s.vocabulary}, 1);
  for (int64_t n = 0; n < s.layers + s.draft_layers; ++n) {
    const std::string p = "blk." + std::to_string(n) + ".";
    add(p + "attn_norm.weight", {s.dim}, 0.2f, 1);
    if (next && n < s.layers && (n + 1) % s.attention_interval != 0) {
      matrix(p + "attn_qkv.weight", {s.dim, channels});
      matrix(p + "attn_gate.weight", {s.dim, values});
      matrix(p + "ssm_ba.weight", {s.dim, 2 * s.value_heads});
      add(p + "ssm_conv1d.weight", {s.conv_taps, channels}, 0.5f);
      add(p + "ssm_a", {s.value_heads}, 0.3f, -0.8f);
      add(p + "ssm_dt.bias", {s.value_heads}, 0.5f, -1);
      add(p + "ssm_norm.weight", {s.value_dim}, 0.2f, 1);
      matrix(p + "ssm_out.weight", {values, s.dim});
    } else {
      matrix(p + "attn_q.weight", {s.dim, s.heads * s.head_dim * (next ? 2 : 1)});
      matrix(p + "attn_k.weight", {s.dim, s.kv_heads * s.head_dim});
      matrix(p + "attn_v.weight", {s.dim, s.kv_heads * s.head_dim});
      add(p + "attn_q_norm.weight", {s.head_dim}, 0.2f, 1);
      add(p + "attn_k_norm.weight", {s.head_dim}, 0.2f, 1);
      matrix(p + "attn_output.weight", {s.heads * s.head_dim, s.dim});
    }
    add(p + (next ? "post_attention_norm.weight" : "ffn_norm.weight"), {s.dim}, 0.2f, 1);
    if (next && s.shared_hidden > 0) {
      matrix(p + "ffn_gate_inp_shexp.weight", {s.dim});
      matrix(p + "ffn_gate_shexp.weight", {s.dim, s.shared_hidden});
      matrix(p + "ffn_up_shexp.weight", {s.dim, s.shared_hidden});
      matrix(p + "ffn_down_shexp.weight", {s.shared_hidden, s.dim});
    }
    if (moe) {
      matrix(p + "ffn_gate_inp.weight", {s.dim, s.experts});
      matrix(p + "ffn_gate_exps.weight", {s.dim, s.expert_hidden, s.experts});
      matrix(p + "ffn_up_exps.weight", {s.dim, s.expert_hidden, s.experts});
      matrix(p + "ffn_down_exps.weight", {s.expert_hidden, s.dim, s.experts});
    } else {
      matrix(p + "ffn_gate.weight", {s.dim, s.hidden});
      matrix(p + "ffn_up.weight", {s.dim, s.hidden});
      matrix(p + "ffn_down.weight", {s.hidden, s.dim});
    }
    if (n < s.layers) continue;
    matrix(p + "nextn.eh_proj.weight", {2 * s.dim, s.dim});
    for (const char* norm : {"enorm", "hnorm", "shared_head_norm"})
      add(p + "nextn." + norm + ".weight", {s.dim}, 0.2f, 1);
  }
  add("output_norm.weight", {s.dim}, 0.2f, 1);
  matrix("output.weight", {s.dim, s.vocabulary});
  return model;
}

}  // namespace sluice::test
