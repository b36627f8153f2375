// SPDX-License-Identifier: Apache-2.0
// Multi-token prediction: one more layer with gated attention and a mixture of experts. From what
// the model knows at a token (its final norm's output) and the embedding of the next token it
// guesses the token after that; its own output can take the place of what the model would know
// there, for one more guess (arXiv 2404.19737, 2412.19437).
#pragma once

#include <span>
#include <vector>

#include "model/attention.h"
#include "model/ends.h"
#include "model/moe.h"

namespace sluice::model {

class DraftBlock {
 public:
  DraftBlock(const compute::Backend& backend, const Config& config, Ends& ends);

  // Binds "blk.N", N the first block behind the layers. `cache`: index among a sequence's caches.
  Status bind(Weights& weights, int64_t cache);

  // Keeps up with a batch of the model: keys and values for every position whose next token is
  // known, and what the model knows at the last one. x [rows, dim]: the last layer's output.
  Status follow(const Batch& batch, const float* x);
  // Of a tentative chunk `count` tokens (at least 1) count.
  Status accept(const Sequence& sequence, int64_t count) const;
  // See Model::draft.
  Status guess(const Sequence& sequence, int32_t token, int64_t count, const ExpertTiers& experts,
               std::vector<int32_t>& tokens, std::vector<float>* logits);

 private:
  // The tokens of `batch`, each at the position before its own: there it is the next one.
  void assign(const Batch& batch);
  // x_ = eh_proj(enorm(embedding), hnorm(hidden)), h_ = attn_norm(x_) for the tokens of rows_; the
  // hidden rows are in the second half of pairs_ already.
  Status combine();
  Status reserve(int64_t rows);
  float* hidden_rows() const { return pairs_.floats() + rows_.rows() * config_->dim; }

  const compute::Backend* backend_;
  const Config* config_;
  Ends* ends_;
  Rope rope_;
  Attention attention_;
  Moe moe_;

  int64_t cache_ = 0;
  sluice_matrix project_{}, embedding_{}, output_{};
  const float* embedding_norm_ = nullptr;
  const float* hidden_norm_ = nullptr;
  const float* mixer_norm_ = nullptr;
  const float* moe_norm_ = nullptr;
  const float* output_norm_ = nullptr;
  AttentionWeights mixer_{};
  MoeWeights experts_{};

  Batch rows_;
  std::vector<int32_t> interleaved_;
  compute::DeviceArray known_;   // the final norm's output [batch rows, dim]
  compute::DeviceArray pairs_;   // embeddings, then hidden rows [2 * rows, dim]
  compute::DeviceArray joined_;  // [rows, 2 * dim]
  compute::DeviceArray x_, h_;   // [rows, dim]
  compute::DeviceArray logits_;  // [vocabulary]
};

}  // namespace sluice::model
