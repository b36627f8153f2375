// SPDX-License-Identifier: Apache-2.0
// Matrix products against double precision.
#include <gtest/gtest.h>

#include <cmath>

#include "../quant/random_blocks.h"
#include "fixture.h"

namespace sluice::compute {
namespace {

using quant::Type;

class MultiplyTest : public testing::Test {
 protected:
  enum Fineness { kCoarse, kFine, kEverySecond };
  static bool is_fine(Fineness fineness, size_t product) {
    return fineness == kFine || (fineness == kEverySecond && product % 2 == 1);
  }

  // Multiplies x [rows, cols] with all weights in one call and checks every element.
  void expect_products(const std::vector<Weight>& weights, int64_t rows, Fineness fineness,
                       bool accumulate) {
    const int64_t cols = weights[0].matrix.cols;
    const auto x = random_floats(static_cast<size_t>(rows * cols), random_);
    std::vector<std::vector<float>> outs;
    std::vector<sluice_product> products;
    for (const Weight& weight : weights)
      outs.push_back(random_floats(static_cast<size_t>(rows * weight.matrix.rows), random_));
    const auto before = outs;
    for (size_t w = 0; w < weights.size(); ++w)
      products.push_back(
          {weights[w].matrix, outs[w].data(), accumulate ? 1 : 0, is_fine(fineness, w) ? 1 : 0});
    ASSERT_EQ(backend_->multiply(backend_.get(), x.data(), rows, cols, products.data(),
                                 static_cast<int32_t>(products.size())),
              0);
    for (size_t w = 0; w < weights.size(); ++w)
      for (int64_t r = 0; r < rows; ++r) {
        const auto expected = exact_product(weights[w], row(x, r, cols));
        const auto bound = product_error(weights[w], row(x, r, cols), is_fine(fineness, w));
        const int64_t n = weights[w].matrix.rows;
        for (size_t i = 0; i < expected.size(); ++i) {
          const double start = accumulate ? row(before[w], r, n)[i] : 0.0;
          ASSERT_NEAR(row(outs[w], r, n)[i], start + expected[i], bound[i])
              << "weight " << w << " row " << r << " output " << i;
        }
      }
  }

  Backend backend_ = open_cpu();
  std::mt19937 random_{3};
};

TEST_F(MultiplyTest, EveryTypeOfWeight) {
  for (const quant::Traits* traits : quant::all_formats())
    for (const Fineness fine : {kCoarse, kFine}) {
      SCOPED_TRACE(testing::Message() << traits->name << (fine ? " fine" : ""));
      const int64_t cols = traits->block_elements == 256 ? 512 : 96;
      expect_products({random_weight(traits->type, 37, cols, random_)}, 3, fine, false);
    }
}

TEST_F(MultiplyTest, RowsOfAnyNumber) {
  for (const int64_t rows : {1, 2, 15, 16, 17, 33})
    for (const int64_t outputs : {1, 31, 32, 33, 100}) {
      SCOPED_TRACE(testing::Message() << rows << " rows, " << outputs << " outputs");
      expect_products({random_weight(Type::kQ8_0, outputs, 64, random_)}, rows,
                      rows % 2 ? kFine : kCoarse, false);
      expect_products({random_weight(Type::kF16, outputs, 64, random_)}, rows,
                      rows % 2 ? kFine : kCoarse, false);
    }
}

// Float weights of rows that are no multiple of anything, and longer than one piece of widening.
TEST_F(MultiplyTest, FloatRowsOfAnyLength) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kBF16})
    for (const int64_t cols : {1, 7, 17, 1023, 1025, 2500}) {
      SCOPED_TRACE(cols);
      expect_products({random_weight(type, 5, cols, random_)}, 3, kCoarse, false);
    }
}

TEST_F(MultiplyTest, SeveralProductsShareOneInput) {
  std::vector<Weight> weights;
  for (const Type type : {Type::kQ4_K, Type::kF32, Type::kQ6_K, Type::kBF16, Type::kQ8_0})
    weights.push_back(
        random_weight(type, 40 + 3 * static_cast<int64_t>(weights.size()), 256, random_));
  for (const Fineness fine : {kCoarse, kFine, kEverySecond})
    for (const bool accumulate : {false, true}) expect_products(weights, 20, fine, accumulate);
}

TEST_F(MultiplyTest, EachProductAccumulatesOrNot) {
  const Weight weight = random_weight(Type::kQ5_K, 33, 256, random_);
  const auto x = random_floats(2 * 256, random_);
  std::vector<float> set(66, 5), added(66, 5);
  const sluice_product products[] = {{weight.matrix, set.data(), 0, 0},
                                     {weight.matrix, added.data(), 1, 0}};
  ASSERT_EQ(backend_->multiply(backend_.get(), x.data(), 2, 256, products, 2), 0);
  for (size_t i = 0; i < set.size(); ++i) EXPECT_EQ(added[i], 5.0f + set[i]);
}

// The reason for `fine`: about 16 bits of each activation instead of 8.
TEST_F(MultiplyTest, FineIsMuchCloser) {
  for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kIQ4_XS, Type::kMXFP4}) {
    SCOPED_TRACE(quant::traits(type).name);
    const Weight weight = random_weight(type, 128, 512, random_);
    const auto x = random_floats(512, random_);
    const auto exact = exact_product(weight, x);
    double error[2];
    for (const int fine : {0, 1}) {
      std::vector<float> out(128);
      const sluice_product product{weight.matrix, out.data(), 0, fine};
      ASSERT_EQ(backend_->multiply(backend_.get(), x.data(), 1, 512, &product, 1), 0);
      error[fine] = relative_error(out, exact);
    }
    EXPECT_LT(error[0], 1e-2);
    EXPECT_LT(error[1], 1e-4);
    EXPECT_LT(error[1], error[0] / 50);
  }
}

TEST_F(MultiplyTest, FineChangesNothingForFloatWeights) {
  const Weight weight = random_weight(Type::kBF16, 50, 192, random_);
  const auto x = random_floats(3 * 192, random_);
  std::vector<float> outs[2];
  for (const int fine : {0, 1}) {
    outs[fine].resize(150);
    const sluice_product product{weight.matrix, outs[fine].data(), 0, fine};
    ASSERT_EQ(backend_->multiply(backend_.get(), x.data(), 3, 192, &product, 1), 0);
  }
  EXPECT_EQ(outs[0], outs[1]);
}

TEST_F(MultiplyTest, ZeroAndLargeInputs) {
  const Weight weight = random_weight(Type::kQ4_K, 40, 256, random_);
  for (const float size : {0.0f, 1e-30f, 1e20f}) {
    std::vector<float> x(256, size);
    std::vector<float> out(40, -1);
    const sluice_product product{weight.matrix, out.data(), 0, 1};
    ASSERT_EQ(backend_->multiply(backend_.get(), x.data(), 1, 256, &product, 1), 0);
    const auto exact = exact_product(weight, x);
    for (size_t i = 0; i < out.size(); ++i)
      EXPECT_NEAR(out[i], exact[i], 2e-3 * std::abs(exact[i]) + 1e-3 * size) << size;
  }
}

TEST_F(MultiplyTest, NoRowsIsNoWork) {
  const Weight weight = random_weight(Type::kQ8_0, 40, 64, random_);
  float out = 7;
  const sluice_product product{weight.matrix, &out, 0, 0};
  ASSERT_EQ(backend_->multiply(backend_.get(), &out, 0, 64, &product, 1), 0);
  EXPECT_EQ(out, 7);
}

}  // namespace
}  // namespace sluice::compute
