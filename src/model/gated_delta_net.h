// SPDX-License-Identifier: Apache-2.0
// Gated delta net (arXiv 2412.06464): linear attention whose memory is a matrix per head that each
// token corrects. A sequence's memory of such a layer has the same size at any length.
#pragma once

#include "model/batch.h"
#include "model/weights.h"

namespace sluice::model {

struct GatedDeltaNetWeights {
  sluice_matrix qkv;     // [channels, dim]: q, k and v heads
  sluice_matrix gate;    // [values, dim]: z
  sluice_matrix ba;      // [2 * value_heads, dim]: by key head, write strengths then decays
  sluice_matrix output;  // [dim, values]
  const float* conv;     // [taps, channels]
  const float* a;        // [value_heads], negative
  const float* bias;     // [value_heads]
  const float* norm;     // [value_dim]
};

class GatedDeltaNet {
 public:
  GatedDeltaNet(const compute::Backend& backend, const Config& config)
      : backend_(&backend),
        config_(&config),
        qkv_(backend),
        conv_(backend),
        gate_(backend),
        ba_(backend),
        mixed_(backend) {}

  // Reads attn_qkv and attn_gate, or the ssm_in of older files that holds both by key head.
  static Result<GatedDeltaNetWeights> bind(Weights& weights, const std::string& prefix,
                                           const Config& config);

  // Makes room for `rows` rows.
  Status reserve(int64_t rows);
  // x += output(delta net(h)); h and x [rows, dim]. The batch's recurrent spans must be at this
  // layer's memory.
  Status run(const GatedDeltaNetWeights& weights, const Batch& batch, const float* h, float* x);
  // Takes the memory of the `layer`-th recurrent layer through the first `rows` tokens of the last
  // tentative chunk, whose inputs run() has put aside.
  Status accept(const GatedDeltaNetWeights& weights, const Sequence& sequence, int64_t layer,
                int64_t rows);

 private:
  // The short convolution and the delta rule over qkv [rows, channels] and ba [rows, 2 *
  // value_heads], into mixed_.
  Status mix(const GatedDeltaNetWeights& weights, std::span<const sluice_recurrent_span> spans,
             const float* qkv, const float* ba);
  Status put_aside(const Batch& batch) const;

  const compute::Backend* backend_;
  const Config* config_;
  compute::DeviceArray qkv_, conv_, gate_, ba_, mixed_;
};

}  // namespace sluice::model
