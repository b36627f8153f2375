// SPDX-License-Identifier: Apache-2.0
#include "synth/routing.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "synth/random.h"

namespace sluice::synth {
namespace {

// The reserved elements.
struct Range {
  int64_t begin;
  int64_t count;
};
constexpr Range kConstant{0, 24};  // 1
constexpr Range kSalience{24, 8};  // one element for each head
constexpr Range kContext{32, 64};  // topics of salient tokens, written by the first layer
constexpr Range kTopic{96, 64};    // of the token
constexpr Range kOwn{160, 96};     // the token's own values
constexpr int64_t kHeads = kSalience.count;
static_assert(kOwn.begin + kOwn.count == kReserved && kTopic.count == kContext.count);

// Shares of the variance of a router's logits. The rest is the token's.
struct Shares {
  double preference;
  double context;
};

double env(const char* name, double v) {
  const char* t = std::getenv(name);
  return t ? std::atof(t) : v;
}

Shares shares_of(const SynthOptions& options) {
  const bool many = options.shape.experts > 256;
  if (options.routing == Routing::kStatic) return {env("SB", many ? 0.5 : 0.57), 0.0};
  return many ? Shares{env("SB", 0.14), env("SC", 0.33)} : Shares{env("SB", 0.17), env("SC", 0.40)};
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

RowRule embedding_rule(uint64_t seed) {
  return [seed](int64_t token, std::span<float> values) {
    Random random(seed, static_cast<uint64_t>(token));
    set(values, kConstant, 1.0f);
    randomise(values, kSalience, 1.0, random);
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
  int64_t begin;  // rotary pairs
  int64_t end;
  int64_t salience;
};

constexpr double kRecency = 0.12;  // of a pair, relative to salience
// Norm weights of queries and keys: the softmax must nearly choose one token.
constexpr float kSharpness = 2.5f;

Window window_of(const Shape& s) {
  const int64_t pairs = (s.rope_dims > 0 ? s.rope_dims : s.head_dim) / 2;
  return {pairs * 17 / 64, pairs * 48 / 64, pairs - kHeads};
}

RowRule query_rule(const Shape& s) {
  return [window = window_of(s), width = s.head_dim, group = s.heads / s.kv_heads](
             int64_t row, std::span<float> values) {
    const int64_t head = row / width, i = row % width;
    if (head >= group) return RowFill::kRandom;
    if (i >= window.begin && i < window.end) read_constant(values, kRecency);
    if (i == window.salience + head % kHeads) read_constant(values, 1.0);
    return RowFill::kWhole;
  };
}

RowRule key_rule(const Shape& s) {
  return [window = window_of(s), width = s.head_dim](int64_t row, std::span<float> values) {
    if (row >= width) return RowFill::kRandom;
    if (row >= window.begin && row < window.end) read_constant(values, 1.0);
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
      return embedding_rule(seed);
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
    case Role::kExpertOut:
    case Role::kSharedOut:
    case Role::kLinearOut:
      return keep_out_rule(s.dim);
    default:
      return nullptr;
  }
}

}  // namespace sluice::synth
