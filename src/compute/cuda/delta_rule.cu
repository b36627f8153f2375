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

#include "compute/cuda/async.cuh"
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
  int padded;    // key_dim, rounded up to whole steps
  int tokens;    // that are read at a time
  bool aligned;  // heads begin at multiples of 16 bytes
};

constexpr int kGates = 2;  // of a token: b, a

// Tokens in shared memory: one head's keys and queries as they are, padded by zeros, a strip of its
// values, and its two gates.
struct Inputs {
  float* keys;     // [tokens, padded]
  float* queries;  // [tokens, padded]
  float* values;   // [tokens, kStrip]
  float* gates;    // [tokens, kGates]

  __device__ Inputs(float* memory, int padded, int tokens)
      : keys(memory),
        queries(keys + tokens * padded),
        values(queries + tokens * padded),
        gates(values + tokens * kStrip) {}
};

__host__ __device__ inline int input_floats(int padded, int tokens) {
  return (tokens * (2 * padded + kStrip + kGates) + 3) / 4 * 4;  // the next ones are aligned too
}

// What follows from a token's inputs. Keys and queries are not normalised one by one: their factors
// stand before the products.
struct Factors {
  float key, query;  // 1 / sqrt(sum(k^2) + eps); of the query times 1 / sqrt(key_dim)
  float match;       // normalised key . query
  float decay, beta;
};

__device__ __forceinline__ float softplus(float x) {
  return x > 20 ? x : log1pf(expf(x));
}

// Starts the copies of `count` tokens from `row` on.
__device__ void read_tokens(const DeltaSpans& d, int64_t row, int count, int head, int strip,
                            const Inputs& to) {
  const sluice_delta_heads& h = d.heads;
  const int dim = h.key_dim, group = h.value_heads / h.key_heads, key_head = head / group;
  const int64_t all_keys = int64_t{h.key_heads} * dim;
  const int64_t channels = 2 * all_keys + int64_t{h.value_heads} * h.value_dim;
  const float* queries = d.qkv + row * channels + int64_t{key_head} * dim;
  const float* values =
      d.qkv + row * channels + 2 * all_keys + int64_t{head} * h.value_dim + strip * kStrip;
  const int thread = static_cast<int>(threadIdx.x);
  if (d.aligned) {
    const int chunks = dim / 4;
    for (int i = thread; i < count * chunks; i += kThreads) {
      const int t = i / chunks, at = i % chunks * 4;
      const float* from = queries + t * channels + at;
      copy_16(to.queries + t * d.padded + at, from);
      copy_16(to.keys + t * d.padded + at, from + all_keys);
    }
    for (int i = thread; i < count * (kStrip / 4); i += kThreads) {
      const int t = i / (kStrip / 4), at = i % (kStrip / 4) * 4;
      copy_16(to.values + t * kStrip + at, values + t * channels + at);
    }
  } else {
    for (int i = thread; i < count * dim; i += kThreads) {
      const int t = i / dim, at = i % dim;
      const float* from = queries + t * channels + at;
      copy_float(to.queries + t * d.padded + at, from);
      copy_float(to.keys + t * d.padded + at, from + all_keys);
    }
    for (int i = thread; i < count * kStrip; i += kThreads) {
      const int t = i / kStrip, at = i % kStrip;
      copy_float(to.values + i, values + t * channels + at);
    }
  }
  for (int i = thread; i < kGates * count; i += kThreads) {
    const int t = i / kGates, gate = i % kGates;
    const float* ba = d.ba + (row + t) * 2 * h.value_heads + key_head * 2 * group;
    copy_float(to.gates + t * kGates + gate, ba + gate * group + head % group);
  }
  end_group_of_copies();
}

// One warp finds the factors of one token.
__device__ __forceinline__ Factors factors_of(const DeltaSpans& d, const Inputs& in, int t,
                                              int head, int lane) {
  const float* key = in.keys + t * d.padded;
  const float* query = in.queries + t * d.padded;
  float k_squares = 0, q_squares = 0, products = 0;
  for (int i = lane; i < d.heads.key_dim; i += kWarp) {
    const float k = key[i], q = query[i];
    k_squares += k * k;
    q_squares += q * q;
    products += k * q;
  }
  Factors f;
  f.key = 1.0f / sqrtf(warp_sum(k_squares) + d.eps);
  f.query = 1.0f / sqrtf(static_cast<float>(d.heads.key_dim)) / sqrtf(warp_sum(q_squares) + d.eps);
  f.match = warp_sum(products) * f.key * f.query;
  f.beta = sigmoid(in.gates[t * kGates]);
  f.decay = expf(d.a[head] * softplus(in.gates[t * kGates + 1] + d.bias[head]));
  return f;
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
  const int dim = d.heads.key_dim, padded = d.padded, tokens = d.tokens;
  auto* memory = reinterpret_cast<float*>(shared);
  const int inputs = input_floats(padded, tokens);
  const auto factors = reinterpret_cast<Factors*>(memory + 2 * inputs);
  State<kSteps> state(reinterpret_cast<float*>(factors + tokens), padded, part, column);
  if (padded > dim) {  // padding stays zero
    for (int i = threadIdx.x; i < 2 * inputs; i += kThreads) memory[i] = 0;
    __syncthreads();
  }
  // Two sets of inputs: while one is used the other is read.
  const auto inputs_of = [&](int64_t begin) {
    return Inputs(memory + (begin / tokens % 2 == 0 ? 0 : inputs), padded, tokens);
  };
  const auto read = [&](int64_t begin) {
    const int count = static_cast<int>(min(int64_t{tokens}, span.rows - begin));
    if (count > 0) read_tokens(d, span.first_row + begin, count, head, strip, inputs_of(begin));
  };
  read(0);
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
  const int64_t out_stride = int64_t{d.heads.value_heads} * d.heads.value_dim;
  for (int64_t begin = 0; begin < span.rows; begin += tokens) {
    const int count = static_cast<int>(min(int64_t{tokens}, span.rows - begin));
    const Inputs in = inputs_of(begin);
    wait_for_copies<0>();
    __syncthreads();  // these tokens are here, and those before are done with
    read(begin + tokens);
    for (int t = warp; t < count; t += kWarps) {
      const Factors f = factors_of(d, in, t, head, lane);
      if (lane == 0) factors[t] = f;
    }
    __syncthreads();
    for (int t = 0; t < count; ++t) {
      const auto* keys = reinterpret_cast<const float4*>(in.keys + t * padded) + part;
      const auto* queries = reinterpret_cast<const float4*>(in.queries + t * padded) + part;
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
      const Factors f = factors[t];
      const float key_sum = column_sum((with_key[0] + with_key[1]) + (with_key[2] + with_key[3]));
      const float query_sum =
          column_sum((with_query[0] + with_query[1]) + (with_query[2] + with_query[3]));
      const float error = f.beta * (in.values[t * kStrip + column] - f.decay * f.key * key_sum);
      if (part == 0)
        out[(begin + t) * out_stride] = f.decay * f.query * query_sum + f.match * error;
      const float change = f.key * error;
#pragma unroll
      for (int s = 0; s < state.steps(); ++s) {
        const float4 key = keys[4 * s];
#pragma unroll
        for (int j = 0; j < 4; ++j)
          state(s, j) = f.decay * state(s, j) + component(key, j) * change;
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
  const auto bytes_with = [&](int tokens) {
    return state_bytes + 2 * static_cast<size_t>(input_floats(padded, tokens)) * sizeof(float) +
           static_cast<size_t>(tokens) * sizeof(Factors);
  };
  int tokens = kTokens;
  while (tokens > 1 && bytes_with(tokens) > kSharedBytes) --tokens;
  const size_t bytes = bytes_with(tokens);
  if (bytes > kSharedBytes)
    return backend->failed("delta_rule: key_dim " + std::to_string(heads->key_dim) +
                           " is more than this backend holds");
  const bool aligned = heads->key_dim % 4 == 0 && reinterpret_cast<uintptr_t>(qkv) % 16 == 0;
  for (int32_t begin = 0; begin < span_count; begin += kSpansPerLaunch) {
    const int32_t count = std::min(span_count - begin, kSpansPerLaunch);
    DeltaSpans d{{}, *heads, qkv, ba, a, bias, out, eps, padded, tokens, aligned};
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
