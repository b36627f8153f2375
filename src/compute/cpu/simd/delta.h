// SPDX-License-Identifier: Apache-2.0
// Kernels of the gated delta net. Included after a level's header.
#pragma once

#include "compute/cpu/simd/floats.h"

namespace sluice::cpu {
namespace {

SLUICE_INLINE Wide wide_sigmoid(Wide x) {
  const Wide one = wide_each(1.0f);
  return wide_div(one, wide_add(one, wide_exp(wide_sub(wide_zero(), x))));
}

inline void sigmoid_gate(const float* gate, int64_t n, float* x) {
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide)
    wide_store(x + i, wide_mul(wide_load(x + i), wide_sigmoid(wide_load(gate + i))));
  if (i < n)
    wide_store_part(
        x + i,
        wide_mul(wide_load_part(x + i, n - i), wide_sigmoid(wide_load_part(gate + i, n - i))),
        n - i);
}

inline void conv_silu(const float* const* inputs, const float* weight, int64_t weight_stride,
                      int64_t taps, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    Wide sum = wide_zero();
    for (int64_t j = 0; j < taps; ++j)
      sum = wide_mul_add(wide_load(weight + j * weight_stride + i), wide_load(inputs[j] + i), sum);
    wide_store(out + i, wide_swiglu(sum, wide_each(1.0f)));
  }
  if (i < n) {
    Wide sum = wide_zero();
    for (int64_t j = 0; j < taps; ++j)
      sum = wide_mul_add(wide_load_part(weight + j * weight_stride + i, n - i),
                         wide_load_part(inputs[j] + i, n - i), sum);
    wide_store_part(out + i, wide_swiglu(sum, wide_each(1.0f)), n - i);
  }
}

// The delta rule. Value columns do not see one another, so strips of them go through all tokens one
// after another and stay in the first-level cache. A token needs the state for two products, with
// its key and its query, and changes it afterwards by k e^T; the change is put off until the next
// token reads the state anyway, so each token makes one pass over it:
//   S_t = decay S_{t-1} + k e^T,  S_t^T q = decay S_{t-1}^T q + (k . q) e
// This costs what the chunked form costs with heads of 128, and tokens give the same bits however
// they come in batches.
constexpr int kDeltaWides = kWideRegisters == 1 ? 2 : 1;  // what fits in the registers
static_assert(kDeltaStrip % (kDeltaWides * kWide) == 0);

struct DeltaPass {
  float* state;
  int64_t key_dim;

  // The change that was put off.
  const float* last_key;
  Wide last_decay;
  Wide error[kDeltaWides];

  // Of even and odd rows: state^T key and state^T query.
  Wide with_key[2][kDeltaWides];
  Wide with_query[2][kDeltaWides];

  template <bool kChange, bool kRead>
  SLUICE_INLINE void row(int64_t i, int parity, const float* key, const float* query) {
    SLUICE_UNROLL
    for (int s = 0; s < kDeltaWides; ++s) {
      float* at = state + i * kDeltaStrip + s * kWide;
      Wide value = wide_load(at);
      if constexpr (kChange) {
        value = wide_mul_add(wide_each(last_key[i]), error[s], wide_mul(last_decay, value));
        wide_store(at, value);
      }
      if constexpr (kRead) {
        with_key[parity][s] = wide_mul_add(wide_each(key[i]), value, with_key[parity][s]);
        with_query[parity][s] = wide_mul_add(wide_each(query[i]), value, with_query[parity][s]);
      }
    }
  }

  template <bool kChange, bool kRead>
  SLUICE_INLINE void run(const float* key, const float* query) {
    SLUICE_UNROLL
    for (int s = 0; s < kDeltaWides; ++s)
      with_key[0][s] = with_key[1][s] = with_query[0][s] = with_query[1][s] = wide_zero();
    int64_t i = 0;
    for (; i + 2 <= key_dim; i += 2) {
      row<kChange, kRead>(i, 0, key, query);
      row<kChange, kRead>(i + 1, 1, key, query);
    }
    if (i < key_dim) row<kChange, kRead>(i, 0, key, query);
  }
};

inline void delta_columns(const DeltaTokens& tokens, float* state, const float* values,
                          int64_t value_stride, float* out, int64_t out_stride) {
  DeltaPass pass;
  pass.state = state;
  pass.key_dim = tokens.key_dim;
  pass.last_key = tokens.keys;
  pass.last_decay = wide_zero();
  SLUICE_UNROLL
  for (int s = 0; s < kDeltaWides; ++s) pass.error[s] = wide_zero();
  for (int64_t t = 0; t < tokens.count; ++t) {
    const float* key = tokens.keys + t * tokens.key_dim;
    const float* query = tokens.queries + t * tokens.key_dim;
    if (t == 0)
      pass.run<false, true>(key, query);
    else
      pass.run<true, true>(key, query);
    const Wide decay = wide_each(tokens.decay[t]), beta = wide_each(tokens.beta[t]);
    const Wide match = wide_each(tokens.match[t]);
    SLUICE_UNROLL
    for (int s = 0; s < kDeltaWides; ++s) {
      const Wide predicted = wide_mul(decay, wide_add(pass.with_key[0][s], pass.with_key[1][s]));
      const Wide value = wide_load(values + t * value_stride + s * kWide);
      pass.error[s] = wide_mul(beta, wide_sub(value, predicted));
      const Wide read = wide_mul(decay, wide_add(pass.with_query[0][s], pass.with_query[1][s]));
      wide_store(out + t * out_stride + s * kWide, wide_mul_add(match, pass.error[s], read));
    }
    pass.last_key = key;
    pass.last_decay = decay;
  }
  pass.run<true, false>(nullptr, nullptr);
}

inline void delta_rule(const DeltaTokens& tokens, float* state, int64_t strips, const float* values,
                       int64_t value_stride, float* out, int64_t out_stride) {
  if (tokens.count == 0) return;
  constexpr int64_t kColumns = kDeltaWides * kWide;
  for (int64_t s = 0; s < strips; ++s)
    for (int64_t c = 0; c < kDeltaStrip; c += kColumns) {
      const int64_t column = s * kDeltaStrip + c;
      delta_columns(tokens, state + s * tokens.key_dim * kDeltaStrip + c, values + column,
                    value_stride, out + column, out_stride);
    }
}

inline void fill_delta(Kernels& table) {
  table.sigmoid_gate = sigmoid_gate;
  table.conv_silu = conv_silu;
  table.delta_rule = delta_rule;
}

}  // namespace
}  // namespace sluice::cpu
