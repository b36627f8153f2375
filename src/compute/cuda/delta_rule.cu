// SPDX-License-Identifier: Apache-2.0
// The gated delta rule, token by token. Value columns do not see one another, so one block takes a
// strip of 32 of them through all tokens with its state in registers. Of a column four lanes hold
// every fourth group of four rows; what they find is added by two shuffles, and nothing else has to
// be exchanged between tokens. Tokens give the same bits however they come in batches.
//
// A token needs two products of the state before its change:
//   S' = decay S + k e^T,  S'^T q = decay S^T q + (k . q) e
#include <algorithm>
#include <string>

#include "compute/cuda/instance.h"
#include "compute/cuda/reduce.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kStrip = 32;        // columns of a block
constexpr int kColumns = 8;       // of a warp
constexpr int kRowsPerStep = 16;  // of a column: four lanes with four rows each
constexpr int kTokens = 16;       // prepared at a time
constexpr size_t kSharedBytes = 48 << 10;

struct DeltaSpans {
  SpanList<sluice_recurrent_span> spans;
  sluice_delta_heads heads;
  const float* qkv;
  const float* ba;
  const float* a;
  const float* bias;
  float* out;
  float eps;
  int padded;  // key_dim, rounded up to whole steps
  int tokens;  // prepared at a time
};

// What the columns of a head share, for the tokens prepared; keys and queries are padded by zeros.
struct Prepared {
  float* keys;     // [tokens, padded], normalised
  float* queries;  // [tokens, padded], normalised and scaled
  float* values;   // [tokens, kStrip]
  float* match;    // [tokens]: key . query
  float* decay;    // [tokens]
  float* beta;     // [tokens]

  __device__ Prepared(float* memory, int padded, int tokens)
      : keys(memory),
        queries(keys + tokens * padded),
        values(queries + tokens * padded),
        match(values + tokens * kStrip),
        decay(match + tokens),
        beta(decay + tokens) {}
};

size_t prepared_bytes(int padded, int tokens) {
  return static_cast<size_t>(tokens) * static_cast<size_t>(2 * padded + kStrip + 3) * sizeof(float);
}

__device__ __forceinline__ float softplus(float x) {
  return x > 20 ? x : log1pf(expf(x));
}

// One warp normalises the key and the query of one token.
__device__ void prepare_token(const DeltaSpans& d, int64_t row, int head, int strip, int lane,
                              int at, const Prepared& to) {
  const sluice_delta_heads& h = d.heads;
  const int dim = h.key_dim, group = h.value_heads / h.key_heads, key_head = head / group;
  const int64_t all_keys = int64_t{h.key_heads} * dim;
  const float* token = d.qkv + row * (2 * all_keys + int64_t{h.value_heads} * h.value_dim);
  const float* q = token + int64_t{key_head} * dim;
  const float* k = q + all_keys;
  float* query = to.queries + at * d.padded;
  float* key = to.keys + at * d.padded;
  float q_squares = 0, k_squares = 0;
  for (int i = lane; i < dim; i += kWarp) {
    q_squares += q[i] * q[i];
    k_squares += k[i] * k[i];
  }
  const float q_scale = 1.0f / sqrtf(static_cast<float>(dim)) / sqrtf(warp_sum(q_squares) + d.eps);
  const float k_scale = 1.0f / sqrtf(warp_sum(k_squares) + d.eps);
  float match = 0;
  for (int i = lane; i < d.padded; i += kWarp) {
    const float query_i = i < dim ? q[i] * q_scale : 0.0f;
    const float key_i = i < dim ? k[i] * k_scale : 0.0f;
    query[i] = query_i;
    key[i] = key_i;
    match += key_i * query_i;
  }
  match = warp_sum(match);
  to.values[at * kStrip + lane] =
      token[2 * all_keys + int64_t{head} * h.value_dim + strip * kStrip + lane];
  if (lane > 0) return;
  const float* ba = d.ba + row * 2 * h.value_heads + key_head * 2 * group;
  to.match[at] = match;
  to.beta[at] = sigmoid(ba[head % group]);
  to.decay[at] = expf(d.a[head] * softplus(ba[group + head % group] + d.bias[head]));
}

// The part of a strip's state that one thread owns: rows 16 s + 4 part + 0..3 of one column, in
// registers where their number is known, else in shared memory.
template <int kSteps>
struct State {
  float at[kSteps][4];
  __device__ State(float*, int, int, int) {}
  __device__ __forceinline__ int steps() const { return kSteps; }
  __device__ __forceinline__ float& operator()(int step, int row) { return at[step][row]; }
};
template <>
struct State<0> {
  float* memory;  // [padded, kStrip]
  int count;
  __device__ State(float* shared, int padded, int part, int column)
      : memory(shared + 4 * part * kStrip + column), count(padded / kRowsPerStep) {}
  __device__ __forceinline__ int steps() const { return count; }
  __device__ __forceinline__ float& operator()(int step, int row) {
    return memory[(step * kRowsPerStep + row) * kStrip];
  }
};

__device__ __forceinline__ float component(const float4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Sums over the four lanes of a column.
__device__ __forceinline__ float column_sum(float value) {
  value += __shfl_xor_sync(kAllLanes, value, kColumns);
  return value + __shfl_xor_sync(kAllLanes, value, 2 * kColumns);
}

// Strip blockIdx.x of value head blockIdx.y of span blockIdx.z. kSteps = key_dim / 16, or 0: any.
template <int kSteps>
__global__ __launch_bounds__(kThreads) void delta_strips(const __grid_constant__ DeltaSpans d) {
  extern __shared__ float4 shared[];
  const sluice_recurrent_span& span = d.spans.span[blockIdx.z];
  if (span.rows == 0) return;
  const int strip = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int part = lane / kColumns, column = warp * kColumns + lane % kColumns;
  const int dim = d.heads.key_dim;
  auto* memory = reinterpret_cast<float*>(shared);
  const Prepared prepared(memory, d.padded, d.tokens);
  // Behind the prepared tokens, whose size is no multiple of 16 bytes: these are single floats.
  State<kSteps> state(prepared.beta + d.tokens, d.padded, part, column);
  float* kept = span.state + (int64_t{head} * d.heads.value_dim + strip * kStrip) * dim + column;
#pragma unroll
  for (int s = 0; s < state.steps(); ++s)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = s * kRowsPerStep + 4 * part + j;
      state(s, j) = row < dim && span.position > 0 ? kept[row * kStrip] : 0.0f;
    }

  float* out = d.out + span.first_row * d.heads.value_heads * d.heads.value_dim +
               int64_t{head} * d.heads.value_dim + strip * kStrip + column;
  for (int64_t begin = 0; begin < span.rows; begin += d.tokens) {
    const int count = static_cast<int>(min(int64_t{d.tokens}, span.rows - begin));
    __syncthreads();  // the tokens before are done with
    for (int t = warp; t < count; t += kWarps)
      prepare_token(d, span.first_row + begin + t, head, strip, lane, t, prepared);
    __syncthreads();
    for (int t = 0; t < count; ++t) {
      const auto* keys = reinterpret_cast<const float4*>(prepared.keys + t * d.padded) + part;
      const auto* queries = reinterpret_cast<const float4*>(prepared.queries + t * d.padded) + part;
      float with_key[4] = {}, with_query[4] = {};
#pragma unroll
      for (int s = 0; s < state.steps(); ++s) {
        const float4 key = keys[4 * s], query = queries[4 * s];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float value = state(s, j);
          with_key[j] += component(key, j) * value;
          with_query[j] += component(query, j) * value;
        }
      }
      const float decay = prepared.decay[t];
      const float predicted =
          decay * column_sum((with_key[0] + with_key[1]) + (with_key[2] + with_key[3]));
      const float read =
          decay * column_sum((with_query[0] + with_query[1]) + (with_query[2] + with_query[3]));
      const float error = prepared.beta[t] * (prepared.values[t * kStrip + column] - predicted);
      if (part == 0)
        out[(begin + t) * d.heads.value_heads * d.heads.value_dim] =
            read + prepared.match[t] * error;
#pragma unroll
      for (int s = 0; s < state.steps(); ++s) {
        const float4 key = keys[4 * s];
#pragma unroll
        for (int j = 0; j < 4; ++j) state(s, j) = decay * state(s, j) + component(key, j) * error;
      }
    }
  }
  if (span.keep) return;
#pragma unroll
  for (int s = 0; s < state.steps(); ++s)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = s * kRowsPerStep + 4 * part + j;
      if (row < dim) kept[row * kStrip] = state(s, j);
    }
}

}  // namespace

int32_t delta_rule(sluice_backend* backend, const sluice_recurrent_span* spans, int32_t span_count,
                   const sluice_delta_heads* heads, const float* qkv, const float* ba,
                   const float* a, const float* bias, float eps, float* out) {
  if (heads->value_dim % kStrip != 0 || heads->value_heads % heads->key_heads != 0)
    return backend->failed(
        "delta_rule: value_dim must be a multiple of 32, value_heads of key_heads");
  const int padded = static_cast<int>(ceil_div(heads->key_dim, kRowsPerStep)) * kRowsPerStep;
  const bool in_registers = heads->key_dim == 128;
  const size_t state_bytes =
      in_registers ? 0 : static_cast<size_t>(padded) * kStrip * sizeof(float);
  int tokens = kTokens;
  while (tokens > 1 && state_bytes + prepared_bytes(padded, tokens) > kSharedBytes) --tokens;
  const size_t bytes = state_bytes + prepared_bytes(padded, tokens);
  if (bytes > kSharedBytes)
    return backend->failed("delta_rule: key_dim " + std::to_string(heads->key_dim) +
                           " is more than this backend holds");
  for (int32_t begin = 0; begin < span_count; begin += kSpansPerLaunch) {
    const int32_t count = std::min(span_count - begin, kSpansPerLaunch);
    DeltaSpans d{{}, *heads, qkv, ba, a, bias, out, eps, padded, tokens};
    std::copy_n(spans + begin, count, d.spans.span);
    const dim3 grid(static_cast<unsigned>(heads->value_dim / kStrip),
                    static_cast<unsigned>(heads->value_heads), static_cast<unsigned>(count));
    if (in_registers)
      delta_strips<128 / kRowsPerStep><<<grid, kThreads, bytes, backend->stream>>>(d);
    else
      delta_strips<0><<<grid, kThreads, bytes, backend->stream>>>(d);
    SLUICE_STEP(backend->launched("delta_rule"));
  }
  return 0;
}

}  // namespace sluice::cuda
