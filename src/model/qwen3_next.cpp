// SPDX-License-Identifier: Apache-2.0
// Qwen3-Next: three of four layers mix tokens by a gated delta net, the fourth by gated attention;
// all have a mixture of experts with a shared one.
#include "base/no_memory.h"
#include "model/attention.h"
#include "model/draft_block.h"
#include "model/ends.h"
#include "model/gated_delta_net.h"
#include "model/moe.h"
#include "model/registry.h"

namespace sluice::model {
namespace {

struct Layer {
  const float* mixer_norm;
  bool recurrent;
  int64_t memory;  // index among the sequence's recurrent layers, or among its caches
  // One of the two.
  GatedDeltaNetWeights delta_net;
  AttentionWeights attention;
  const float* moe_norm;
  MoeWeights moe;
};

class Qwen3Next final : public Model {
 public:
  Qwen3Next(const Config& config, const compute::Backend& backend, const gguf::Gguf& file)
      : config_(config),
        backend_(backend),
        weights_(file, backend),
        rope_(config_.rope),
        ends_(backend, config_),
        attention_(backend, config_),
        delta_net_(backend, config_),
        moe_(backend, config_.experts, config_.experts_used),
        drafts_(backend, config_, ends_) {}

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
  bool can_draft() const override { return config_.draft_layers > 0; }
  Status draft(Sequence& sequence, int32_t token, int64_t count, std::vector<int32_t>& tokens,
               std::vector<float>* logits) override {
    return or_no_memory(
        [&] { return drafts_.guess(sequence, token, count, experts_, tokens, logits); });
  }
  Status accept(Sequence& sequence, int64_t count) override;

 private:
  Status run(std::vector<float>& logits, const Observer& observer);

  const Config config_;
  const compute::Backend& backend_;
  Weights weights_;
  Rope rope_;
  Ends ends_;
  Attention attention_;
  GatedDeltaNet delta_net_;
  Moe moe_;
  DraftBlock drafts_;
  ExpertTiers experts_;
  std::vector<Layer> layers_;
  Sequence::Shape memory_;
  Batch batch_;
};

Status Qwen3Next::bind(const ExpertOptions& experts) {
  const Config& c = config_;
  memory_.kv_heads = c.kv_heads;
  memory_.head_dim = c.head_dim;
  memory_.conv_floats = c.delta_net.conv_floats();
  memory_.state_floats = c.delta_net.state_floats();
  SLUICE_ASSIGN(memory_.model, weights_.fingerprint());
  SLUICE_TRY(ends_.bind(weights_));
  for (int64_t n = 0; n < c.layers; ++n) {
    const std::string prefix = fmt::format("blk.{}.", n);
    Layer layer{};
    layer.recurrent = c.recurrent[static_cast<size_t>(n)];
    SLUICE_ASSIGN(layer.mixer_norm, weights_.vector(prefix + "attn_norm.weight", c.dim));
    if (layer.recurrent) {
      layer.memory = memory_.recurrent_layers++;
      SLUICE_ASSIGN(layer.delta_net, GatedDeltaNet::bind(weights_, prefix, c));
    } else {
      layer.memory = memory_.layers++;
      SLUICE_ASSIGN(layer.attention, Attention::bind(weights_, prefix, c));
    }
    SLUICE_ASSIGN(layer.moe_norm, weights_.vector(prefix + "post_attention_norm.weight", c.dim));
    SLUICE_ASSIGN(layer.moe, Moe::bind(weights_, prefix, c, static_cast<int>(n)));
    layers_.push_back(layer);
  }
  if (can_draft()) {
    // Its cache lies behind those of the layers, and its experts behind theirs.
    SLUICE_TRY(drafts_.bind(weights_, memory_.layers++));
    memory_.hidden_floats = c.dim;
    memory_.input_floats = c.delta_net.input_floats();
  }
  ExpertOptions kept = experts;
  kept.cache.used = static_cast<int32_t>(c.experts_used);
  SLUICE_ASSIGN(experts_, weights_.open_experts(kept));
  return {};
}

Status Qwen3Next::forward(std::span<const Chunk> chunks, std::vector<float>& logits,
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

Status Qwen3Next::run(std::vector<float>& logits, const Observer& observer) {
  const compute::Backend& be = backend_;
  const Config& c = config_;
  int64_t rows = batch_.rows();
  SLUICE_TRY(attention_.reserve(rows));
  SLUICE_TRY(delta_net_.reserve(rows));
  SLUICE_TRY(ends_.begin(batch_));
  SLUICE_TRY(attention_.begin(batch_));
  float* x = ends_.x();
  float* h = ends_.h();

  SLUICE_TRY(ends_.observe(observer, 0, x, rows));
  for (int64_t n = 0; n < c.layers; ++n) {
    const Layer& layer = layers_[static_cast<size_t>(n)];
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, layer.mixer_norm, rows, c.dim, c.eps, h)));
    if (layer.recurrent) {
      batch_.select_recurrent(layer.memory);
      SLUICE_TRY(delta_net_.run(layer.delta_net, batch_, h, x));
    } else {
      batch_.select_cache(layer.memory);
      // What guesses tokens follows every row to the end.
      if (n + 1 < c.layers || batch_.wanted_rows() == rows || can_draft()) {
        SLUICE_TRY(attention_.run(layer.attention, batch_, h, x));
      } else {
        SLUICE_TRY(ends_.keep_wanted(batch_));
        x = ends_.x();
        SLUICE_TRY(attention_.run_wanted(layer.attention, batch_, h, x));
        rows = batch_.wanted_rows();
      }
    }
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, layer.moe_norm, rows, c.dim, c.eps, h)));
    SLUICE_TRY(moe_.run(layer.moe, experts_, h, rows, x));
    if (n + 1 < c.layers) SLUICE_TRY(ends_.observe(observer, n + 1, x, rows));
  }
  if (can_draft()) SLUICE_TRY(drafts_.follow(batch_, x));
  return ends_.finish(batch_, logits, observer);
}

Status Qwen3Next::accept(Sequence& sequence, int64_t count) {
  if (count == 0) return {};
  const auto take = [&]() -> Status {
    sequence.make_room();
    SLUICE_TRY(delta_net_.reserve(count));
    for (const Layer& layer : layers_)
      if (layer.recurrent)
        SLUICE_TRY(delta_net_.accept(layer.delta_net, sequence, layer.memory, count));
    return drafts_.accept(sequence, count);
  };
  const Status taken = or_no_memory(take);
  if (taken)
    sequence.advance(sequence.length() + count);
  else
    sequence.abandon();
  return taken;
}

}  // namespace

Result<std::unique_ptr<Model>> load_qwen3_next(const gguf::Gguf& file, const Config& config,
                                               const compute::Backend& backend,
                                               const ExpertOptions& experts) {
  if (config.experts == 0)
    return fail(ErrorKind::kBadFile, "{}: qwen3next.expert_count is missing or 0",
                file.files().front()->name());
  auto model = std::make_unique<Qwen3Next>(config, backend, file);
  SLUICE_TRY(model->bind(experts));
  return model;
}

}  // namespace sluice::model
