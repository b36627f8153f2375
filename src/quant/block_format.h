// SPDX-License-Identifier: Apache-2.0
// From the unpacking of one block to the four functions of Traits. A format is a struct with
//   using Block = ...;                       its layout (blocks.h)
//   static constexpr bool kHasMin = ...;     whether `min` is used
//   static void unpack(const Block&, Unpacked32& or Unpacked256&);
//   static void encode(const float*, Block&);  optional
// Decoding and dot products follow from these, so each layout is written down exactly once.
#pragma once

#include <cstdint>
#include <type_traits>

#include "quant/blocks.h"
#include "quant/quant.h"

namespace sluice::quant {

// x[i] = d * q[i] + min
struct Unpacked32 {
  static constexpr int kElements = 32;
  float d;
  float min;
  int8_t q[32];
};

// x[i] = (d * scale[i / 16]) * q[i] - dmin * min[i / 16]
struct Unpacked256 {
  static constexpr int kElements = 256;
  float d;
  float dmin;
  int32_t scale[16];
  int32_t min[16];
  int8_t q[256];
};

// Inverse of unpack_six_bit for scales and mins that stand twice each.
inline void pack_six_bit(const Unpacked256& u, uint8_t* b) {
  for (int j = 0; j < 4; ++j) {
    const int s = u.scale[2 * j], s4 = u.scale[2 * j + 8];
    const int z = u.min[2 * j], z4 = u.min[2 * j + 8];
    b[j] = static_cast<uint8_t>(s | ((s4 >> 4) << 6));
    b[j + 4] = static_cast<uint8_t>(z | ((z4 >> 4) << 6));
    b[j + 8] = static_cast<uint8_t>((s4 & 15) | ((z4 & 15) << 4));
  }
}

inline int32_t dot_int8(const int8_t* a, const int8_t* b, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += int32_t{a[i]} * int32_t{b[i]};
  return sum;
}

template <class F>
concept Small = requires(const typename F::Block& block, Unpacked32& u) {
  F::unpack(block, u);
};

template <class F>
concept HasEncoder = requires(const float* values, typename F::Block& block) {
  F::encode(values, block);
};

template <class F>
struct BlockFormat {
  using Block = typename F::Block;
  using Unpacked = std::conditional_t<Small<F>, Unpacked32, Unpacked256>;
  static constexpr int kElements = Unpacked::kElements;
  static_assert(alignof(Block) == 1, "blocks lie at any address");

  static const Block& block_at(const uint8_t* blocks, int64_t index) {
    return *reinterpret_cast<const Block*>(blocks + index * int64_t{sizeof(Block)});
  }

  static void decode_block(const Block& block, float* out) {
    Unpacked u;
    F::unpack(block, u);
    if constexpr (Small<F>) {
      for (int i = 0; i < 32; ++i) {
        const float value = u.d * static_cast<float>(u.q[i]);
        out[i] = F::kHasMin ? value + u.min : value;
      }
    } else {
      for (int g = 0; g < 16; ++g) {
        const float scale = u.d * static_cast<float>(u.scale[g]);
        const float min = F::kHasMin ? u.dmin * static_cast<float>(u.min[g]) : 0.0f;
        for (int i = 16 * g; i < 16 * g + 16; ++i) {
          const float value = scale * static_cast<float>(u.q[i]);
          out[i] = F::kHasMin ? value - min : value;
        }
      }
    }
  }

  static void decode(const uint8_t* blocks, int64_t n, float* out) {
    for (int64_t b = 0; b < n / kElements; ++b) {
      decode_block(block_at(blocks, b), out + b * kElements);
    }
  }

  static void encode(const float* values, int64_t n, uint8_t* blocks) {
    for (int64_t b = 0; b < n / kElements; ++b) {
      F::encode(values + b * kElements,
                *reinterpret_cast<Block*>(blocks + b * int64_t{sizeof(Block)}));
    }
  }

  // The order of float operations is part of the contract (see Traits::dot). All integers converted
  // to float are below 2^24, so the conversions are exact.
  static float dot(const uint8_t* blocks, const ActBlock* x, int64_t n) {
    float result = 0.0f;
    Unpacked u;
    for (int64_t b = 0; b < n / kElements; ++b) {
      F::unpack(block_at(blocks, b), u);
      if constexpr (Small<F>) {
        const ActBlock& act = x[b / 8];
        const int j = static_cast<int>(b % 8);
        const int32_t product = dot_int8(u.q, act.q + 32 * j, 32);
        result += (u.d * act.scale[j]) * static_cast<float>(product);
        if constexpr (F::kHasMin) {
          const int32_t sum = act.sum[2 * j] + act.sum[2 * j + 1];
          result += (u.min * act.scale[j]) * static_cast<float>(sum);
        }
      } else {
        const ActBlock& act = x[b];
        for (int j = 0; j < 8; ++j) {
          const int g = 2 * j;
          const int32_t product =
              u.scale[g] * dot_int8(u.q + 32 * j, act.q + 32 * j, 16) +
              u.scale[g + 1] * dot_int8(u.q + 32 * j + 16, act.q + 32 * j + 16, 16);
          result += (u.d * act.scale[j]) * static_cast<float>(product);
          if constexpr (F::kHasMin) {
            const int32_t sum = u.min[g] * act.sum[g] + u.min[g + 1] * act.sum[g + 1];
            result -= (u.dmin * act.scale[j]) * static_cast<float>(sum);
          }
        }
      }
    }
    return result;
  }

  static double dot_f32(const uint8_t* blocks, const float* x, int64_t n) {
    double result = 0.0;
    float values[kElements];
    for (int64_t b = 0; b < n / kElements; ++b) {
      decode_block(block_at(blocks, b), values);
      for (int i = 0; i < kElements; ++i) {
        result += static_cast<double>(values[i]) * static_cast<double>(x[b * kElements + i]);
      }
    }
    return result;
  }
};

template <class F>
constexpr Traits make_traits(Type type, std::string_view name) {
  using B = BlockFormat<F>;
  Traits t{type,    name,   B::kElements, sizeof(typename F::Block), false, B::decode,
           nullptr, B::dot, B::dot_f32};
  if constexpr (HasEncoder<F>) t.encode = B::encode;
  return t;
}

}  // namespace sluice::quant
