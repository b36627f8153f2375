// SPDX-License-Identifier: Apache-2.0
// Qwen3, dense and mixture-of-experts: the same block, with or without a router.
#include <numeric>

#include "model/attention.h"
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
        attention_(backend, config_),
        moe_(backend, config_.experts, config_.experts_used),
        x_(backend),
        h_(backend),
        out_(backend) {}

  Status bind(int threads);

  const Config& config() const override { return config_; }
  uint64_t weight_bytes() const override { return weights_.bytes() + experts_.bytes(); }
  void record_experts(residency::TraceWriter* trace) override { experts_.record_to(trace); }
  Result<Sequence> create_sequence(int64_t capacity, const CacheTypes& types) const override {
    return Sequence::create(backend_, {config_.layers, config_.kv_heads, config_.head_dim},
                            capacity, types);
  }
  Status forward(std::span<const Chunk> chunks, std::vector<float>& logits,
                 const Observer& observer) override;

 private:
  Status reserve(int64_t rows, int64_t wanted);
  Status feed_forward(const Layer& layer, int64_t rows);
  Status observe(const Observer& observer, int64_t stage, const float* x, int64_t rows) const;

  const Config config_;
  const compute::Backend& backend_;
  Weights weights_;
  Rope rope_;
  Attention attention_;
  Moe moe_;
  residency::ExpertCache experts_;

  sluice_matrix embedding_{};
  std::vector<Layer> layers_;
  const float* output_norm_ = nullptr;
  sluice_matrix output_{};

  Batch batch_;
  std::vector<int32_t> every_row_;
  std::vector<float> ones_;
  compute::DeviceArray x_;    // residual stream [rows, dim]
  compute::DeviceArray h_;    // normalised [rows, dim]
  compute::DeviceArray out_;  // logits [wanted, vocabulary]
};

Status Qwen3::bind(int threads) {
  const Config& c = config_;
  SLUICE_ASSIGN(embedding_, weights_.matrix("token_embd.weight", c.dim, c.vocabulary));
  for (int64_t n = 0; n < c.layers; ++n) {
    const std::string prefix = fmt::format("blk.{}.", n);
    Layer layer{};
    SLUICE_ASSIGN(layer.attention_norm, weights_.vector(prefix + "attn_norm.weight", c.dim));
    SLUICE_ASSIGN(layer.attention, Attention::bind(weights_, prefix, c));
    SLUICE_ASSIGN(layer.ffn_norm, weights_.vector(prefix + "ffn_norm.weight", c.dim));
    if (c.experts > 0) {
      SLUICE_ASSIGN(layer.moe.router,
                    weights_.matrix(prefix + "ffn_gate_inp.weight", c.dim, c.experts));
      SLUICE_ASSIGN(layer.moe.stack, weights_.experts(prefix, c.dim, c.expert_hidden, c.experts));
      layer.moe.layer = static_cast<int>(n);
    } else {
      SLUICE_ASSIGN(layer.gate, weights_.matrix(prefix + "ffn_gate.weight", c.dim, c.hidden));
      SLUICE_ASSIGN(layer.up, weights_.matrix(prefix + "ffn_up.weight", c.dim, c.hidden));
      SLUICE_ASSIGN(layer.down, weights_.matrix(prefix + "ffn_down.weight", c.hidden, c.dim));
    }
    layers_.push_back(layer);
  }
  SLUICE_ASSIGN(output_norm_, weights_.vector("output_norm.weight", c.dim));
  // A tied model has no output matrix of its own.
  output_ = embedding_;
  if (weights_.has("output.weight")) {
    SLUICE_ASSIGN(output_, weights_.matrix("output.weight", c.dim, c.vocabulary));
  }
  SLUICE_ASSIGN(experts_, weights_.load_experts(threads));
  return {};
}

Status Qwen3::reserve(int64_t rows, int64_t wanted) {
  const auto floats = [](int64_t n, int64_t m) {
    return static_cast<size_t>(n * m) * sizeof(float);
  };
  SLUICE_TRY(x_.reserve(floats(rows, config_.dim)));
  SLUICE_TRY(h_.reserve(floats(rows, config_.dim)));
  SLUICE_TRY(out_.reserve(floats(wanted, config_.vocabulary)));
  return attention_.reserve(rows);
}

Status Qwen3::observe(const Observer& observer, int64_t stage, const float* x, int64_t rows) const {
  if (!observer) return {};
  std::vector<float> host(static_cast<size_t>(rows * config_.dim));
  SLUICE_TRY(backend_.check(backend_->synchronize(backend_.get())));
  SLUICE_TRY(backend_.check(
      backend_->download(backend_.get(), host.data(), x, host.size() * sizeof(float))));
  observer(stage, host.data(), rows);
  return {};
}

// x += ffn(h)
Status Qwen3::feed_forward(const Layer& layer, int64_t rows) {
  if (config_.experts > 0) return moe_.run(layer.moe, experts_, h_.floats(), rows, x_.floats());
  while (static_cast<int64_t>(every_row_.size()) < rows) {
    every_row_.push_back(static_cast<int32_t>(every_row_.size()));
    ones_.push_back(1.0f);
  }
  const sluice_expert dense{layer.gate,        layer.up,     layer.down,
                            every_row_.data(), ones_.data(), static_cast<int32_t>(rows)};
  return backend_.check(
      backend_->experts(backend_.get(), h_.floats(), rows, config_.dim, &dense, 1, x_.floats()));
}

Status Qwen3::forward(std::span<const Chunk> chunks, std::vector<float>& logits,
                      const Observer& observer) {
  const compute::Backend& be = backend_;
  const Config& c = config_;
  batch_.assign(chunks, rope_);
  const int64_t rows = batch_.rows();
  const auto wanted = static_cast<int64_t>(batch_.wanted.size());
  if (rows == 0) {
    logits.clear();
    return {};
  }
  SLUICE_TRY(reserve(rows, wanted));
  float* x = x_.floats();
  float* h = h_.floats();

  SLUICE_TRY(be.check(be->embed(be.get(), &embedding_, batch_.tokens.data(), rows, x)));
  SLUICE_TRY(attention_.begin(batch_));
  SLUICE_TRY(observe(observer, 0, x, rows));
  for (int64_t n = 0; n < c.layers; ++n) {
    const Layer& layer = layers_[static_cast<size_t>(n)];
    batch_.select_layer(n);
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, layer.attention_norm, rows, c.dim, c.eps, h)));
    SLUICE_TRY(attention_.run(layer.attention, batch_, h, x));
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, layer.ffn_norm, rows, c.dim, c.eps, h)));
    SLUICE_TRY(feed_forward(layer, rows));
    if (n + 1 < c.layers) SLUICE_TRY(observe(observer, n + 1, x, rows));
  }

  SLUICE_TRY(be.check(be->gather(be.get(), x, batch_.wanted.data(), wanted, c.dim, h)));
  SLUICE_TRY(be.check(be->rms_norm(be.get(), h, output_norm_, wanted, c.dim, c.eps, h)));
  SLUICE_TRY(observe(observer, c.layers, h, wanted));
  const sluice_product head[] = {{output_, out_.floats(), 0, 0}};
  SLUICE_TRY(be.check(be->multiply(be.get(), h, wanted, c.dim, head, 1)));

  logits.resize(static_cast<size_t>(wanted * c.vocabulary));
  SLUICE_TRY(be.check(
      be->download(be.get(), logits.data(), out_.floats(), logits.size() * sizeof(float))));
  SLUICE_TRY(be.check(be->synchronize(be.get())));
  batch_.commit();
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> load_qwen3(const gguf::Gguf& file, const Config& config,
                                          const compute::Backend& backend, int threads) {
  if (config.architecture == "qwen3moe" && config.experts == 0)
    return fail(ErrorKind::kBadFile, "{}: qwen3moe.expert_count is missing or 0",
                file.files().front()->name());
  auto model = std::make_unique<Qwen3>(config, backend, file);
  SLUICE_TRY(model->bind(threads));
  return model;
}

}  // namespace sluice::model
