// SPDX-License-Identifier: Apache-2.0
#include "model/ends.h"

namespace sluice::model {

Status Ends::bind(Weights& weights) {
  const Config& c = *config_;
  // A few rows of it are looked up: an accelerator's memory is too dear for that.
  SLUICE_ASSIGN(embedding_, weights.host_matrix("token_embd.weight", c.dim, c.vocabulary));
  SLUICE_ASSIGN(output_norm_, weights.vector("output_norm.weight", c.dim));
  output_ = embedding_;
  const bool own = weights.has("output.weight");
  if (own || !(*backend_)->host_memory) {
    SLUICE_ASSIGN(output_,
                  weights.matrix(own ? "output.weight" : "token_embd.weight", c.dim, c.vocabulary));
  }
  return {};
}

Status Ends::embed(const sluice_matrix& table, const int32_t* tokens, int64_t count, float* out) {
  const compute::Backend& be = *backend_;
  const compute::Backend& host = be.host();
  if (be->host_memory) return be.check(be->embed(be.get(), &table, tokens, count, out));
  const size_t bytes = static_cast<size_t>(count * table.cols) * sizeof(float);
  SLUICE_TRY(rows_.reserve(bytes));
  SLUICE_TRY(host.check(host->embed(host.get(), &table, tokens, count, rows_.floats())));
  return be.check(be->upload(be.get(), out, rows_.floats(), bytes));
}

Status Ends::begin(const Batch& batch) {
  const auto floats = [](int64_t n, int64_t m) {
    return static_cast<size_t>(n * m) * sizeof(float);
  };
  kept_ = false;
  SLUICE_TRY(x_.reserve(floats(batch.rows(), config_->dim)));
  SLUICE_TRY(h_.reserve(floats(batch.rows(), config_->dim)));
  SLUICE_TRY(out_.reserve(floats(static_cast<int64_t>(batch.wanted.size()), config_->vocabulary)));
  return embed(embedding_, batch.tokens.data(), batch.rows(), x());
}

Status Ends::keep_wanted(const Batch& batch) {
  const compute::Backend& be = *backend_;
  const int64_t rows = batch.wanted_rows();
  SLUICE_TRY(wanted_.reserve(static_cast<size_t>(rows * config_->dim) * sizeof(float)));
  SLUICE_TRY(be.check(be->gather(be.get(), x_.floats(), batch.wanted.data(), rows, config_->dim,
                                 wanted_.floats())));
  kept_ = true;
  return {};
}

Status Ends::finish(const Batch& batch, std::vector<float>& logits, const Observer& observer) {
  const compute::Backend& be = *backend_;
  const Config& c = *config_;
  const auto wanted = static_cast<int64_t>(batch.wanted.size());
  if (!kept_) SLUICE_TRY(keep_wanted(batch));
  SLUICE_TRY(be.check(be->rms_norm(be.get(), x(), output_norm_, wanted, c.dim, c.eps, h())));
  SLUICE_TRY(observe(observer, c.layers, h(), wanted));
  const sluice_product head[] = {{output_, out_.floats(), 0, 0}};
  SLUICE_TRY(be.check(be->multiply(be.get(), h(), wanted, c.dim, head, 1)));
  logits.resize(static_cast<size_t>(wanted * c.vocabulary));
  SLUICE_TRY(be.check(
      be->download(be.get(), logits.data(), out_.floats(), logits.size() * sizeof(float))));
  return be.check(be->synchronize(be.get()));
}

Status Ends::observe(const Observer& observer, int64_t stage, const float* x, int64_t rows) const {
  if (!observer) return {};
  const compute::Backend& be = *backend_;
  std::vector<float> host(static_cast<size_t>(rows * config_->dim));
  SLUICE_TRY(be.check(be->synchronize(be.get())));
  SLUICE_TRY(be.check(be->download(be.get(), host.data(), x, host.size() * sizeof(float))));
  observer(stage, host.data(), rows);
  return {};
}

}  // namespace sluice::model
