// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the sampling chain that must come out the same on every platform: no libm where a
// last bit could move a draw.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

namespace sluice::engine::sampling {

// Four numbers at once, in the vector types that GCC and Clang share on every instruction set:
// loops with a maximum or a comparison in them are not vectorised otherwise.
using Floats = float __attribute__((vector_size(16)));
using Words = uint32_t __attribute__((vector_size(16)));
constexpr size_t kFloats = sizeof(Floats) / sizeof(float);

inline Floats load(const float* from) {
  Floats values;
  std::memcpy(&values, from, sizeof(values));
  return values;
}

// e^x for x <= 0, within 2 ulp; 0 below -87.3 (where floats become subnormal) and for NaN. For
// float (Word uint32_t) and Floats (Word Words) alike, with the same result.
template <typename Float, typename Word>
inline Float exp_nonpositive_of(Float x) {
  // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
  constexpr float kRound = 12582912.0f;
  constexpr float kLog2E = 1.44269504f;
  // ln 2 in two parts, the first short enough that n * kLn2High is exact.
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  const Float rounded = x * kLog2E + kRound;
  const Float n = rounded - kRound;
  const Float r = (x - n * kLn2High) - n * kLn2Low;
  Float sum = r * (1.0f / 5040) + 1.0f / 720;  // the series of e^r; |r| <= 0.35: error below 1e-8
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const Word exponent = std::bit_cast<Word>(rounded) - std::bit_cast<uint32_t>(kRound) + 127u;
  const Float scaled = sum * std::bit_cast<Float>(exponent << 23);
  return x > -87.3f ? scaled : Float{};
}
inline float exp_nonpositive(float x) {
  return exp_nonpositive_of<float, uint32_t>(x);
}
inline Floats exp_nonpositive(Floats x) {
  return exp_nonpositive_of<Floats, Words>(x);
}

// The standard fixes this generator's every bit, but not what the distributions make of it: we take
// the upper 53 bits.
using Generator = std::mt19937_64;

// Uniform in [0, 1).
inline double uniform(Generator& generator) {
  return static_cast<double>(generator() >> 11) * 0x1.0p-53;
}

}  // namespace sluice::engine::sampling
