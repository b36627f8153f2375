// SPDX-License-Identifier: Apache-2.0
#include "model/gated_delta_net.h"

namespace sluice::model {

Result<GatedDeltaNetWeights> GatedDeltaNet::bind(Weights& weights, const std::string& prefix,
                                                 const Config& config) {
  const DeltaNetConfig& d = config.delta_net;
  GatedDeltaNetWeights bound{};
  if (weights.has(prefix + "ssm_in.weight")) {
    const int64_t group_values = d.values() / d.key_heads;
    const int64_t parts[] = {d.key_dim, d.key_dim, group_values, group_values};
    SLUICE_ASSIGN(
        const sluice_matrix joint,
        weights.regrouped_matrix(prefix + "ssm_in.weight", config.dim, d.key_heads, parts));
    bound.qkv = row_range(joint, 0, d.channels());
    bound.gate = row_range(joint, d.channels(), d.values());
  } else {
    SLUICE_ASSIGN(bound.qkv, weights.matrix(prefix + "attn_qkv.weight", config.dim, d.channels()));
    SLUICE_ASSIGN(bound.gate, weights.matrix(prefix + "attn_gate.weight", config.dim, d.values()));
  }
  SLUICE_ASSIGN(bound.ba, weights.matrix(prefix + "ssm_ba.weight", config.dim, 2 * d.value_heads));
  SLUICE_ASSIGN(bound.output, weights.matrix(prefix + "ssm_out.weight", d.values(), config.dim));
  SLUICE_ASSIGN(bound.conv,
                weights.transposed(prefix + "ssm_conv1d.weight", d.conv_taps, d.channels()));
  SLUICE_ASSIGN(bound.a, weights.vector(prefix + "ssm_a", d.value_heads));
  SLUICE_ASSIGN(bound.bias, weights.vector(prefix + "ssm_dt.bias", d.value_heads));
  SLUICE_ASSIGN(bound.norm, weights.vector(prefix + "ssm_norm.weight", d.value_dim));
  return bound;
}

Status GatedDeltaNet::reserve(int64_t rows) {
  const DeltaNetConfig& d = config_->delta_net;
  const auto floats = [&](int64_t n) { return static_cast<size_t>(rows * n) * sizeof(float); };
  SLUICE_TRY(qkv_.reserve(floats(d.channels())));
  SLUICE_TRY(conv_.reserve(floats(d.channels())));
  SLUICE_TRY(gate_.reserve(floats(d.values())));
  SLUICE_TRY(mixed_.reserve(floats(d.values())));
  return ba_.reserve(floats(2 * d.value_heads));
}

Status GatedDeltaNet::run(const GatedDeltaNetWeights& w, const Batch& batch, const float* h,
                          float* x) {
  const compute::Backend& be = *backend_;
  const DeltaNetConfig& d = config_->delta_net;
  const int64_t rows = batch.rows();

  // Coarse activations: unlike attention's, finer ones changed nothing here (docs/adr/0007).
  const sluice_product inputs[] = {
      {w.qkv, qkv_.floats(), 0, 0}, {w.gate, gate_.floats(), 0, 0}, {w.ba, ba_.floats(), 0, 0}};
  SLUICE_TRY(be.check(be->multiply(be.get(), h, rows, config_->dim, inputs, 3)));
  SLUICE_TRY(put_aside(batch));
  SLUICE_TRY(mix(w, batch.recurrent, qkv_.floats(), ba_.floats()));
  SLUICE_TRY(be.check(be->gated_norm(be.get(), mixed_.floats(), w.norm, rows * d.value_heads,
                                     d.value_dim, config_->eps, gate_.floats())));
  const sluice_product output[] = {{w.output, x, 1, 0}};
  return be.check(be->multiply(be.get(), gate_.floats(), rows, d.values(), output, 1));
}

Status GatedDeltaNet::mix(const GatedDeltaNetWeights& w,
                          std::span<const sluice_recurrent_span> spans, const float* qkv,
                          const float* ba) {
  const compute::Backend& be = *backend_;
  const DeltaNetConfig& d = config_->delta_net;
  const auto count = static_cast<int32_t>(spans.size());
  const sluice_delta_heads heads{
      static_cast<int32_t>(d.key_heads), static_cast<int32_t>(d.value_heads),
      static_cast<int32_t>(d.key_dim), static_cast<int32_t>(d.value_dim)};
  SLUICE_TRY(be.check(be->short_conv(be.get(), spans.data(), count, qkv, w.conv, d.conv_taps,
                                     d.channels(), conv_.floats())));
  return be.check(be->delta_rule(be.get(), spans.data(), count, &heads, conv_.floats(), ba, w.a,
                                 w.bias, config_->eps, mixed_.floats()));
}

Status GatedDeltaNet::put_aside(const Batch& batch) const {
  const compute::Backend& be = *backend_;
  const DeltaNetConfig& d = config_->delta_net;
  for (size_t i = 0; i < batch.recurrent.size(); ++i) {
    const sluice_recurrent_span& span = batch.recurrent[i];
    if (!span.keep) continue;
    float* qkv = batch.sequences[i]->ahead_inputs(batch.recurrent_layer);
    float* ba = qkv + Sequence::kMostAhead * d.channels();
    const std::vector<int32_t> rows = consecutive(span.first_row, span.rows);
    SLUICE_TRY(
        be.check(be->gather(be.get(), qkv_.floats(), rows.data(), span.rows, d.channels(), qkv)));
    SLUICE_TRY(be.check(
        be->gather(be.get(), ba_.floats(), rows.data(), span.rows, 2 * d.value_heads, ba)));
  }
  return {};
}

Status GatedDeltaNet::accept(const GatedDeltaNetWeights& w, const Sequence& sequence, int64_t layer,
                             int64_t rows) {
  const float* qkv = sequence.ahead_inputs(layer);
  const sluice_recurrent_span span{sequence.conv(layer), sequence.state(layer), 0, rows,
                                   sequence.length()};
  return mix(w, {&span, 1}, qkv, qkv + Sequence::kMostAhead * config_->delta_net.channels());
}

}  // namespace sluice::model
