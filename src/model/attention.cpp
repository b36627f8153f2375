// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <cmath>

namespace sluice::model {

Result<AttentionWeights> Attention::bind(Weights& weights, const std::string& prefix,
                                         const Config& config) {
  const int64_t q_rows = config.heads * config.head_dim;
  const int64_t kv_rows = config.kv_heads * config.head_dim;
  AttentionWeights bound{};
  if (config.attention_gate) {
    // Of each head the query's rows, then the gate's.
    const int64_t parts[] = {config.head_dim, config.head_dim};
    SLUICE_ASSIGN(
        const sluice_matrix joint,
        weights.regrouped_matrix(prefix + "attn_q.weight", config.dim, config.heads, parts));
    bound.q = row_range(joint, 0, q_rows);
    bound.gate = row_range(joint, q_rows, q_rows);
    SLUICE_ASSIGN(bound.k, weights.matrix(prefix + "attn_k.weight", config.dim, kv_rows));
    SLUICE_ASSIGN(bound.v, weights.matrix(prefix + "attn_v.weight", config.dim, kv_rows));
  } else if (weights.has(prefix + "attn_qkv.weight")) {
    SLUICE_ASSIGN(const sluice_matrix joint,
                  weights.matrix(prefix + "attn_qkv.weight", config.dim, q_rows + 2 * kv_rows));
    bound.q = row_range(joint, 0, q_rows);
    bound.k = row_range(joint, q_rows, kv_rows);
    bound.v = row_range(joint, q_rows + kv_rows, kv_rows);
  } else {
    SLUICE_ASSIGN(bound.q, weights.matrix(prefix + "attn_q.weight", config.dim, q_rows));
    SLUICE_ASSIGN(bound.k, weights.matrix(prefix + "attn_k.weight", config.dim, kv_rows));
    SLUICE_ASSIGN(bound.v, weights.matrix(prefix + "attn_v.weight", config.dim, kv_rows));
  }
  SLUICE_ASSIGN(bound.output, weights.matrix(prefix + "attn_output.weight", q_rows, config.dim));
  SLUICE_ASSIGN(bound.q_norm, weights.vector(prefix + "attn_q_norm.weight", config.head_dim));
  SLUICE_ASSIGN(bound.k_norm, weights.vector(prefix + "attn_k_norm.weight", config.head_dim));
  return bound;
}

Status Attention::reserve(int64_t rows) {
  const auto floats = [&](int64_t n) { return static_cast<size_t>(rows * n) * sizeof(float); };
  SLUICE_TRY(q_.reserve(floats(config_->heads * config_->head_dim)));
  SLUICE_TRY(mixed_.reserve(floats(config_->heads * config_->head_dim)));
  if (config_->attention_gate)
    SLUICE_TRY(gate_.reserve(floats(config_->heads * config_->head_dim)));
  SLUICE_TRY(k_.reserve(floats(config_->kv_heads * config_->head_dim)));
  SLUICE_TRY(v_.reserve(floats(config_->kv_heads * config_->head_dim)));
  SLUICE_TRY(cos_.reserve(floats(config_->rope.dims / 2)));
  return sin_.reserve(floats(config_->rope.dims / 2));
}

Status Attention::begin(const Batch& batch) {
  const compute::Backend& be = *backend_;
  const size_t bytes = batch.cos.size() * sizeof(float);
  SLUICE_TRY(be.check(be->upload(be.get(), cos_.data(), batch.cos.data(), bytes)));
  return be.check(be->upload(be.get(), sin_.data(), batch.sin.data(), bytes));
}

Status Attention::store(const AttentionWeights& w, const Batch& batch, const float* h) {
  const compute::Backend& be = *backend_;
  const sluice_product inputs[] = {{w.k, k_.floats(), 0, 1}, {w.v, v_.floats(), 0, 1}};
  SLUICE_TRY(be.check(be->multiply(be.get(), h, batch.rows(), config_->dim, inputs, 2)));
  return store_products(w, batch);
}

Status Attention::store_products(const AttentionWeights& w, const Batch& batch) {
  const compute::Backend& be = *backend_;
  const Config& c = *config_;
  SLUICE_TRY(be.check(be->norm_rope(be.get(), k_.floats(), batch.rows(), c.kv_heads, c.head_dim,
                                    c.kv_heads * c.head_dim, w.k_norm, c.eps, cos_.floats(),
                                    sin_.floats(), c.rope.dims)));
  return be.check(be->kv_store(be.get(), batch.spans.data(),
                               static_cast<int32_t>(batch.spans.size()), k_.floats(), v_.floats()));
}

Status Attention::finish(const AttentionWeights& w, std::span<const sluice_span> spans,
                         int64_t rows, const float* cos, const float* sin, float* x) {
  const compute::Backend& be = *backend_;
  const Config& c = *config_;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  SLUICE_TRY(be.check(be->norm_rope(be.get(), q_.floats(), rows, c.heads, c.head_dim,
                                    c.heads * c.head_dim, w.q_norm, c.eps, cos, sin, c.rope.dims)));
  SLUICE_TRY(be.check(be->attention(be.get(), spans.data(), static_cast<int32_t>(spans.size()),
                                    q_.floats(), c.heads, scale, mixed_.floats())));
  if (c.attention_gate)
    SLUICE_TRY(be.check(
        be->sigmoid_gate(be.get(), gate_.floats(), rows * c.heads * c.head_dim, mixed_.floats())));
  const sluice_product output[] = {{w.output, x, 1, 1}};
  return be.check(be->multiply(be.get(), mixed_.floats(), rows, c.heads * c.head_dim, output, 1));
}

Status Attention::run(const AttentionWeights& w, const Batch& batch, const float* h, float* x) {
  const compute::Backend& be = *backend_;
  const Config& c = *config_;
  const sluice_product inputs[] = {{w.q, q_.floats(), 0, 0},
                                   {w.k, k_.floats(), 0, 1},
                                   {w.v, v_.floats(), 0, 1},
                                   {w.gate, gate_.floats(), 0, 0}};
  SLUICE_TRY(
      be.check(be->multiply(be.get(), h, batch.rows(), c.dim, inputs, c.attention_gate ? 4 : 3)));
  SLUICE_TRY(store_products(w, batch));
  return finish(w, batch.spans, batch.rows(), cos_.floats(), sin_.floats(), x);
}

Status Attention::run_wanted(const AttentionWeights& w, const Batch& batch, const float* h,
                             float* x) {
  const compute::Backend& be = *backend_;
  const Config& c = *config_;
  const int64_t rows = batch.wanted_rows();
  SLUICE_TRY(store(w, batch, h));
  const auto gather = [&](const float* from, int64_t width, compute::DeviceArray& to) -> Status {
    SLUICE_TRY(to.reserve(static_cast<size_t>(rows * width) * sizeof(float)));
    return be.check(be->gather(be.get(), from, batch.wanted.data(), rows, width, to.floats()));
  };
  SLUICE_TRY(gather(h, c.dim, wanted_h_));
  SLUICE_TRY(gather(cos_.floats(), c.rope.dims / 2, wanted_cos_));
  SLUICE_TRY(gather(sin_.floats(), c.rope.dims / 2, wanted_sin_));
  const sluice_product inputs[] = {{w.q, q_.floats(), 0, 0}, {w.gate, gate_.floats(), 0, 0}};
  SLUICE_TRY(be.check(
      be->multiply(be.get(), wanted_h_.floats(), rows, c.dim, inputs, c.attention_gate ? 2 : 1)));
  return finish(w, batch.wanted_spans, rows, wanted_cos_.floats(), wanted_sin_.floats(), x);
}

}  // namespace sluice::model
