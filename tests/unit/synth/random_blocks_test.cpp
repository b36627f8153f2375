// SPDX-License-Identifier: Apache-2.0
#include "synth/random_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "gguf/quantize.h"

namespace sluice::synth {
namespace {

// Every type that a mix can ask for.
std::vector<quant::Type> types() {
  std::vector<quant::Type> found;
  std::istringstream names(gguf::mix_names());
  for (std::string name; names >> name;) found.push_back(gguf::find_mix(name)->base);
  return found;
}

TEST(RandomBlocks, HaveTheDeviationAndNoMean) {
  constexpr int64_t kElements = 256 * 1024;
  for (const quant::Type type : types()) {
    for (const float deviation : {0.01f, 1.0f}) {
      const RandomBlocks blocks(type, deviation, 7);
      Random random(3);
      std::vector<uint8_t> bytes(quant::row_bytes(type, kElements));
      blocks.fill(random, bytes);
      std::vector<float> values(kElements);
      quant::traits(type).decode(bytes.data(), kElements, values.data());
      double sum = 0, squares = 0;
      for (const float v : values) {
        ASSERT_TRUE(std::isfinite(v));
        sum += double{v};
        squares += double{v} * double{v};
      }
      const double got = std::sqrt(squares / kElements);
      EXPECT_NEAR(got / double{deviation}, 1.0, 0.05) << quant::traits(type).name;
      // 256 chosen scales, of either sign, leave some mean.
      EXPECT_LT(std::abs(sum / kElements), 0.1 * got) << quant::traits(type).name;
    }
  }
}

TEST(RandomBlocks, FollowTheRandomSequence) {
  const RandomBlocks blocks(quant::Type::kQ4_K, 1.0f, 7);
  std::vector<uint8_t> a(144 * 100), b(a.size()), c(a.size());
  Random one(1), again(1), other(2);
  blocks.fill(one, a);
  blocks.fill(again, b);
  blocks.fill(other, c);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

}  // namespace
}  // namespace sluice::synth
