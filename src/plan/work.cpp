// SPDX-License-Identifier: Apache-2.0
#include "plan/work.h"

#include <algorithm>

namespace sluice::plan {
namespace {

Product product_of(const gguf::Tensor& tensor, int64_t parts = 1) {
  Product product;
  product.type = tensor.type;
  product.weights = tensor.elements() / parts;
  product.bytes = tensor.bytes / static_cast<uint64_t>(parts);
  return product;
}

uint64_t bytes_of(const std::vector<Product>& products) {
  uint64_t bytes = 0;
  for (const Product& product : products) bytes += product.bytes;
  return bytes;
}

// Keys, values and the attention's output, whose error moves the router.
bool is_fine(std::string_view name) {
  return name == "attn_k.weight" || name == "attn_v.weight" || name == "attn_output.weight";
}

LayerWork layer_of(const gguf::Gguf& file, const model::Config& config, int64_t n, bool last) {
  LayerWork layer;
  layer.recurrent =
      static_cast<size_t>(n) < config.recurrent.size() && config.recurrent[static_cast<size_t>(n)];
  const std::string prefix = fmt::format("blk.{}.", n);
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (!tensor.name.starts_with(prefix) || tensor.dimensions < 2) continue;
    const std::string_view name = std::string_view(tensor.name).substr(prefix.size());
    if (name.ends_with("_exps.weight")) {
      layer.expert.push_back(product_of(tensor, std::max<int64_t>(config.experts, 1)));
    } else if (name.ends_with("_shexp.weight")) {
      layer.shared.push_back(product_of(tensor));
    } else if (name == "ffn_gate_inp.weight") {
      layer.router = product_of(tensor);
    } else if (name.starts_with("ffn_")) {
      layer.expert.push_back(product_of(tensor));
    } else if (!name.starts_with("ssm_conv1d")) {
      Product product = product_of(tensor);
      product.fine = is_fine(name);
      // The last layer's keys and values alone are wanted of every row.
      product.late = last && !layer.recurrent && name != "attn_k.weight" && name != "attn_v.weight";
      layer.dense.push_back(product);
    }
  }
  return layer;
}

}  // namespace

uint64_t LayerWork::expert_bytes() const {
  return bytes_of(expert);
}

uint64_t Work::dense_bytes() const {
  uint64_t bytes = output.bytes;
  for (const LayerWork& layer : layers) {
    bytes += bytes_of(layer.dense) + layer.router.bytes + bytes_of(layer.shared);
    if (experts == 0) bytes += layer.expert_bytes();
  }
  return bytes;
}

uint64_t Work::expert_bytes() const {
  return experts > 0
             ? all_expert_bytes() / static_cast<uint64_t>(experts) * static_cast<uint64_t>(used)
             : 0;
}

uint64_t Work::all_expert_bytes() const {
  uint64_t bytes = 0;
  for (const LayerWork& layer : layers)
    bytes += layer.expert_bytes() * static_cast<uint64_t>(experts);
  return bytes;
}

Work work_of(const gguf::Gguf& file, const model::Config& config) {
  Work work;
  work.dim = config.dim;
  work.experts = config.experts;
  work.used = config.experts_used;
  work.heads = config.heads;
  work.kv_heads = config.kv_heads;
  work.head_dim = config.head_dim;
  work.state_floats = static_cast<double>(config.delta_net.state_floats());
  const bool recurrent_end =
      !config.recurrent.empty() && config.recurrent[static_cast<size_t>(config.layers - 1)];
  // What guesses ahead follows every row through to the end.
  work.last_layer_late = !recurrent_end && config.draft_layers == 0;
  for (int64_t n = 0; n < config.layers + config.draft_layers; ++n)
    work.layers.push_back(
        layer_of(file, config, n, work.last_layer_late && n + 1 == config.layers));
  const gguf::Tensor* output = file.find_tensor("output.weight");
  if (!output) output = file.find_tensor("token_embd.weight");
  if (output) work.output = product_of(*output);
  return work;
}

}  // namespace sluice::plan
