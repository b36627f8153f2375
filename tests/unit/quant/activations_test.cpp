// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "quant/quant.h"

namespace sluice::quant {
namespace {

std::vector<ActBlock> quantize(const std::vector<float>& x) {
  std::vector<ActBlock> out(static_cast<size_t>(act_blocks(static_cast<int64_t>(x.size()))));
  std::memset(out.data(), 0x5a, out.size() * sizeof(ActBlock));  // everything must be written
  quantize_activations(x.data(), static_cast<int64_t>(x.size()), out.data());
  return out;
}

void expect_sums(const std::vector<ActBlock>& blocks) {
  for (const ActBlock& block : blocks) {
    for (int g = 0; g < 16; ++g) {
      int sum = 0;
      for (int i = 0; i < 16; ++i) sum += block.q[16 * g + i];
      ASSERT_EQ(block.sum[g], sum) << g;
    }
  }
}

TEST(Activations, FollowTheFormulaAtManyMagnitudes) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const float size : {1e-30f, 1e-6f, 0.01f, 1.0f, 300.0f, 1e30f}) {
    std::vector<float> x(2 * 256 + 96);
    for (float& v : x) v = size * normal(random);
    const std::vector<ActBlock> blocks = quantize(x);
    ASSERT_EQ(blocks.size(), 3u);
    for (size_t g = 0; g < x.size() / 32; ++g) {
      const ActBlock& block = blocks[g / 8];
      float max = 0;
      for (size_t i = 0; i < 32; ++i) max = std::max(max, std::fabs(x[32 * g + i]));
      ASSERT_EQ(block.scale[g % 8], max / 127.0f);
      const float inverse = 127.0f / max;
      int largest = 0;
      for (size_t i = 0; i < 32; ++i) {
        const int q = block.q[32 * (g % 8) + i];
        ASSERT_EQ(q, std::nearbyint(x[32 * g + i] * inverse));
        largest = std::max(largest, std::abs(q));
      }
      ASSERT_EQ(largest, 127);
    }
    expect_sums(blocks);
    for (int j = 3; j < 8; ++j) {
      EXPECT_EQ(blocks[2].scale[j], 0.0f);
      for (int i = 0; i < 32; ++i) ASSERT_EQ(blocks[2].q[32 * j + i], 0);
    }
  }
}

TEST(Activations, TiesGoToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = -127.0f;  // the scale is 1
  const float values[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f};
  const int expected[] = {0, 2, 2, 0, -2, -2, 126};
  for (size_t i = 0; i < 7; ++i) x[i + 1] = values[i];
  const std::vector<ActBlock> blocks = quantize(x);
  EXPECT_EQ(blocks[0].scale[0], 1.0f);
  EXPECT_EQ(blocks[0].q[0], -127);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(blocks[0].q[i + 1], expected[i]) << values[i];
}

TEST(Activations, ZeroAndTinyGroupsAreZero) {
  for (const float v : {0.0f, -0.0f, 1e-40f, -9e-37f}) {
    const std::vector<ActBlock> blocks = quantize(std::vector<float>(64, v));
    for (int j = 0; j < 8; ++j) EXPECT_EQ(blocks[0].scale[j], 0.0f);
    for (const int8_t q : blocks[0].q) ASSERT_EQ(q, 0);
    expect_sums(blocks);
  }
  EXPECT_EQ(quantize(std::vector<float>(32, 1.1e-36f))[0].q[0], 127);
}

TEST(Activations, WhatIsNotFiniteSpoilsItsOwnGroupOnly) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(256, 1.0f);
    x[40] = bad;
    const std::vector<ActBlock> blocks = quantize(x);
    for (int j = 0; j < 8; ++j) EXPECT_EQ(std::isnan(blocks[0].scale[j]), j == 1) << j;
    for (int i = 32; i < 64; ++i) ASSERT_EQ(blocks[0].q[i], 0);
    expect_sums(blocks);
    std::vector<uint8_t> weights(row_bytes(Type::kQ8_0, 256), 0x01);
    EXPECT_TRUE(std::isnan(traits(Type::kQ8_0).dot(weights.data(), blocks.data(), 256)));
  }
}

}  // namespace
}  // namespace sluice::quant
