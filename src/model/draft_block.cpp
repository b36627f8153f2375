// SPDX-License-Identifier: Apache-2.0
#include "model/draft_block.h"

#include <algorithm>

namespace sluice::model {

DraftBlock::DraftBlock(const compute::Backend& backend, const Config& config, Ends& ends)
    : backend_(&backend),
      config_(&config),
      ends_(&ends),
      rope_(config.rope),
      attention_(backend, config),
      moe_(backend, config.experts, config.experts_used),
      known_(backend),
      pairs_(backend),
      joined_(backend),
      x_(backend),
      h_(backend),
      logits_(backend) {}

Status DraftBlock::bind(Weights& weights, int64_t cache) {
  const Config& c = *config_;
  const std::string prefix = fmt::format("blk.{}.", c.layers);
  const std::string own = prefix + "nextn.";
  cache_ = cache;
  SLUICE_ASSIGN(project_, weights.matrix(own + "eh_proj.weight", 2 * c.dim, c.dim));
  SLUICE_ASSIGN(embedding_norm_, weights.vector(own + "enorm.weight", c.dim));
  SLUICE_ASSIGN(hidden_norm_, weights.vector(own + "hnorm.weight", c.dim));
  SLUICE_ASSIGN(mixer_norm_, weights.vector(prefix + "attn_norm.weight", c.dim));
  SLUICE_ASSIGN(mixer_, Attention::bind(weights, prefix, c));
  SLUICE_ASSIGN(moe_norm_, weights.vector(prefix + "post_attention_norm.weight", c.dim));
  SLUICE_ASSIGN(experts_, Moe::bind(weights, prefix, c, static_cast<int>(c.layers)));
  // Where the file has none of its own, the model's are shared.
  output_norm_ = ends_->output_norm();
  embedding_ = ends_->embedding();
  output_ = ends_->output();
  if (weights.has(own + "shared_head_norm.weight")) {
    SLUICE_ASSIGN(output_norm_, weights.vector(own + "shared_head_norm.weight", c.dim));
  }
  if (weights.has(own + "embed_tokens.weight")) {
    SLUICE_ASSIGN(embedding_,
                  weights.host_matrix(own + "embed_tokens.weight", c.dim, c.vocabulary));
  }
  if (weights.has(own + "shared_head_head.weight")) {
    SLUICE_ASSIGN(output_, weights.matrix(own + "shared_head_head.weight", c.dim, c.vocabulary));
  }
  return {};
}

Status DraftBlock::reserve(int64_t rows) {
  const auto floats = [&](int64_t n) {
    return static_cast<size_t>(rows * n * config_->dim) * sizeof(float);
  };
  SLUICE_TRY(pairs_.reserve(floats(2)));
  SLUICE_TRY(joined_.reserve(floats(2)));
  SLUICE_TRY(x_.reserve(floats(1)));
  SLUICE_TRY(h_.reserve(floats(1)));
  return attention_.reserve(rows);
}

void DraftBlock::assign(const Batch& batch) {
  rows_.tokens.clear();
  rows_.spans.clear();
  rows_.sequences = batch.sequences;
  for (const sluice_span& span : batch.spans) {
    // The first token of a text has no position before it.
    const int64_t first = span.position == 0 ? std::min<int64_t>(1, span.rows) : 0;
    const auto begin = batch.tokens.begin() + span.first_row;
    rows_.spans.push_back(
        {{}, rows_.rows(), span.rows - first, std::max<int64_t>(span.position - 1, 0)});
    rows_.tokens.insert(rows_.tokens.end(), begin + first, begin + span.rows);
  }
  rows_.set_angles(rope_);
  rows_.select_cache(cache_);
}

Status DraftBlock::combine() {
  const compute::Backend& be = *backend_;
  const int64_t rows = rows_.rows(), dim = config_->dim;
  const float eps = config_->eps;
  float* embedded = pairs_.floats();
  float* hidden = hidden_rows();
  SLUICE_TRY(ends_->embed(embedding_, rows_.tokens.data(), rows, embedded));
  SLUICE_TRY(be.check(be->rms_norm(be.get(), embedded, embedding_norm_, rows, dim, eps, embedded)));
  SLUICE_TRY(be.check(be->rms_norm(be.get(), hidden, hidden_norm_, rows, dim, eps, hidden)));
  // Side by side: embedding, hidden, embedding, hidden, ...
  interleaved_.clear();
  for (int64_t r = 0; r < rows; ++r) {
    interleaved_.push_back(static_cast<int32_t>(r));
    interleaved_.push_back(static_cast<int32_t>(rows + r));
  }
  SLUICE_TRY(be.check(
      be->gather(be.get(), embedded, interleaved_.data(), 2 * rows, dim, joined_.floats())));
  const sluice_product product[] = {{project_, x_.floats(), 0, 0}};
  SLUICE_TRY(be.check(be->multiply(be.get(), joined_.floats(), rows, 2 * dim, product, 1)));
  return be.check(be->rms_norm(be.get(), x_.floats(), mixer_norm_, rows, dim, eps, h_.floats()));
}

Status DraftBlock::follow(const Batch& batch, const float* x) {
  const compute::Backend& be = *backend_;
  const int64_t dim = config_->dim;
  SLUICE_TRY(known_.reserve(static_cast<size_t>(batch.rows() * dim) * sizeof(float)));
  SLUICE_TRY(be.check(be->rms_norm(be.get(), x, ends_->output_norm(), batch.rows(), dim,
                                   config_->eps, known_.floats())));
  assign(batch);
  SLUICE_TRY(reserve(rows_.rows()));
  const auto copy = [&](const float* from, int64_t first, int64_t count, float* to) -> Status {
    const std::vector<int32_t> rows = consecutive(first, count);
    return be.check(be->gather(be.get(), from, rows.data(), count, dim, to));
  };
  // The hidden row of each token is that of the token before.
  for (size_t i = 0; i < batch.spans.size(); ++i) {
    const sluice_span& span = batch.spans[i];
    if (span.rows == 0) continue;
    float* to = hidden_rows() + rows_.spans[i].first_row * dim;
    if (span.position > 0) {
      SLUICE_TRY(copy(batch.sequences[i]->hidden(), 0, 1, to));
      to += dim;
    }
    SLUICE_TRY(copy(known_.floats(), span.first_row, span.rows - 1, to));
  }
  if (rows_.rows() > 0) {
    SLUICE_TRY(combine());
    SLUICE_TRY(attention_.begin(rows_));
    SLUICE_TRY(attention_.store(mixer_, rows_, h_.floats()));
  }
  for (size_t i = 0; i < batch.spans.size(); ++i) {
    const sluice_span& span = batch.spans[i];
    if (span.rows == 0) continue;
    const Sequence& sequence = *batch.sequences[i];
    if (batch.tentative[i])
      SLUICE_TRY(copy(known_.floats(), span.first_row, span.rows, sequence.ahead_hidden()));
    else
      SLUICE_TRY(copy(known_.floats(), span.first_row + span.rows - 1, 1, sequence.hidden()));
  }
  return {};
}

Status DraftBlock::accept(const Sequence& sequence, int64_t count) const {
  const compute::Backend& be = *backend_;
  const auto row = static_cast<int32_t>(count - 1);
  return be.check(
      be->gather(be.get(), sequence.ahead_hidden(), &row, 1, config_->dim, sequence.hidden()));
}

Status DraftBlock::guess(const Sequence& sequence, int32_t token, int64_t count,
                         const ExpertTiers& experts, std::vector<int32_t>& tokens,
                         std::vector<float>* logits) {
  const compute::Backend& be = *backend_;
  const Config& c = *config_;
  const auto vocabulary = static_cast<size_t>(c.vocabulary);
  tokens.clear();
  if (logits) logits->clear();
  if (sequence.length() == 0) return {};
  std::vector<float> row(vocabulary);
  SLUICE_TRY(reserve(1));
  SLUICE_TRY(logits_.reserve(vocabulary * sizeof(float)));
  const float* hidden = sequence.hidden();
  for (int64_t i = 0; i < count; ++i) {
    rows_.tokens = {token};
    rows_.sequences.clear();
    rows_.spans = {{sequence.kv(cache_), 0, 1, sequence.length() - 1 + i}};
    rows_.set_angles(rope_);
    const int32_t first = 0;
    SLUICE_TRY(be.check(be->gather(be.get(), hidden, &first, 1, c.dim, hidden_rows())));
    SLUICE_TRY(combine());
    float* x = x_.floats();
    float* h = h_.floats();
    SLUICE_TRY(attention_.begin(rows_));
    SLUICE_TRY(attention_.run(mixer_, rows_, h, x));
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, moe_norm_, 1, c.dim, c.eps, h)));
    SLUICE_TRY(moe_.run(experts_, experts, h, 1, x));
    SLUICE_TRY(be.check(be->rms_norm(be.get(), x, output_norm_, 1, c.dim, c.eps, h)));
    const sluice_product head[] = {{output_, logits_.floats(), 0, 0}};
    SLUICE_TRY(be.check(be->multiply(be.get(), h, 1, c.dim, head, 1)));
    SLUICE_TRY(
        be.check(be->download(be.get(), row.data(), logits_.floats(), row.size() * sizeof(float))));
    SLUICE_TRY(be.check(be->synchronize(be.get())));
    token = static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
    tokens.push_back(token);
    if (logits) logits->insert(logits->end(), row.begin(), row.end());
    hidden = h;
  }
  return {};
}

}  // namespace sluice::model
