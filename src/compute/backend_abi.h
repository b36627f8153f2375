/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between the engine and a compute backend: memory, order, and the coarse operations
 * of a transformer layer. Plain C, so that a backend can be a shared object built by another
 * compiler.
 *
 * Rules that hold for every operation:
 * - Activations are float32, row-major, contiguous: "x [rows, dim]" means x[row * dim + i].
 * - Weights are `sluice_matrix`: rows of blocks as they lie in a GGUF file, any type that
 * supports() admits, any byte alignment.
 * - Pointers to weights, activations and caches are addresses of the backend's own memory; small
 * index arrays (marked "host") are read before the call returns.
 * - Operations of one backend take effect in the order they were issued. synchronize() waits for
 * them.
 * - Outputs do not overlap inputs unless an operation says so.
 * - Results do not depend on how many threads run, nor on where a weight came from: the same inputs
 * give the same bits on the same backend and instruction set.
 * - Return value: 0, or a non-zero code that last_error() explains.
 */
#ifndef SLUICE_COMPUTE_BACKEND_ABI_H
#define SLUICE_COMPUTE_BACKEND_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_BACKEND_ABI_VERSION 1u

/* A weight: `rows` rows of `cols` elements (cols = the length of the input it is applied to). */
typedef struct sluice_matrix {
  const void* data;
  uint32_t type; /* GGUF type id */
  int64_t cols;
  int64_t rows;
} sluice_matrix;

/* out[r, :] = (accumulate ? out[r, :] : 0) + weight * x[r, :]; out is [rows, weight.rows].
 * fine: 1 where a rounding of activations to 8 bits would be felt: before quantised weights they
 * keep about 16 bits. Keys, values and the attention's output ask for it, since their error moves
 * the router. */
typedef struct sluice_product {
  sluice_matrix weight;
  float* out;
  int32_t accumulate;
  int32_t fine;
} sluice_product;

/* One layer's cache of one sequence. Key head h of position p starts at
 * keys + (h * capacity + p) * row_bytes(key_type, head_dim); values likewise. */
typedef struct sluice_kv {
  void* keys;
  void* values;
  uint32_t key_type;
  uint32_t value_type;
  int64_t capacity; /* positions */
  int32_t kv_heads;
  int32_t head_dim;
} sluice_kv;

/* The rows of one sequence inside a batch: `rows` consecutive rows from `first_row`, at positions
 * position .. position + rows - 1 of the sequence that owns `kv`. */
typedef struct sluice_span {
  sluice_kv kv;
  int64_t first_row;
  int64_t rows;
  int64_t position;
} sluice_span;

/* One layer's recurrent memory of one sequence, and that sequence's rows in the batch: `rows`
 * consecutive rows from `first_row`, at positions position .. position + rows - 1. At position 0
 * the memory counts as zero, whatever it holds. With `keep` the rows go through a copy of the
 * memory, which itself stays as it was (at position 0 it may become zero). Both parts are float32:
 * conv [taps - 1, channels]: the last inputs of the short convolution, oldest first.
 * state [value_heads, value_dim / 32, key_dim, 32]: for each value head a matrix of key_dim x
 * value_dim, in strips of 32 value elements. */
typedef struct sluice_recurrent_span {
  float* conv;
  float* state;
  int64_t first_row;
  int64_t rows;
  int64_t position;
  int32_t keep;
} sluice_recurrent_span;

/* The heads of a gated delta rule: value head n reads key head n / (value_heads / key_heads). */
typedef struct sluice_delta_heads {
  int32_t key_heads;
  int32_t value_heads; /* a multiple of key_heads */
  int32_t key_dim;
  int32_t value_dim; /* a multiple of 32 */
} sluice_delta_heads;

/* One expert and the rows that chose it: y = down(silu(gate x) * (up x)), out[row] += weight * y.
 */
typedef struct sluice_expert {
  sluice_matrix gate;   /* [hidden, dim] */
  sluice_matrix up;     /* [hidden, dim] */
  sluice_matrix down;   /* [dim, hidden] */
  const int32_t* rows;  /* host, [count]: row of x and of out */
  const float* weights; /* host, [count] */
  int32_t count;
  float* apart; /* [count, dim]: y goes here and out is left alone; NULL: added to out */
} sluice_expert;

typedef struct sluice_backend sluice_backend;

typedef struct sluice_backend_config {
  int32_t threads; /* CPU threads, at least 1 */
  const char* isa; /* CPU: level to use, or NULL for the best */
  int32_t device;  /* accelerators: which one, from 0 */
} sluice_backend_config;

typedef struct sluice_backend_api {
  uint32_t abi_version;
  const char* name;    /* "CPU" */
  int32_t host_memory; /* 1: memory from allocate() can be read and written by the host directly */

  /* NULL on failure; last_error(NULL) tells why. */
  sluice_backend* (*open)(const sluice_backend_config* config);
  void (*close)(sluice_backend*);
  const char* (*last_error)(sluice_backend*);
  /* One line: what it runs on, e.g. "scalar, 2 threads". */
  const char* (*describe)(sluice_backend*);

  /* 1 when weights of this type can be multiplied / a cache of this type kept. */
  int32_t (*supports_weight)(sluice_backend*, uint32_t type);
  int32_t (*supports_cache)(sluice_backend*, uint32_t type);

  /* Device memory, 64-byte aligned. NULL when there is none left. */
  void* (*allocate)(sluice_backend*, size_t bytes);
  void (*release)(sluice_backend*, void* memory);
  int32_t (*upload)(sluice_backend*, void* to, const void* from_host, size_t bytes);
  int32_t (*download)(sluice_backend*, void* to_host, const void* from, size_t bytes);
  int32_t (*synchronize)(sluice_backend*);

  /* Copies between host and device memory beside the operations, in the order issued; `ticket`
   * counts up and stands for this copy and those before it. Both ends must stay as they are until
   * it is done. Host memory that pin() took is copied by the device itself. */
  int32_t (*transfer)(sluice_backend*, void* to, const void* from, size_t bytes, int32_t to_device,
                      uint64_t* ticket);
  /* Operations issued from now on see what the transfers up to `ticket` wrote; the host does not
   * wait. */
  int32_t (*order_after)(sluice_backend*, uint64_t ticket);
  /* 1: the transfers up to `ticket` are done; 0: not yet (never with `wait`); < 0: error. */
  int32_t (*transferred)(sluice_backend*, uint64_t ticket, int32_t wait);
  /* `mark` stands for the operations issued so far; transfers issued after transfers_after() begin
   * when they are done. */
  int32_t (*mark)(sluice_backend*, uint64_t* mark);
  int32_t (*transfers_after)(sluice_backend*, uint64_t mark);
  /* Non-zero where the system refuses, which is no error: copies are only slower. */
  int32_t (*pin)(sluice_backend*, void* host, size_t bytes);
  void (*unpin)(sluice_backend*, void* host);
  /* Bytes of device memory, free (for anybody) and in all; 0 where the host's memory is used. */
  int32_t (*memory_info)(sluice_backend*, uint64_t* free_bytes, uint64_t* total_bytes);

  /* out [count, table.cols]: rows of the embedding table. ids: host, each in [0, table.rows). */
  int32_t (*embed)(sluice_backend*, const sluice_matrix* table, const int32_t* ids, int64_t count,
                   float* out);

  /* out = x / sqrt(mean(x^2) + eps) * weight, per row of `dim`. out may be x. weight: float [dim].
   */
  int32_t (*rms_norm)(sluice_backend*, const float* x, const float* weight, int64_t rows,
                      int64_t dim, float eps, float* out);

  /* Several products that share one input x [rows, dim] (q, k and v; one input is quantised once).
   */
  int32_t (*multiply)(sluice_backend*, const float* x, int64_t rows, int64_t dim,
                      const sluice_product* products, int32_t count);

  /* In place, per row and head: RMS norm over head_dim (skipped when weight is NULL), then rotary
   * embedding of the first rotary dims, pairing i with i + rotary / 2. x [rows, heads, head_dim]
   * with `stride` floats from row to row; cos and sin [rows, rotary / 2]. */
  int32_t (*norm_rope)(sluice_backend*, float* x, int64_t rows, int64_t heads, int64_t head_dim,
                       int64_t stride, const float* weight, float eps, const float* cos,
                       const float* sin, int64_t rotary);

  /* Stores keys and values [batch rows, kv_heads * head_dim] of every span at its positions. */
  int32_t (*kv_store)(sluice_backend*, const sluice_span* spans, int32_t span_count,
                      const float* keys, const float* values);

  /* Causal softmax attention of q [batch rows, heads, head_dim] over each span's cache (positions
   * up to and including the row's own); heads / kv_heads consecutive heads share a kv head. out
   * like q. */
  int32_t (*attention)(sluice_backend*, const sluice_span* spans, int32_t span_count,
                       const float* q, int64_t heads, float scale, float* out);

  /* Router: probabilities = softmax(weight x) per row in float32 from unquantised activations; the
   * k largest (ties: lower id), renormalised to sum 1, largest first. ids, weights: host [rows, k].
   */
  int32_t (*route)(sluice_backend*, const float* x, int64_t rows, int64_t dim,
                   const sluice_matrix* weight, int64_t k, int32_t* ids, float* weights);

  /* out [rows, dim] += the experts' weighted sums, added per row in the order of `experts`. A dense
   * feed-forward block is one expert that every row chose with weight 1. All experts of a call have
   * the same hidden width. */
  int32_t (*experts)(sluice_backend*, const float* x, int64_t rows, int64_t dim,
                     const sluice_expert* experts, int32_t count, float* out);

  /* out += weight * y of experts whose y was kept apart, per row in the order of `experts`: the
   * bits that experts() gives when it adds them itself. `experts` need not have been computed in
   * this order, nor together. */
  int32_t (*add_experts)(sluice_backend*, const sluice_expert* experts, int32_t count, int64_t dim,
                         float* out);

  /* out [count, dim] = the given rows of x. rows: host. */
  int32_t (*gather)(sluice_backend*, const float* x, const int32_t* rows, int64_t count,
                    int64_t dim, float* out);

  /* Causal convolution of each channel over time, then SiLU. Row r of a span becomes
   * silu(sum over j < taps of weight[j] * input[r - (taps - 1) + j]); inputs before the span's
   * first row come from its memory, which afterwards holds the last taps - 1 inputs. x, out [batch
   * rows, channels], weight [taps, channels]. */
  int32_t (*short_conv)(sluice_backend*, const sluice_recurrent_span* spans, int32_t span_count,
                        const float* x, const float* weight, int64_t taps, int64_t channels,
                        float* out);

  /* The gated delta rule (arXiv 2412.06464), in float32. For each row, in the order of the
   * positions, and each value head n with its state S [key_dim, value_dim]:
   *   S = exp(a[n] * softplus(ba's a + bias[n])) * S
   *   S = S + k (sigmoid(ba's b) * (v - S^T k))^T
   *   out[n] = S^T q
   * qkv [batch rows, 2 * key_heads * key_dim + value_heads * value_dim] = q, k, v heads; q and k
   * are first scaled to x / sqrt(sum(x^2) + eps), and q by 1 / sqrt(key_dim) besides.
   * ba [batch rows, 2 * value_heads]: for each key head the b of its value heads, then their a.
   * a (negative), bias [value_heads]; out [batch rows, value_heads * value_dim]. Step by step or in
   * chunks is the backend's choice; the state does not tell them apart. */
  int32_t (*delta_rule)(sluice_backend*, const sluice_recurrent_span* spans, int32_t span_count,
                        const sluice_delta_heads* heads, const float* qkv, const float* ba,
                        const float* a, const float* bias, float eps, float* out);

  /* In place: gate = silu(gate) * rms_norm(x), per row of `dim` floats, weight [dim]. */
  int32_t (*gated_norm)(sluice_backend*, const float* x, const float* weight, int64_t rows,
                        int64_t dim, float eps, float* gate);

  /* In place: x = x * sigmoid(gate), `count` floats. */
  int32_t (*sigmoid_gate)(sluice_backend*, const float* gate, int64_t count, float* x);

  /* out (host) [rows] = sigmoid(weight . x), in float32; x [rows, dim], weight [dim]. */
  int32_t (*row_gate)(sluice_backend*, const float* x, int64_t rows, int64_t dim,
                      const float* weight, float* out);
} sluice_backend_api;

/* The one symbol of a backend that is a shared object. */
typedef const sluice_backend_api* (*sluice_backend_entry)(void);
#define SLUICE_BACKEND_ENTRY "sluice_backend_v1"

#ifdef __cplusplus
}
#endif
#endif
