// SPDX-License-Identifier: Apache-2.0
#include "synth/routing.h"

#include <algorithm>
#include <cmath>

#include "synth/random.h"

namespace sluice::synth {
namespace {

// The reserved elements.
struct Range {
  int64_t begin;
  int64_t count;
};
constexpr Range kConstant{0, 32};   // 1
constexpr Range kSalience{32, 8};   // one element for each head
constexpr Range kOwn{40, 88};       // the token's own values
constexpr Range kContext{128, 64};  // topics of salient tokens, written by the first layer
constexpr Range kTopic{192, 64};    // of the token
constexpr int64_t kHeads = kSalience.count;
// The first heads look only a few tokens back, the others far.
constexpr int64_t kNearHeads = 1;
static_assert(kTopic.begin + kTopic.count == kReserved && kTopic.count == kContext.count);

// Shares of the variance of a router's logits. The rest is the token's.
struct Shares {
  double preference;
  double context;
};

// Found by measuring; see docs/experiments/0002-calibrated-routing.md.
Shares shares_of(const SynthOptions& options) {
  const bool many = options.shape.experts > 256;
  if (options.routing == Routing::kStatic) return {many ? 0.48 : 0.57, 0.0};
  return many ? Shares{0.10, 0.54} : Shares{0.12, 0.60};
}

// Of the token's share, how much is read from the whole residual stream, which the layers change,
// and not from the embedding: it makes the next layer's choice less than certain.
constexpr double kStreamShare = 0.5;
// Standard deviation of router logits: how unequal the weights of the chosen experts are.
constexpr double kRouterDeviation = 2.0;

void set(std::span<float> values, Range range, float value) {
  for (int64_t i = 0; i < range.count; ++i) values[static_cast<size_t>(range.begin + i)] = value;
}

void randomise(std::span<float> values, Range range, double deviation, Random& random) {
  for (int64_t i = 0; i < range.count; ++i)
    values[static_cast<size_t>(range.begin + i)] =
        static_cast<float>(deviation) * random.gaussian();
}

// Reads 1 from the constant.
void read_constant(std::span<float> values, double gain) {
  set(values, kConstant, static_cast<float>(gain / static_cast<double>(kConstant.count)));
}

// `least` is taken from the salience for the far heads, `least_near` for the near ones.
RowRule embedding_rule(uint64_t seed, float least_near, float least) {
  return [=](int64_t token, std::span<float> values) {
    Random random(seed, static_cast<uint64_t>(token));
    set(values, kConstant, 1.0f);
    randomise(values, kSalience, 1.0, random);
    for (int64_t i = 0; i < kHeads; ++i)
      values[static_cast<size_t>(kSalience.begin + i)] -= i < kNearHeads ? least_near : least;
    randomise(values, kTopic, 1.0, random);
    randomise(values, kOwn, 1.0, random);
    return RowFill::kBegin;
  };
}

RowRule router_rule(const SynthOptions& options, int64_t layer, uint64_t seed) {
  const Shares shares = shares_of(options);
  const double token = 1.0 - shares.preference - shares.context;
  // Elements outside the reserved ones have the variance 1 at first and 2 in the end.
  const double growth =
      1.0 + static_cast<double>(layer) / static_cast<double>(options.shape.layers);
  const Range stream{kReserved, options.shape.dim - kReserved};
  const auto deviation = [](double share, int64_t count) {
    return kRouterDeviation * std::sqrt(share / static_cast<double>(count));
  };
  return [=](int64_t expert, std::span<float> values) {
    Random random(seed, static_cast<uint64_t>(expert));
    read_constant(values, deviation(shares.preference, 1) * random.gaussian());
    randomise(values, kContext, deviation(shares.context, kContext.count), random);
    randomise(values, kOwn, deviation(token * (1.0 - kStreamShare), kOwn.count), random);
    randomise(values, stream, deviation(token * kStreamShare / growth, stream.count), random);
    return RowFill::kWhole;
  };
}

// Element of head `head`'s value that goes to element `i` of the context: each head permutes the
// topic in its own way, so that the same token counts differently in different respects.
int64_t permuted(int64_t head, int64_t i) {
  return (i * (2 * head + 1) + 7 * head) % kContext.count;
}

// --- Attention: eight query heads of one key head. A rotary pair i turns by base^(-2i/width) per
// position. The last pairs hardly turn: there the keys carry salience. Pairs that turn slowly carry
// a constant: the sum of their cosines falls with the logarithm of the distance.

struct Window {
  int64_t near;  // first rotary pairs of the near and of the far heads' constant
  int64_t far;
  int64_t end;
  int64_t salience;
};

// Of a pair, relative to salience.
constexpr double kNearRecency = 0.4;
constexpr double kFarRecency = 0.12;
// Norm weights of queries and keys: the softmax must nearly choose one token.
constexpr float kSharpness = 2.5f;

Window window_of(const Shape& s) {
  const int64_t pairs = (s.rope_dims > 0 ? s.rope_dims : s.head_dim) / 2;
  return {pairs * 6 / 64, pairs * 17 / 64, pairs * 48 / 64, pairs - kHeads};
}

RowRule query_rule(const Shape& s) {
  return [window = window_of(s), width = s.head_dim, group = s.heads / s.kv_heads](
             int64_t row, std::span<float> values) {
    const int64_t head = row / width, i = row % width;
    if (head >= group) return RowFill::kRandom;
    const bool near = head % kHeads < kNearHeads;
    if (i >= (near ? window.near : window.far) && i < window.end)
      read_constant(values, near ? kNearRecency : kFarRecency);
    if (i == window.salience + head % kHeads) read_constant(values, 1.0);
    return RowFill::kWhole;
  };
}

RowRule key_rule(const Shape& s) {
  return [window = window_of(s), width = s.head_dim](int64_t row, std::span<float> values) {
    if (row >= width) return RowFill::kRandom;
    if (row >= window.near && row < window.end) read_constant(values, 1.0);
    const int64_t respect = row - window.salience;
    if (respect >= 0 && respect < kHeads)
      values[static_cast<size_t>(kSalience.begin + respect)] = 1.0f;
    return RowFill::kWhole;
  };
}

RowRule value_rule() {
  return [](int64_t row, std::span<float> values) {
    if (row >= kTopic.count) return RowFill::kRandom;
    values[static_cast<size_t>(kTopic.begin + row)] = 1.0f;
    return RowFill::kWhole;
  };
}

RowRule attention_output_rule(const Shape& s) {
  const int64_t heads = std::min(kHeads, s.heads / s.kv_heads);
  return [heads, width = s.head_dim](int64_t row, std::span<float> values) {
    const int64_t i = row - kContext.begin;
    if (row >= kReserved) return RowFill::kRandom;
    if (i < 0 || i >= kContext.count) return RowFill::kZero;
    for (int64_t head = 0; head < heads; ++head)
      values[static_cast<size_t>(head * width + permuted(head, i))] =
          1.0f / std::sqrt(static_cast<float>(heads));
    return RowFill::kWhole;
  };
}

// --- Gated delta net: eight value heads whose keys and queries are one constant vector, so that a
// head's state is a single value. A token replaces it in the proportion beta, which is a steep
// function of its salience. Nothing decays.

// What makes half of a token's value count, in standard deviations: one token in 9, in 90 has more.
constexpr float kLeastNear = 1.2f;
constexpr float kLeastFar = 2.3f;
constexpr double kSteepness = 5.0;
// The convolution's SiLU is nearly linear for values around this, and so is the norm of a head.
constexpr double kOffset = 5.0;
// Makes up for states that are a mean of several tokens.
constexpr double kMixtureGain = 1.4;
// Gates are silu of this everywhere: no more than random gates let through.
constexpr double kOpen = 1.0;

struct DeltaHeads {
  int64_t width;
  int64_t per_key;    // value heads of a key head
  int64_t keys;       // rows of the queries, likewise of the keys
  int64_t used_keys;  // of our eight heads

  explicit DeltaHeads(const LinearAttention& n)
      : width(n.head_dim),
        per_key(n.value_heads / n.key_heads),
        keys(n.key_heads * n.head_dim),
        used_keys((kHeads + per_key - 1) / per_key * n.head_dim) {}

  // The value heads' rows, behind queries and keys.
  bool ours(int64_t channel) const {
    return channel < 2 * keys ? channel % keys < used_keys : channel - 2 * keys < kHeads * width;
  }
};

RowRule delta_in_rule(const LinearAttention& n) {
  return [heads = DeltaHeads(n)](int64_t row, std::span<float> values) {
    if (!heads.ours(row)) return RowFill::kRandom;
    if (row < 2 * heads.keys) {
      if (row % heads.width == 0) read_constant(values, kOpen);
      return RowFill::kWhole;
    }
    // The topic once with each sign: their difference is free of the offset.
    const int64_t i = row % heads.width;
    read_constant(values, kOffset);
    values[static_cast<size_t>(kTopic.begin + i % kTopic.count)] = i < kTopic.count ? 1.0f : -1.0f;
    return RowFill::kWhole;
  };
}

RowRule delta_convolution_rule(const LinearAttention& n) {
  return [heads = DeltaHeads(n)](int64_t channel, std::span<float> taps) {
    if (!heads.ours(channel)) return RowFill::kRandom;
    taps.back() = 1.0f;
    return RowFill::kWhole;
  };
}

RowRule delta_gate_rule(const LinearAttention& n) {
  return [width = n.head_dim](int64_t row, std::span<float> values) {
    if (row >= kHeads * width) return RowFill::kRandom;
    read_constant(values, kOpen);
    return RowFill::kWhole;
  };
}

// For each key head the betas of its value heads, then their decays.
RowRule delta_beta_alpha_rule(const LinearAttention& n) {
  return [per_key = n.value_heads / n.key_heads](int64_t row, std::span<float> values) {
    const int64_t i = row % (2 * per_key);
    const int64_t head = row / (2 * per_key) * per_key + i % per_key;
    if (head >= kHeads) return RowFill::kRandom;
    if (i < per_key)
      values[static_cast<size_t>(kSalience.begin + head)] = static_cast<float>(kSteepness);
    else
      read_constant(values, -8.0);  // far below what starts a decay
    return RowFill::kWhole;
  };
}

RowRule delta_output_rule(const LinearAttention& n) {
  return [width = n.head_dim](int64_t row, std::span<float> values) {
    const int64_t i = row - kContext.begin;
    if (row >= kReserved) return RowFill::kRandom;
    if (i < 0 || i >= kContext.count) return RowFill::kZero;
    const double open = kOpen / (1.0 + std::exp(-kOpen));
    const auto gain =
        static_cast<float>(kMixtureGain * kOffset / (2.0 * open * std::sqrt(double{kHeads})));
    for (int64_t head = 0; head < kHeads; ++head) {
      const int64_t from = head * width + permuted(head, i);
      values[static_cast<size_t>(from)] = gain;
      values[static_cast<size_t>(from + kTopic.count)] = -gain;
    }
    return RowFill::kWhole;
  };
}

// The reserved elements are left alone.
RowRule keep_out_rule(int64_t dim) {
  return [dim](int64_t row, std::span<float>) {
    return row % dim < kReserved ? RowFill::kZero : RowFill::kRandom;
  };
}

}  // namespace

Status check_routing(const SynthOptions& options) {
  const Shape& s = options.shape;
  if (s.dim < 2 * kReserved)
    return fail(ErrorKind::kUsage, "--embedding: must be at least {}", 2 * kReserved);
  return {};
}

RowRule routing_rule(const TensorPlan& tensor, const SynthOptions& options) {
  const Shape& s = options.shape;
  const uint64_t seed = mix_bits(options.seed + 0x5eed) ^ static_cast<uint64_t>(tensor.layer + 1);
  const bool writes_context = options.routing == Routing::kText && tensor.layer == 0;
  switch (tensor.role) {
    case Role::kEmbedding:
      return s.full_attention(0) ? embedding_rule(seed, 0, 0)
                                 : embedding_rule(seed, kLeastNear, kLeastFar);
    case Role::kRouter:
      return router_rule(options, tensor.layer, seed);
    case Role::kQuery:
      return writes_context ? query_rule(s) : nullptr;
    case Role::kKey:
      return writes_context ? key_rule(s) : nullptr;
    case Role::kValue:
      return writes_context ? value_rule() : nullptr;
    case Role::kHeadNorm:
      if (!writes_context) return nullptr;
      return [](int64_t, std::span<float> values) {
        std::fill(values.begin(), values.end(), kSharpness);
        return RowFill::kWhole;
      };
    case Role::kAttentionOutput:
      return writes_context ? attention_output_rule(s) : keep_out_rule(s.dim);
    case Role::kLinearIn:
      return writes_context ? delta_in_rule(s.linear) : nullptr;
    case Role::kLinearConvolution:
      return writes_context ? delta_convolution_rule(s.linear) : nullptr;
    case Role::kLinearGate:
      return writes_context ? delta_gate_rule(s.linear) : nullptr;
    case Role::kLinearBetaAlpha:
      return writes_context ? delta_beta_alpha_rule(s.linear) : nullptr;
    case Role::kLinearOut:
      return writes_context ? delta_output_rule(s.linear) : keep_out_rule(s.dim);
    case Role::kExpertOut:
    case Role::kSharedOut:
      return keep_out_rule(s.dim);
    default:
      return nullptr;
  }
}

}  // namespace sluice::synth
