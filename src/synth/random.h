// SPDX-License-Identifier: Apache-2.0
// Random numbers whose sequence is the same on every machine and compiler.
#pragma once

#include <cmath>
#include <cstdint>

namespace sluice::synth {

// One step of a counter through a mixing function: a good 64-bit hash.
inline uint64_t mix_bits(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

class Random {
 public:
  // Different keys give unrelated sequences.
  explicit Random(uint64_t seed, uint64_t key = 0)
      : state_(mix_bits(seed + 0x632be59bd9b4e019u) ^ mix_bits(mix_bits(key) + 0x9e3779b9u)) {}

  uint64_t next() { return mix_bits(state_ += 0x9e3779b97f4a7c15u); }
  // Below `limit`, which is small.
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>((next() >> 32) * limit >> 32); }
  // Mean 0, deviation 1; a sum of uniform numbers, within +-6.
  float gaussian() {
    float sum = 0;
    for (int i = 0; i < 3; ++i) {
      const uint64_t bits = next();
      for (int shift = 0; shift < 64; shift += 16)
        sum += static_cast<float>((bits >> shift) & 0xffff);
    }
    return sum / 65535.0f - 6.0f;
  }

 private:
  uint64_t state_;
};

}  // namespace sluice::synth
