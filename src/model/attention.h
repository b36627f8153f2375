// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention with per-head q and k norms, rotary embedding, and in some models a gate
// on its result.
#pragma once

#include "model/batch.h"
#include "model/weights.h"

namespace sluice::model {

struct AttentionWeights {
  sluice_matrix q, k, v, output;
  sluice_matrix gate;   // like q; no data without Config::attention_gate
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
        gate_(backend),
        cos_(backend),
        sin_(backend),
        wanted_h_(backend),
        wanted_cos_(backend),
        wanted_sin_(backend) {}

  static Result<AttentionWeights> bind(Weights& weights, const std::string& prefix,
                                       const Config& config);

  // Makes room for `rows` rows.
  Status reserve(int64_t rows);
  // Puts the batch's rotary angles where the backend can read them; once per batch.
  Status begin(const Batch& batch);
  // Only stores the keys and values of h.
  Status store(const AttentionWeights& weights, const Batch& batch, const float* h);
  // x += output(attention(h) * sigmoid(gate(h))), the factor where there is a gate; h and x [rows,
  // dim]. The batch's spans must be at this layer's cache.
  Status run(const AttentionWeights& weights, const Batch& batch, const float* h, float* x);
  // The same for the wanted rows alone, x [wanted rows, dim]; keys and values of all are stored.
  Status run_wanted(const AttentionWeights& weights, const Batch& batch, const float* h, float* x);

 private:
  // From q_ and gate_ on.
  Status finish(const AttentionWeights& weights, std::span<const sluice_span> spans, int64_t rows,
                const float* cos, const float* sin, float* x);
  // Norm and rotation of the keys that were computed, then into the cache with the values.
  Status store_products(const AttentionWeights& weights, const Batch& batch);

  const compute::Backend* backend_;
  const Config* config_;
  compute::DeviceArray q_, k_, v_, mixed_, gate_, cos_, sin_;
  compute::DeviceArray wanted_h_, wanted_cos_, wanted_sin_;
};

}  // namespace sluice::model
