// SPDX-License-Identifier: Apache-2.0
// The gated delta net: short convolution and delta rule, with their memory.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

constexpr int64_t kChannelsPerChunk = 512;
constexpr int64_t kMaxTaps = 16;
constexpr int64_t kTokens = 32;  // prepared at a time, so that keys and queries stay in the cache

// One span's convolution over `count` channels from `first` on.
void convolve(const Kernels& kernels, const sluice_recurrent_span& span, const float* x,
              const float* weight, int64_t taps, int64_t channels, int64_t first, int64_t count,
              float* out) {
  float* memory = span.conv + first;
  if (span.position == 0)
    for (int64_t j = 0; j + 1 < taps; ++j) std::fill_n(memory + j * channels, count, 0.0f);
  const auto input = [&](int64_t row) -> const float* {  // row >= -(taps - 1) of the span
    return row < 0 ? memory + (taps - 1 + row) * channels
                   : x + (span.first_row + row) * channels + first;
  };
  for (int64_t r = 0; r < span.rows; ++r) {
    const float* window[kMaxTaps];
    for (int64_t j = 0; j < taps; ++j) window[j] = input(r - (taps - 1) + j);
    kernels.conv_silu(window, weight + first, channels, taps, count,
                      out + (span.first_row + r) * channels + first);
  }
  if (span.keep) return;
  // Oldest first: a row that is still read lies behind the one that is written.
  for (int64_t j = 0; j + 1 < taps; ++j)
    std::copy_n(input(span.rows - (taps - 1) + j), count, memory + j * channels);
}

// Everything about one head's tokens that its value columns share.
struct Prepared {
  std::vector<float> keys, queries;  // [kTokens, key_dim]
  float match[kTokens], decay[kTokens], beta[kTokens];
};

struct Delta {
  const sluice_delta_heads& heads;
  const float* qkv;
  const float* ba;
  const float* a;
  const float* bias;
  float eps;
  float* out;

  int64_t channels() const {
    return 2 * int64_t{heads.key_heads} * heads.key_dim +
           int64_t{heads.value_heads} * heads.value_dim;
  }
};

float softplus(float x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

// x / sqrt(sum(x^2) + eps) * scale
void normalise(const Kernels& kernels, const float* x, int64_t n, float eps, float scale,
               float* out) {
  const float factor = scale / std::sqrt(kernels.dot(x, x, n) + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * factor;
}

void prepare(const Kernels& kernels, const Delta& delta, int64_t head, int64_t first, int64_t count,
             Prepared& to) {
  const sluice_delta_heads& h = delta.heads;
  const int64_t dim = h.key_dim, group = h.value_heads / h.key_heads;
  const int64_t key_head = head / group, keys = int64_t{h.key_heads} * dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  grown(to.keys, static_cast<size_t>(kTokens * dim));
  grown(to.queries, static_cast<size_t>(kTokens * dim));
  for (int64_t t = 0; t < count; ++t) {
    const float* row = delta.qkv + (first + t) * delta.channels() + key_head * dim;
    float* query = to.queries.data() + t * dim;
    float* key = to.keys.data() + t * dim;
    normalise(kernels, row, dim, delta.eps, scale, query);
    normalise(kernels, row + keys, dim, delta.eps, 1.0f, key);
    to.match[t] = kernels.dot(key, query, dim);
    const float* ba = delta.ba + (first + t) * 2 * h.value_heads + key_head * 2 * group;
    const float b = ba[head % group], a = ba[group + head % group];
    to.beta[t] = 1.0f / (1.0f + std::exp(-b));
    to.decay[t] = std::exp(delta.a[head] * softplus(a + delta.bias[head]));
  }
}

// Strips [begin, end) of one value head.
void run_head(const Kernels& kernels, const Delta& delta, const sluice_recurrent_span& span,
              int64_t head, int64_t begin, int64_t end) {
  thread_local Prepared prepared;
  const sluice_delta_heads& h = delta.heads;
  const int64_t values = 2 * int64_t{h.key_heads} * h.key_dim;
  const int64_t column = head * h.value_dim + begin * kDeltaStrip;
  const int64_t strip = int64_t{h.key_dim} * kDeltaStrip;
  float* state = span.state + head * h.key_dim * h.value_dim + begin * strip;
  if (span.position == 0) std::fill_n(state, (end - begin) * strip, 0.0f);
  if (span.keep) {
    thread_local std::vector<float> copy;
    copy.assign(state, state + (end - begin) * strip);
    state = copy.data();
  }
  for (int64_t r = 0; r < span.rows; r += kTokens) {
    const int64_t count = std::min(kTokens, span.rows - r), first = span.first_row + r;
    prepare(kernels, delta, head, first, count, prepared);
    const DeltaTokens tokens{
        count,          h.key_dim,      prepared.keys.data(), prepared.queries.data(),
        prepared.match, prepared.decay, prepared.beta};
    const int64_t out_stride = int64_t{h.value_heads} * h.value_dim;
    kernels.delta_rule(tokens, state, end - begin,
                       delta.qkv + first * delta.channels() + values + column, delta.channels(),
                       delta.out + first * out_stride + column, out_stride);
  }
}

}  // namespace

int32_t short_conv(sluice_backend* backend, const sluice_recurrent_span* spans, int32_t span_count,
                   const float* x, const float* weight, int64_t taps, int64_t channels,
                   float* out) {
  SLUICE_CHECK(taps >= 1 && taps <= kMaxTaps, "taps of the short convolution");
  const int64_t parts = (channels + kChannelsPerChunk - 1) / kChannelsPerChunk;
  backend->pool.run(span_count * parts, [&](int, int64_t chunk) {
    const sluice_recurrent_span& span = spans[chunk / parts];
    if (span.rows == 0) return;
    const int64_t first = chunk % parts * kChannelsPerChunk;
    convolve(backend->kernels, span, x, weight, taps, channels, first,
             std::min(kChannelsPerChunk, channels - first), out);
  });
  return 0;
}

int32_t delta_rule(sluice_backend* backend, const sluice_recurrent_span* spans, int32_t span_count,
                   const sluice_delta_heads* heads, const float* qkv, const float* ba,
                   const float* a, const float* bias, float eps, float* out) {
  SLUICE_CHECK(heads->value_dim % kDeltaStrip == 0 && heads->value_heads % heads->key_heads == 0,
               "heads of the delta rule");
  const Delta delta{*heads, qkv, ba, a, bias, eps, out};
  const int64_t strips = heads->value_dim / kDeltaStrip;
  // Columns do not see one another: heads are cut where there are more threads than heads to share.
  int64_t parts = 1;
  while (parts * 2 <= strips && strips % (parts * 2) == 0 &&
         span_count * heads->value_heads * parts < 4 * int64_t{backend->pool.size()})
    parts *= 2;
  const int64_t per_part = strips / parts;
  backend->pool.run(span_count * heads->value_heads * parts, [&](int, int64_t chunk) {
    const sluice_recurrent_span& span = spans[chunk / parts / heads->value_heads];
    if (span.rows == 0) return;
    const int64_t begin = chunk % parts * per_part;
    run_head(backend->kernels, delta, span, chunk / parts % heads->value_heads, begin,
             begin + per_part);
  });
  return 0;
}

}  // namespace sluice::cpu
