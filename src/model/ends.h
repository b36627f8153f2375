// SPDX-License-Identifier: Apache-2.0
// Both ends of a model: token ids become rows of the residual stream, its rows become logits.
#pragma once

#include <vector>

#include "model/batch.h"
#include "model/model.h"
#include "model/weights.h"

namespace sluice::model {

class Ends {
 public:
  Ends(const compute::Backend& backend, const Config& config)
      : backend_(&backend),
        config_(&config),
        x_(backend),
        wanted_(backend),
        h_(backend),
        out_(backend),
        rows_(backend) {}

  // token_embd, output_norm and output; a model without an output matrix uses the embedding's.
  Status bind(Weights& weights);

  // out [count, dim] = the tokens' embeddings, in the backend's memory.
  Status embed(const sluice_matrix& table, const int32_t* tokens, int64_t count, float* out);
  // Makes room for a batch and reads its tokens' embeddings into x().
  Status begin(const Batch& batch);
  // Leaves the wanted rows alone in x(): what comes behind the last layer's keys and values needs
  // no others.
  Status keep_wanted(const Batch& batch);
  // Logits of the wanted rows of x(), to host memory: [wanted, vocabulary]. Overwrites h().
  Status finish(const Batch& batch, std::vector<float>& logits, const Observer& observer);

  const sluice_matrix& embedding() const { return embedding_; }  // host memory, [vocabulary, dim]
  const sluice_matrix& output() const { return output_; }        // likewise
  const float* output_norm() const { return output_norm_; }      // [dim]

  // Residual stream [rows, dim], of the wanted rows after keep_wanted().
  float* x() const { return kept_ ? wanted_.floats() : x_.floats(); }
  float* h() const { return h_.floats(); }  // for what is normalised [rows, dim]

  Status observe(const Observer& observer, int64_t stage, const float* x, int64_t rows) const;

 private:
  const compute::Backend* backend_;
  const Config* config_;
  sluice_matrix embedding_{}, output_{};
  const float* output_norm_ = nullptr;
  compute::DeviceArray x_, wanted_, h_;
  bool kept_ = false;
  compute::DeviceArray out_;    // logits [wanted, vocabulary]
  compute::StagingArray rows_;  // embeddings on their way to an accelerator
};

}  // namespace sluice::model
