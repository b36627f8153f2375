// SPDX-License-Identifier: Apache-2.0
#include "synth/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "quant/block_format.h"

namespace sluice::synth {
namespace {

using quant::Type;

// Power of two, so that a block's scales are chosen by a few random bits.
constexpr uint32_t kPoolBlocks = 256;

struct Payload {
  size_t begin;
  size_t end;
};

// Where a block holds nothing but quantised values.
Payload payload_of(Type type) {
  switch (type) {
    case Type::kQ4_0:
      return {2, 18};
    case Type::kQ4_1:
      return {4, 20};
    case Type::kQ5_0:
      return {2, 22};
    case Type::kQ5_1:
      return {4, 24};
    case Type::kQ8_0:
      return {2, 34};
    case Type::kIQ4_NL:
      return {2, 18};
    case Type::kMXFP4:
      return {1, 17};
    case Type::kQ2_K:
      return {16, 80};
    case Type::kQ3_K:
      return {0, 96};
    case Type::kQ4_K:
      return {16, 144};
    case Type::kQ5_K:
      return {16, 176};
    case Type::kQ6_K:
      return {0, 192};
    case Type::kIQ4_XS:
      return {8, 136};
    default:
      return {0, 0};
  }
}

void put_half(uint8_t* at, float value) {
  const uint16_t bits = quant::f32_to_f16(value);
  std::memcpy(at, &bits, 2);
}

// Formats whose values are not symmetric get scales of either sign, so that the mean is 0.
float either_sign(Random& random, float value) {
  return random.next() & 1 ? -value : value;
}

void set_q4_q5_k_scales(uint8_t* block, float d, float middle, Random& random) {
  quant::Unpacked256 u;
  for (int g = 0; g < 16; g += 2) {
    const auto s = static_cast<int32_t>(32 + random.below(32));
    u.scale[g] = u.scale[g + 1] = u.min[g] = u.min[g + 1] = s;
  }
  put_half(block, d);
  put_half(block + 2, d * middle);  // with equal scales and mins: takes the mean away
  quant::pack_six_bit(u, block + 4);
}

void set_q3_k_scales(uint8_t* scales, Random& random) {
  std::memset(scales, 0, 12);
  for (int g = 0; g < 16; ++g) {
    const int magnitude = 16 + static_cast<int>(random.below(16));
    const int s = (random.next() & 1 ? -magnitude : magnitude) + 32;
    scales[g % 8] = static_cast<uint8_t>(scales[g % 8] | ((s & 15) << (g < 8 ? 0 : 4)));
    scales[8 + g % 4] = static_cast<uint8_t>(scales[8 + g % 4] | ((s >> 4) << (2 * (g / 4))));
  }
}

void set_iq4_xs_scales(uint8_t* block, Random& random) {
  std::memset(block + 2, 0, 6);
  for (int j = 0; j < 8; ++j) {
    const int magnitude = 16 + static_cast<int>(random.below(16));
    const int s = (random.next() & 1 ? -magnitude : magnitude) + 32;
    block[2 + j / 4] = static_cast<uint8_t>(block[2 + j / 4] | ((s >> 4) << (2 * (j % 4))));
    block[4 + j / 2] = static_cast<uint8_t>(block[4 + j / 2] | ((s & 15) << (4 * (j % 2))));
  }
}

// MXFP4's scales are powers of two: two neighbours in the proportion that gives the variance.
// position: of the block in the pool, 0 to 1.
void set_mxfp4_scale(uint8_t* block, float d, float position) {
  const float exponent = std::floor(std::log2(d));
  const float ratio = d / std::exp2(exponent);  // 1 to 2: E[4^n] = ratio^2
  const bool double_it = position < (ratio * ratio - 1.0f) / 3.0f;
  block[0] = static_cast<uint8_t>(static_cast<int>(exponent) + (double_it ? 1 : 0) + 128);
}

// Everything that is not payload; d is the scale of the smallest step.
void set_scales(Type type, float d, float position, Random& random, uint8_t* block) {
  switch (type) {
    case Type::kQ4_0:
    case Type::kQ5_0:
    case Type::kQ8_0:
    case Type::kIQ4_NL:
      put_half(block, either_sign(random, d));
      break;
    case Type::kQ4_1:
      put_half(block, d);
      put_half(block + 2, -7.5f * d);
      break;
    case Type::kQ5_1:
      put_half(block, d);
      put_half(block + 2, -15.5f * d);
      break;
    case Type::kMXFP4:
      set_mxfp4_scale(block, d, position);
      break;
    case Type::kQ2_K:
      for (int g = 0; g < 16; ++g) {
        const uint32_t s = 8 + random.below(8);
        block[g] = static_cast<uint8_t>(s | (s << 4));
      }
      put_half(block + 80, d);
      put_half(block + 82, 1.5f * d);
      break;
    case Type::kQ3_K:
      set_q3_k_scales(block + 96, random);
      put_half(block + 108, d);
      break;
    case Type::kQ4_K:
      set_q4_q5_k_scales(block, d, 7.5f, random);
      break;
    case Type::kQ5_K:
      set_q4_q5_k_scales(block, d, 15.5f, random);
      break;
    case Type::kQ6_K:
      for (int g = 0; g < 16; ++g) {
        const int magnitude = 32 + static_cast<int>(random.below(32));
        block[192 + g] = static_cast<uint8_t>(random.next() & 1 ? -magnitude : magnitude);
      }
      put_half(block + 208, d);
      break;
    case Type::kIQ4_XS:
      set_iq4_xs_scales(block, random);
      put_half(block, d);
      break;
    default:
      break;
  }
}

void fill_bits(Random& random, std::span<uint8_t> bytes) {
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    const uint64_t bits = random.next();
    std::memcpy(bytes.data() + i, &bits, 8);
  }
  if (i == bytes.size()) return;
  const uint64_t bits = random.next();
  std::memcpy(bytes.data() + i, &bits, bytes.size() - i);
}

// The standard deviation of weights whose smallest step is 1.
float unit_deviation(Type type) {
  const quant::Traits& traits = quant::traits(type);
  const Payload payload = payload_of(type);
  const auto bytes = static_cast<size_t>(traits.block_bytes);
  const auto elements = static_cast<size_t>(traits.block_elements);
  std::vector<uint8_t> block(bytes);
  std::vector<float> values(elements);
  Random random(1);
  double squares = 0;
  const size_t blocks = (size_t{1} << 18) / elements;
  for (size_t b = 0; b < blocks; ++b) {
    set_scales(type, 1.0f, 0.5f, random, block.data());
    fill_bits(random, std::span(block).subspan(payload.begin, payload.end - payload.begin));
    traits.decode(block.data(), traits.block_elements, values.data());
    for (const float v : values) squares += double{v} * double{v};
  }
  return static_cast<float>(std::sqrt(squares / static_cast<double>(blocks * elements)));
}

}  // namespace

RandomBlocks::RandomBlocks(Type type, float deviation, uint64_t seed)
    : traits_(quant::traits(type)), deviation_(deviation) {
  if (traits_.is_float) return;
  const Payload payload = payload_of(type);
  SLUICE_CHECK(payload.end > payload.begin, "a format that mixes use has a payload");
  payload_begin_ = payload.begin;
  payload_end_ = payload.end;
  const float step = deviation / unit_deviation(type);
  const auto bytes = static_cast<size_t>(traits_.block_bytes);
  pool_.resize(kPoolBlocks * bytes);
  Random random(seed);
  for (size_t i = 0; i < kPoolBlocks; ++i) {
    const float position = (static_cast<float>(i) + 0.5f) / static_cast<float>(kPoolBlocks);
    set_scales(type, step, position, random, pool_.data() + i * bytes);
  }
}

void RandomBlocks::fill(Random& random, std::span<uint8_t> blocks) const {
  const auto bytes = static_cast<size_t>(traits_.block_bytes);
  if (traits_.is_float) {
    for (size_t at = 0; at < blocks.size(); at += bytes) {
      const float value = deviation_ * random.gaussian();
      traits_.encode(&value, 1, blocks.data() + at);
    }
    return;
  }
  fill_bits(random, blocks);
  for (size_t at = 0; at < blocks.size(); at += bytes * 8) {
    uint64_t choice = random.next();
    const size_t end = std::min(blocks.size(), at + bytes * 8);
    for (size_t block = at; block < end; block += bytes, choice >>= 8) {
      const uint8_t* from = pool_.data() + (choice % kPoolBlocks) * bytes;
      uint8_t* to = blocks.data() + block;
      std::memcpy(to, from, payload_begin_);
      std::memcpy(to + payload_end_, from + payload_end_, bytes - payload_end_);
    }
  }
}

}  // namespace sluice::synth
