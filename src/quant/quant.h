// SPDX-License-Identifier: Apache-2.0
// Block formats of GGUF tensors: layout, sizes, scalar decode, encode and dot. The scalar functions
// here are the truth that every fast kernel is tested against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::quant {

// Ids as they stand in a GGUF tensor info.
enum class Type : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kBF16 = 30,
  kMXFP4 = 39,
};
inline constexpr uint32_t kTypeIdLimit = 40;  // ids are below this: usable as a table size

// 256 activations quantised to int8 with one scale per 32, x = scale[i / 32] * q[i]. Finer than the
// usual one scale per 256: it costs 28 bytes per block and a quarter of the rounding error.
// sum[g] = q[16 g] + ... + q[16 g + 15], for formats with an offset.
struct ActBlock {
  float scale[8];
  int8_t q[256];
  int16_t sum[16];
};
static_assert(sizeof(ActBlock) == 320);
inline constexpr int64_t kActBlock = 256;

// Blocks that hold n activations; the tail of the last one is zero.
constexpr int64_t act_blocks(int64_t n) {
  return (n + kActBlock - 1) / kActBlock;
}

// Per 32 elements, in float: scale = max|x| / 127, q = x * (127 / max|x|) rounded to nearest, ties
// to even. Groups with max|x| < 1e-36 become zero; groups with an infinity or NaN get scale = NaN
// and q = 0, so that every product with them is NaN. n is a multiple of 32; out has act_blocks(n)
// blocks.
void quantize_activations(const float* x, int64_t n, ActBlock* out);

// Everything about one format. n is always a multiple of block_elements.
struct Traits {
  Type type;
  std::string_view name;  // as llama.cpp prints it: "Q4_K", "IQ2_XXS", "F16"
  int block_elements;
  int block_bytes;
  bool is_float;  // F32, F16, BF16: multiplied with float activations, never with ActBlock

  void (*decode)(const uint8_t* blocks, int64_t n, float* out);
  // Encoders without an importance matrix; values are finite. nullptr: cannot be written here.
  void (*encode)(const float* values, int64_t n, uint8_t* blocks);
  // sum of w[i] * x[i]. nullptr for float formats. x has act_blocks(n) blocks. Float operations,
  // for each 32 elements j in increasing order, S[g] the exact integer sum of q_w q_x over 16
  // elements:
  //   result += (d * scale[j]) * float(s[2j] S[2j] + s[2j+1] S[2j+1])
  //   result -= (dmin * scale[j]) * float(z[2j] sum[2j] + z[2j+1] sum[2j+1])   (formats with a min)
  // where s and z are the block's integer scales (1 in 32-element formats, which add m instead).
  // The integers are below 2^24, so exact. Kernels may use another order: at most 1e-5 of sum
  // |terms| off.
  float (*dot)(const uint8_t* blocks, const ActBlock* x, int64_t n);
  // The same against float activations, accumulated in double.
  double (*dot_f32)(const uint8_t* blocks, const float* x, int64_t n);
};

// nullptr for an id without a layout here.
const Traits* find_traits(uint32_t type_id);
// nullptr for an unknown name; case-insensitive.
const Traits* find_traits(std::string_view name);
// For types that were validated at load.
const Traits& traits(Type type);

// Bytes of a row of n elements (n a multiple of the block).
size_t row_bytes(Type type, int64_t n);

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);  // round to nearest even, infinities and NaN kept
inline float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);  // round to nearest even, NaN made quiet

}  // namespace sluice::quant

#include <bit>

inline float sluice::quant::bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
