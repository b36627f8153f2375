// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention with per-head q and k norms and rotary embedding.
#pragma once

#include "model/batch.h"
#include "model/weights.h"

namespace sluice::model {

struct AttentionWeights {
  sluice_matrix q, k, v, output;
  const float* q_norm;  // [head_dim]
  const float* k_norm;
};

class Attention {
 public:
  Attention(const compute::Backend& backend, const Config& config)
      : backend_(&backend),
        config_(&config),
        q_(backend),
        k_(backend),
        v_(backend),
        mixed_(backend),
        cos_(backend),
        sin_(backend) {}

  static Result<AttentionWeights> bind(Weights& weights, const std::string& prefix,
                                       const Config& config);

  // Makes room for `rows` rows.
  Status reserve(int64_t rows);
  // Puts the batch's rotary angles where the backend can read them; once per batch.
  Status begin(const Batch& batch);
  // x += output(attention(h)); h and x [rows, dim].
  Status run(const AttentionWeights& weights, const Batch& batch, const float* h, float* x);

 private:
  const compute::Backend* backend_;
  const Config* config_;
  compute::DeviceArray q_, k_, v_, mixed_, cos_, sin_;
};

}  // namespace sluice::model
