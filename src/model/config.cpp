// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "model/registry.h"

namespace sluice::model {
namespace {

constexpr uint64_t kMaxLayers = 512;
constexpr uint64_t kMaxExperts = 1024;
constexpr uint64_t kMaxDim = 1 << 20;

// Reads `<architecture>.<key>` and checks ranges.
class Keys {
 public:
  Keys(const gguf::Gguf& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  Result<int64_t> count(const char* key, uint64_t least, uint64_t most) const {
    const std::string name = prefix_ + key;
    SLUICE_ASSIGN(const uint64_t value, file_.require_uint(name));
    return in_range(name, value, least, most);
  }

  Result<int64_t> count_or(const char* key, uint64_t fallback, uint64_t least,
                           uint64_t most) const {
    const std::string name = prefix_ + key;
    SLUICE_ASSIGN(const uint64_t value, file_.uint_or(name, fallback));
    return in_range(name, value, least, most);
  }

  Result<double> positive_or(const char* key, double fallback) const {
    const std::string name = prefix_ + key;
    SLUICE_ASSIGN(const double value, file_.number_or(name, fallback));
    if (!(value > 0) || !std::isfinite(value))
      return fail(ErrorKind::kBadFile, "{}: {} is {}, must be a positive number", path(), name,
                  value);
    return value;
  }

  Result<double> positive(const char* key) const {
    const std::string name = prefix_ + key;
    SLUICE_ASSIGN(const double value, file_.require_number(name));
    if (!(value > 0) || !std::isfinite(value))
      return fail(ErrorKind::kBadFile, "{}: {} is {}, must be a positive number", path(), name,
                  value);
    return value;
  }

  const std::string& path() const { return file_.files().front()->name(); }
  const std::string& prefix() const { return prefix_; }

 private:
  Result<int64_t> in_range(const std::string& name, uint64_t value, uint64_t least,
                           uint64_t most) const {
    if (value < least || value > most)
      return fail(ErrorKind::kBadFile, "{}: {} is {}, must be from {} to {}", path(), name, value,
                  least, most);
    return static_cast<int64_t>(value);
  }

  const gguf::Gguf& file_;
  std::string prefix_;
};

Result<RopeConfig> read_rope(const gguf::Gguf& file, const Keys& keys, int64_t head_dim,
                             int64_t context, const RopeOverride& given) {
  RopeConfig rope;
  SLUICE_ASSIGN(rope.freq_base, keys.positive_or("rope.freq_base", 10000));
  SLUICE_ASSIGN(rope.dims, keys.count_or("rope.dimension_count", static_cast<uint64_t>(head_dim), 2,
                                         static_cast<uint64_t>(head_dim)));
  if (rope.dims % 2)
    return fail(ErrorKind::kBadFile, "{}: {}rope.dimension_count is {}, must be even", keys.path(),
                keys.prefix(), rope.dims);
  SLUICE_ASSIGN(const std::string scaling,
                file.string_or(keys.prefix() + "rope.scaling.type", "none"));
  if (scaling == "linear")
    rope.scaling = RopeScaling::kLinear;
  else if (scaling == "yarn")
    rope.scaling = RopeScaling::kYarn;
  else if (scaling != "none")
    return fail(ErrorKind::kUnsupported,
                "{}: {}rope.scaling.type is \"{}\"; none, linear and yarn can be run", keys.path(),
                keys.prefix(), scaling);
  SLUICE_ASSIGN(rope.factor, keys.positive_or("rope.scaling.factor", 1));
  SLUICE_ASSIGN(rope.attention_factor, keys.positive_or("rope.scaling.attn_factor", 1));
  SLUICE_ASSIGN(rope.beta_fast, keys.positive_or("rope.scaling.yarn_beta_fast", 32));
  SLUICE_ASSIGN(rope.beta_slow, keys.positive_or("rope.scaling.yarn_beta_slow", 1));
  SLUICE_ASSIGN(rope.original_context,
                keys.count_or("rope.scaling.original_context_length",
                              static_cast<uint64_t>(context), 1, uint64_t{1} << 40));
  if (given.scaling) rope.scaling = *given.scaling;
  if (given.factor) rope.factor = *given.factor;
  if (given.freq_base) rope.freq_base = *given.freq_base;
  if (given.original_context) rope.original_context = *given.original_context;
  return rope;
}

// A key of the file that must be a multiple of another quantity.
Status divides(const Keys& keys, const char* key, int64_t value, const char* by, int64_t divisor) {
  if (value % divisor == 0) return {};
  return fail(ErrorKind::kBadFile, "{}: {}{} is {}, must be a multiple of {} {}", keys.path(),
              keys.prefix(), key, value, by, divisor);
}

// Which layers are recurrent: a list, or all but every n-th.
Result<std::vector<bool>> read_layer_kinds(const gguf::Gguf& file, const Keys& keys,
                                           int64_t layers) {
  SLUICE_ASSIGN(const int64_t interval, keys.count_or("full_attention_interval", 4, 1, kMaxLayers));
  std::vector<bool> recurrent;
  for (int64_t n = 0; n < layers; ++n) recurrent.push_back((n + 1) % interval != 0);
  const std::string name = keys.prefix() + "attention.recurrent_layers";
  const gguf::Value* value = file.find(name);
  if (!value) return recurrent;
  const auto* array = std::get_if<gguf::Array>(&value->data);
  const auto* list = array ? std::get_if<std::vector<bool>>(&array->elements) : nullptr;
  if (!list || static_cast<int64_t>(list->size()) < layers)
    return fail(ErrorKind::kBadFile, "{}: {} must be an array of bool for each of {} layers",
                keys.path(), name, layers);
  recurrent.assign(list->begin(), list->begin() + layers);
  return recurrent;
}

// What qwen3next has besides attention and experts.
Status read_hybrid(const gguf::Gguf& file, const Keys& keys, Config& config) {
  SLUICE_ASSIGN(const int64_t drafting, keys.count_or("nextn_predict_layers", 0, 0,
                                                      static_cast<uint64_t>(config.layers - 1)));
  config.layers -= drafting;
  // The key alone does not make the block: it may have been left out of the file.
  const std::string block = fmt::format("blk.{}.nextn.eh_proj.weight", config.layers);
  config.draft_layers = drafting > 0 && file.find_tensor(block) ? 1 : 0;
  config.attention_gate = true;
  SLUICE_ASSIGN(config.shared_expert_hidden,
                keys.count_or("expert_shared_feed_forward_length", 0, 0, kMaxDim));
  DeltaNetConfig& d = config.delta_net;
  SLUICE_ASSIGN(d.conv_taps, keys.count("ssm.conv_kernel", 1, 16));
  SLUICE_ASSIGN(d.key_dim, keys.count("ssm.state_size", 1, 1024));
  SLUICE_ASSIGN(d.key_heads, keys.count("ssm.group_count", 1, 4096));
  SLUICE_ASSIGN(d.value_heads, keys.count("ssm.time_step_rank", 1, 4096));
  SLUICE_ASSIGN(const int64_t values, keys.count("ssm.inner_size", 1, kMaxDim));
  SLUICE_TRY(divides(keys, "ssm.time_step_rank", d.value_heads, "ssm.group_count", d.key_heads));
  SLUICE_TRY(divides(keys, "ssm.inner_size", values, "ssm.time_step_rank", d.value_heads));
  d.value_dim = values / d.value_heads;
  if (d.value_dim % 32)
    return fail(ErrorKind::kUnsupported,
                "{}: {}ssm.inner_size {} gives {} heads of {}: the size must be a multiple of 32",
                keys.path(), keys.prefix(), values, d.value_heads, d.value_dim);
  SLUICE_ASSIGN(config.recurrent, read_layer_kinds(file, keys, config.layers));
  return {};
}

}  // namespace

int64_t Config::attention_layers() const {
  return layers - std::count(recurrent.begin(), recurrent.end(), true);
}

int64_t Config::recurrent_floats() const {
  return (layers - attention_layers()) * (delta_net.conv_floats() + delta_net.state_floats());
}

Result<Config> Config::read(const gguf::Gguf& file, const RopeOverride& rope) {
  Config config;
  SLUICE_ASSIGN(config.architecture, file.require_string("general.architecture"));
  SLUICE_ASSIGN(config.name, file.string_or("general.name", ""));
  const Keys keys(file, config.architecture + ".");
  if (!find_architecture(config.architecture))
    return fail(ErrorKind::kUnsupported, "{}: general.architecture is \"{}\"; this program runs {}",
                keys.path(), config.architecture, architecture_names());

  SLUICE_ASSIGN(config.layers, keys.count("block_count", 1, kMaxLayers));
  SLUICE_ASSIGN(config.context, keys.count("context_length", 1, uint64_t{1} << 30));
  config.trained_context = config.context;
  SLUICE_ASSIGN(config.dim, keys.count("embedding_length", 1, kMaxDim));
  SLUICE_ASSIGN(config.heads, keys.count("attention.head_count", 1, 4096));
  SLUICE_ASSIGN(config.kv_heads, keys.count_or("attention.head_count_kv",
                                               static_cast<uint64_t>(config.heads), 1, 4096));
  if (config.heads % config.kv_heads)
    return fail(ErrorKind::kBadFile,
                "{}: {}attention.head_count {} is not a multiple of head_count_kv {}", keys.path(),
                keys.prefix(), config.heads, config.kv_heads);
  SLUICE_ASSIGN(
      config.head_dim,
      keys.count_or("attention.key_length",
                    static_cast<uint64_t>(std::max<int64_t>(config.dim / config.heads, 1)), 2,
                    512));
  SLUICE_ASSIGN(
      const int64_t value_dim,
      keys.count_or("attention.value_length", static_cast<uint64_t>(config.head_dim), 2, 512));
  if (value_dim != config.head_dim || config.head_dim % 2)
    return fail(ErrorKind::kUnsupported,
                "{}: {}attention.key_length {} and value_length {} must be equal and even",
                keys.path(), keys.prefix(), config.head_dim, value_dim);
  SLUICE_ASSIGN(const double eps, keys.positive("attention.layer_norm_rms_epsilon"));
  config.eps = static_cast<float>(eps);
  SLUICE_ASSIGN(config.rope, read_rope(file, keys, config.head_dim, config.context, rope));
  if (config.rope.scaling != RopeScaling::kNone && rope.factor)
    config.context = std::max<int64_t>(
        static_cast<int64_t>(static_cast<double>(config.context) * config.rope.factor), 1);

  SLUICE_ASSIGN(config.experts, keys.count_or("expert_count", 0, 0, kMaxExperts));
  if (config.experts > 0) {
    SLUICE_ASSIGN(config.experts_used,
                  keys.count("expert_used_count", 1, static_cast<uint64_t>(config.experts)));
    SLUICE_ASSIGN(config.expert_hidden, keys.count("expert_feed_forward_length", 1, kMaxDim));
  } else {
    SLUICE_ASSIGN(config.hidden, keys.count("feed_forward_length", 1, kMaxDim));
  }

  if (config.architecture == "qwen3next") SLUICE_TRY(read_hybrid(file, keys, config));

  const gguf::Tensor* embedding = file.find_tensor("token_embd.weight");
  if (!embedding)
    return fail(ErrorKind::kBadFile,
                "{}: tensor token_embd.weight is missing: not a complete model", keys.path());
  config.vocabulary = embedding->shape[1];
  return config;
}

}  // namespace sluice::model
