// SPDX-License-Identifier: Apache-2.0
#include "synth/shape.h"

#include <algorithm>

namespace sluice::synth {
namespace {

using quant::Type;

Shape qwen3_30b() {
  Shape s;
  s.name = "qwen3-30b-a3b";
  s.architecture = "qwen3moe";
  s.layers = 48;
  s.dim = 2048;
  s.heads = 32;
  s.kv_heads = 4;
  s.head_dim = 128;
  s.feed_forward = 6144;
  s.experts = 128;
  s.experts_used = 8;
  s.expert_hidden = 768;
  s.context = 262144;
  s.vocabulary = 151936;
  return s;
}

Shape qwen3_next_80b() {
  Shape s;
  s.name = "qwen3-next-80b-a3b";
  s.architecture = "qwen3next";
  s.layers = 48;
  s.dim = 2048;
  s.heads = 16;
  s.kv_heads = 2;
  s.head_dim = 256;
  s.rope_dims = 64;
  s.feed_forward = 5120;
  s.experts = 512;
  s.experts_used = 10;
  s.expert_hidden = 512;
  s.shared_hidden = 512;
  s.context = 262144;
  s.vocabulary = 151936;
  s.linear = {4, 4, 128, 16, 32};
  return s;
}

// The published 80B file of the Q4_K_M mix spends more on some tensors than the mix asks for.
Type published_type(const Shape& shape, const gguf::Mix& mix, const TensorPlan& tensor,
                    int64_t full_layers_before) {
  if (!shape.gated_attention() || mix.name != "Q4_K_M" || tensor.shape.size() < 2)
    return tensor.type;
  Type type = tensor.type;
  switch (tensor.role) {
    case Role::kLinearIn:
    case Role::kSharedIn:
      type = Type::kQ5_K;
      break;
    case Role::kSharedOut:
      type = Type::kQ6_K;
      break;
    case Role::kValue:
      type = gguf::more_bits(full_layers_before, shape.layers) ? Type::kQ6_K : Type::kQ4_K;
      break;
    default:
      break;
  }
  return tensor.shape[0] % quant::traits(type).block_elements ? tensor.type : type;
}

class Plan {
 public:
  Plan(const Shape& shape, const gguf::Mix& mix) : shape_(shape), mix_(mix) {}

  void add(const std::string& name, std::vector<int64_t> sizes, Role role,
           Type source = Type::kF32) {
    TensorPlan tensor{layer_ < 0 ? name : fmt::format("blk.{}.{}", layer_, name), std::move(sizes),
                      source, role, layer_};
    tensor.type =
        gguf::mix_type(mix_, {shape_.layers, true}, tensor.name, tensor.shape, tensor.type);
    tensor.type = published_type(shape_, mix_, tensor, full_layers_);
    tensors_.push_back(std::move(tensor));
  }

  void full_attention() {
    const Shape& s = shape_;
    const int64_t wide = s.heads * s.head_dim;
    add("attn_q.weight", {s.dim, s.gated_attention() ? 2 * wide : wide}, Role::kQuery);
    add("attn_k.weight", {s.dim, s.kv_heads * s.head_dim}, Role::kKey);
    add("attn_v.weight", {s.dim, s.kv_heads * s.head_dim}, Role::kValue);
    add("attn_q_norm.weight", {s.head_dim}, Role::kHeadNorm);
    add("attn_k_norm.weight", {s.head_dim}, Role::kHeadNorm);
    add("attn_output.weight", {wide, s.dim}, Role::kAttentionOutput);
    ++full_layers_;
  }

  void linear_attention() {
    const LinearAttention& n = shape_.linear;
    const int64_t inner = n.value_heads * n.head_dim;
    const int64_t channels = 2 * n.key_heads * n.head_dim + inner;
    add("attn_qkv.weight", {shape_.dim, channels}, Role::kLinearIn);
    add("attn_gate.weight", {shape_.dim, inner}, Role::kLinearGate);
    add("ssm_ba.weight", {shape_.dim, 2 * n.value_heads}, Role::kLinearBetaAlpha);
    add("ssm_conv1d.weight", {n.convolution, channels}, Role::kLinearConvolution);
    add("ssm_dt.bias", {n.value_heads}, Role::kLinearBias);
    add("ssm_a", {n.value_heads}, Role::kLinearDecay);
    add("ssm_norm.weight", {n.head_dim}, Role::kNorm);
    add("ssm_out.weight", {inner, shape_.dim}, Role::kLinearOut);
  }

  void experts() {
    const Shape& s = shape_;
    add("ffn_gate_inp.weight", {s.dim, s.experts}, Role::kRouter);
    add("ffn_gate_exps.weight", {s.dim, s.expert_hidden, s.experts}, Role::kExpertIn);
    add("ffn_up_exps.weight", {s.dim, s.expert_hidden, s.experts}, Role::kExpertIn);
    add("ffn_down_exps.weight", {s.expert_hidden, s.dim, s.experts}, Role::kExpertOut);
    if (s.shared_hidden == 0) return;
    add("ffn_gate_inp_shexp.weight", {s.dim}, Role::kSharedGate, Type::kBF16);
    add("ffn_gate_shexp.weight", {s.dim, s.shared_hidden}, Role::kSharedIn);
    add("ffn_up_shexp.weight", {s.dim, s.shared_hidden}, Role::kSharedIn);
    add("ffn_down_shexp.weight", {s.shared_hidden, s.dim}, Role::kSharedOut);
  }

  std::vector<TensorPlan> run() {
    const Shape& s = shape_;
    add("token_embd.weight", {s.dim, s.vocabulary}, Role::kEmbedding);
    for (layer_ = 0; layer_ < s.layers; ++layer_) {
      add("attn_norm.weight", {s.dim}, Role::kNorm);
      if (s.full_attention(layer_))
        full_attention();
      else
        linear_attention();
      add(s.gated_attention() ? "post_attention_norm.weight" : "ffn_norm.weight", {s.dim},
          Role::kNorm);
      experts();
    }
    layer_ = -1;
    add("output_norm.weight", {s.dim}, Role::kNorm);
    add("output.weight", {s.dim, s.vocabulary}, Role::kOutput);
    return std::move(tensors_);
  }

 private:
  const Shape& shape_;
  const gguf::Mix& mix_;
  int64_t layer_ = -1;
  int64_t full_layers_ = 0;
  std::vector<TensorPlan> tensors_;
};

}  // namespace

bool find_shape(std::string_view name, Shape& shape) {
  for (Shape known : {qwen3_30b(), qwen3_next_80b()}) {
    if (known.name != name) continue;
    shape = std::move(known);
    return true;
  }
  return false;
}

std::string known_shapes() {
  return qwen3_30b().name + " " + qwen3_next_80b().name;
}

Status check_shape(const Shape& s) {
  // Also the rows of quantised tensors: every fallback type has blocks of 32.
  if (s.dim % 32) return fail(ErrorKind::kUsage, "--embedding: must be a multiple of 32");
  if (s.expert_hidden % 32)
    return fail(ErrorKind::kUsage, "--expert-ffn: must be a multiple of 32");
  if (s.experts_used > s.experts)
    return fail(ErrorKind::kUsage, "--experts-used: must be at most --experts, which is {}",
                s.experts);
  return {};
}

void set_metadata(const Shape& s, const gguf::Mix& mix, gguf::Writer& writer) {
  const std::string prefix = s.architecture + ".";
  const auto count = [&](const char* key, int64_t value) {
    writer.set_u32(prefix + key, static_cast<uint32_t>(value));
  };
  writer.set_string("general.architecture", s.architecture);
  writer.set_string("general.type", "model");
  writer.set_string("general.name", "Synthetic " + s.name);
  writer.set_string("general.description",
                    "random weights of a published shape, written by Sluice");
  writer.set_u32("general.file_type", mix.file_type);
  if (!quant::traits(mix.base).is_float) writer.set_u32("general.quantization_version", 2);
  count("block_count", s.layers);
  count("context_length", s.context);
  count("embedding_length", s.dim);
  count("feed_forward_length", s.feed_forward);
  count("attention.head_count", s.heads);
  count("attention.head_count_kv", s.kv_heads);
  count("attention.key_length", s.head_dim);
  count("attention.value_length", s.head_dim);
  writer.set_f32(prefix + "attention.layer_norm_rms_epsilon", 1e-6f);
  writer.set_f32(prefix + "rope.freq_base", 1e7f);
  if (s.rope_dims > 0) count("rope.dimension_count", s.rope_dims);
  count("expert_count", s.experts);
  count("expert_used_count", s.experts_used);
  count("expert_feed_forward_length", s.expert_hidden);
  if (s.shared_hidden > 0) count("expert_shared_feed_forward_length", s.shared_hidden);
  const LinearAttention& n = s.linear;
  if (n.interval == 0) return;
  count("full_attention_interval", n.interval);
  count("ssm.conv_kernel", n.convolution);
  count("ssm.state_size", n.head_dim);
  count("ssm.group_count", n.key_heads);
  count("ssm.time_step_rank", n.value_heads);
  count("ssm.inner_size", n.value_heads * n.head_dim);
}

std::vector<TensorPlan> plan_tensors(const Shape& shape, const gguf::Mix& mix) {
  return Plan(shape, mix).run();
}

}  // namespace sluice::synth
