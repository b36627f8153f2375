// SPDX-License-Identifier: Apache-2.0
// Qwen3, dense and mixture-of-experts: the same block, with or without a router.
#include <numeric>

#include "base/no_memory.h"
#include "model/attention.h"
#include "model/ends.h"
#include "model/moe.h"
#include "model/registry.h"

namespace sluice::model {
namespace {

struct Layer {
  const float* attention_norm;
  AttentionWeights attention;
  const float* ffn_norm;
  // One of the two, by Config::experts.
  MoeWeights moe;
  sluice_matrix gate, up, down;
};

class Qwen3 final : public Model {
 public:
  Qwen3(const Config& config, const compute::Backend& backend, const gguf::Gguf& file)
      : config_(config),
        backend_(backend),
        weights_(file, backend),
        rope_(config_.rope),
        ends_(backend, config_),
        attention_(backend, config_),
        moe_(backend, config_.experts, config_.experts_used) {}

  Status bind(const ExpertOptions& experts);

  const Config& config() const override { return config_; }
  uint64_t weight_bytes() const override {
    return weights_.bytes() + experts_.memory->expert_bytes();
  }
  residency::ExpertCache& experts() override { return *experts_.memory; }
  residency::DeviceTier* device_experts() override { return experts_.device.get(); }
  uint64_t fingerprint() const override { return memory_.model; }
  Result<Sequence> create_sequence(int64_t capacity, const CacheTypes& types) const override {
    return Sequence::create(backend_, memory_, capacity, types);
  }
  Status forward(std::span<const Chunk> chunks, std::vector<float>& logits,
                 const Observer& observer) override;

 private:
  Status run(std::vector<float>& logits, const Observer& observer);
  Status feed_forward(const Layer& layer, const float* h, int64_t rows, float* x);

  const Config config_;
  const compute::Backend& backend_;
  Weights weights_;
  Rope rope_;
  Ends ends_;
  Attention attention_;
  Moe moe_;
  ExpertTiers experts_;

  std::vector<Layer> layers_;
  Sequence::Shape memory_;
  Batch batch_;
  std::vector<int32_t> every_row_;
  std::vector<float> ones_;
};

Status Qwen3::bind(const ExpertOptions& experts) {
  const Config& c = config_;
  memory_.layers = c.layers;
  memory_.kv_heads = c.kv_heads;
  memory_.head_dim = c.head_dim;
  SLUICE_ASSIGN(memory_.model, weights_.fingerprint());
  SLUICE_TRY(ends_.bind(weights_));
  for (int64_t n = 0; n < c.layers; ++n) {
    const std::string prefix = fmt::format("blk.{}.", n);
    Layer layer{};
    SLUICE_ASSIGN(layer.attention_norm, weights_.vector(prefix + "attn_norm.weight", c.dim));
    SLUICE_ASSIGN(layer.attention, Attention::bind(weights_, prefix, c));
    SLUICE_ASSIGN(layer.ffn_norm, weights_.vector(prefix + "ffn_norm.weight", c.dim));
    if (c.experts > 0) {
      SLUICE_ASSIGN(layer.moe, Moe::bind(weights_, prefix, c, static_cast<int>(n)));
    } else {
      SLUICE_ASSIGN(layer.gate, weights_.matrix(prefix + "ffn_gate.weight", c.dim, c.hidden));
      SLUICE_ASSIGN(layer.up, weights_.matrix(prefix + "ffn_up.weight", c.dim, c.hidden));
      SLUICE_ASSIGN(layer.down, weights_.matrix(prefix + "ffn_down.weight", c.hidden, c.dim));
    }
    layers_.push_back(layer);
  }
  ExpertOptions kept = experts;
  kept.cache.used = static_cast<int32_t>(c.experts_used);
  SLUICE_ASSIGN(experts_, weights_.open_experts(kept));
  return {};
}

// x += ffn(h)
Status Qwen3::feed_forward(const Layer& layer, const float* h, int64_t rows, float* x) {
  if (config_.experts > 0) return moe_.run(layer.moe, experts_, h, rows, x);
  while (static_cast<int64_t>(every_row_.size()) < rows) {
    every_row_.push_back(static_cast<int32_t>(every_row_.size()));
    ones_.push_back(1.0f);
  }
  const sluice_expert dense{
      layer.gate, layer.up, layer.down, every_row_.data(), ones_.data(), static_cast<int32_t>(rows),
      nullptr};
  return backend_.check(backend_->experts(backend_.get(), h, rows, config_.dim, &dense, 1, x));
}

Status Qwen3::forward(std::span<const Chunk> chunks, std::vector<float>& logits,
                      const Observer& observer) {
  SLUICE_TRY(or_no_memory([&]() -> Status {
    batch_.assign(chunks, rope_);
    return {};
  }));
  if (batch_.rows() == 0) {
    logits.clear();
    return {};
  }
  const Status done = or_no_memory([&] { return run(logits, observer); });
  if (done)
    batch_.commit();
  else
    batch_.abandon();
  return done;
}

Status Qwen3::run(std::vector<float>& logits, const Observer& observer) {
  const compute::Backend& be = backend_;
  const Config& c = config_;
  int64_t rows = batch_.rows();
  SLUICE_TRY(attention_.reserve(rows));
  SLUICE_TRY(ends_.begin(batch_));
  SLUICE_TRY(attention_.begin(batch_));
  float* x = ends_.x();
  float* h = ends_.h();

  SLUICE_TRY(ends_.observe(observer, 0, x, rows));
  for (int64_t n = 0; n < c.layers; ++n) {
    const Layer& layer = layers_[static_cast<size_t>(n)];
    batch_.select_cache(n);
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, layer.attention_norm, rows, c.dim, c.eps, h)));
    if (n + 1 < c.layers || batch_.wanted_rows() == rows) {
      SLUICE_TRY(attention_.run(layer.attention, batch_, h, x));
    } else {
      SLUICE_TRY(ends_.keep_wanted(batch_));
      x = ends_.x();
      SLUICE_TRY(attention_.run_wanted(layer.attention, batch_, h, x));
      rows = batch_.wanted_rows();
    }
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, layer.ffn_norm, rows, c.dim, c.eps, h)));
    SLUICE_TRY(feed_forward(layer, h, rows, x));
    if (n + 1 < c.layers) SLUICE_TRY(ends_.observe(observer, n + 1, x, rows));
  }
  return ends_.finish(batch_, logits, observer);
}

}  // namespace

Result<std::unique_ptr<Model>> load_qwen3(const gguf::Gguf& file, const Config& config,
                                          const compute::Backend& backend,
                                          const ExpertOptions& experts) {
  if (config.architecture == "qwen3moe" && config.experts == 0)
    return fail(ErrorKind::kBadFile, "{}: qwen3moe.expert_count is missing or 0",
                file.files().front()->name());
  auto model = std::make_unique<Qwen3>(config, backend, file);
  SLUICE_TRY(model->bind(experts));
  return model;
}

}  // namespace sluice::model
