// SPDX-License-Identifier: Apache-2.0
// The kernels of the gated delta net as they are defined; see reference.cpp.
#include <cmath>

#include "levels.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kStrip = kDeltaStrip;

float sigmoid(float x) {
  // exp(-x) overflows to infinity for very negative x, which gives the right limit: 0.
  return 1.0f / (1.0f + std::exp(-x));
}

void sigmoid_gate(const float* gate, int64_t n, float* x) {
  for (int64_t i = 0; i < n; ++i) x[i] *= sigmoid(gate[i]);
}

void conv_silu(const float* const* inputs, const float* weight, int64_t weight_stride, int64_t taps,
               int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < taps; ++j) sum += weight[j * weight_stride + i] * inputs[j][i];
    out[i] = sum / (1.0f + std::exp(-sum));
  }
}

// The definition, one strip and one token after the other.
void delta_rule(const DeltaTokens& tokens, float* state, int64_t strips, const float* values,
                int64_t value_stride, float* out, int64_t out_stride) {
  for (int64_t s = 0; s < strips; ++s) {
    float* strip = state + s * tokens.key_dim * kStrip;
    for (int64_t t = 0; t < tokens.count; ++t) {
      const float* key = tokens.keys + t * tokens.key_dim;
      const float* query = tokens.queries + t * tokens.key_dim;
      float error[kStrip] = {};
      for (int64_t i = 0; i < tokens.key_dim; ++i)
        for (int64_t j = 0; j < kStrip; ++j) {
          float& element = strip[i * kStrip + j];
          element *= tokens.decay[t];
          error[j] += element * key[i];
        }
      float sum[kStrip] = {};
      for (int64_t j = 0; j < kStrip; ++j)
        error[j] = tokens.beta[t] * (values[t * value_stride + s * kStrip + j] - error[j]);
      for (int64_t i = 0; i < tokens.key_dim; ++i)
        for (int64_t j = 0; j < kStrip; ++j) {
          float& element = strip[i * kStrip + j];
          element += key[i] * error[j];
          sum[j] += element * query[i];
        }
      for (int64_t j = 0; j < kStrip; ++j) out[t * out_stride + s * kStrip + j] = sum[j];
    }
  }
}

}  // namespace

void fill_delta_reference(Kernels& table) {
  table.sigmoid_gate = sigmoid_gate;
  table.conv_silu = conv_silu;
  table.delta_rule = delta_rule;
}

}  // namespace sluice::cpu
