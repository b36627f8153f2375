// SPDX-License-Identifier: Apache-2.0
// Norms, the rotary embedding, gates and the router of every backend.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backend_cases.h"

namespace sluice::compute {
namespace {

using quant::Type;

class RowsOfBackend : public BackendTest {};
SLUICE_EVERY_BACKEND(RowsOfBackend);

std::vector<double> exact_norm(std::span<const float> x, const float* weight, double eps) {
  double squares = 0;
  for (const float value : x) squares += double{value} * value;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  std::vector<double> out;
  for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * (weight ? weight[i] : 1));
  return out;
}

TEST_P(RowsOfBackend, RmsNorm) {
  for (const int64_t dim : {1, 2, 31, 64, 100, 2048, 4097})
    for (const int64_t rows : {1, 7}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << dim);
      auto x = floats(rows * dim, 3);
      x[0] = 1e4f;
      const auto weight = floats(dim);
      const DeviceMemory from = on_device(x), by = on_device(weight), to = poisoned(x.size());
      expect_done(
          api()->rms_norm(instance(), from.floats(), by.floats(), rows, dim, 1e-6f, to.floats()));
      const auto out = to.read();
      for (int64_t r = 0; r < rows; ++r) {
        const auto expected = exact_norm(row(x, r, dim), weight.data(), 1e-6);
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_NEAR(row(out, r, dim)[i], expected[i], 2e-6 * std::abs(expected[i]));
      }
      // In place, the same bits.
      expect_done(
          api()->rms_norm(instance(), from.floats(), by.floats(), rows, dim, 1e-6f, from.floats()));
      EXPECT_EQ(from.read(), out);
    }
}

TEST_P(RowsOfBackend, NothingForNoRows) {
  const DeviceMemory x = on_device(floats(64)), out = poisoned(64);
  expect_done(api()->rms_norm(instance(), x.floats(), x.floats(), 0, 64, 1e-6f, out.floats()));
  expect_done(api()->gated_norm(instance(), x.floats(), x.floats(), 0, 64, 1e-6f, out.floats()));
  expect_done(api()->sigmoid_gate(instance(), x.floats(), 0, out.floats()));
  expect_done(api()->norm_rope(instance(), out.floats(), 0, 1, 64, 64, x.floats(), 1e-6f,
                               x.floats(), x.floats(), 64));
  for (const float value : out.read()) EXPECT_TRUE(std::isnan(value));
}

struct RopeShape {
  int64_t rows, heads, head_dim, stride, rotary;
};

TEST_P(RowsOfBackend, NormRope) {
  const RopeShape shapes[] = {{5, 4, 32, 128, 32},     {3, 2, 32, 64, 8},    {3, 2, 16, 77, 16},
                              {1, 1, 2, 2, 2},         {9, 3, 128, 400, 64}, {2, 16, 256, 4096, 64},
                              {33, 32, 128, 4096, 128}};
  for (const RopeShape& c : shapes)
    for (const bool weighted : {true, false}) {
      SCOPED_TRACE(testing::Message() << c.rows << " rows, head of " << c.head_dim << ", "
                                      << c.rotary << " rotated" << (weighted ? ", norm" : ""));
      const auto before = floats(c.rows * c.stride, 2), weight = floats(c.head_dim);
      const int64_t half = c.rotary / 2;
      std::vector<float> cosines, sines;
      for (int64_t i = 0; i < c.rows * half; ++i) {
        cosines.push_back(static_cast<float>(std::cos(0.7 * static_cast<double>(i))));
        sines.push_back(static_cast<float>(std::sin(0.7 * static_cast<double>(i))));
      }
      const DeviceMemory x = on_device(before), by = on_device(weight), co = on_device(cosines),
                         si = on_device(sines);
      expect_done(api()->norm_rope(instance(), x.floats(), c.rows, c.heads, c.head_dim, c.stride,
                                   weighted ? by.floats() : nullptr, 1e-6f, co.floats(),
                                   si.floats(), c.rotary));
      const auto after = x.read();
      for (int64_t r = 0; r < c.rows; ++r) {
        for (int64_t h = 0; h < c.heads; ++h) {
          const auto at = static_cast<size_t>(r * c.stride + h * c.head_dim);
          const std::span<const float> head(before.data() + at, static_cast<size_t>(c.head_dim));
          std::vector<double> expected(head.begin(), head.end());
          if (weighted) expected = exact_norm(head, weight.data(), 1e-6);
          for (size_t i = 0; i < static_cast<size_t>(half); ++i) {
            const size_t k = static_cast<size_t>(r * half) + i,
                         pair = i + static_cast<size_t>(half);
            const double a = expected[i], b = expected[pair];
            expected[i] = a * cosines[k] - b * sines[k];
            expected[pair] = b * cosines[k] + a * sines[k];
          }
          for (size_t i = 0; i < expected.size(); ++i)
            ASSERT_NEAR(after[at + i], expected[i], 5e-6) << "row " << r << " head " << h;
        }
        // What lies between the rows is not touched.
        for (int64_t i = c.heads * c.head_dim; i < c.stride; ++i)
          ASSERT_EQ(after[static_cast<size_t>(r * c.stride + i)],
                    before[static_cast<size_t>(r * c.stride + i)]);
      }
    }
}

TEST_P(RowsOfBackend, GatedNorm) {
  for (const int64_t dim : {1, 33, 96, 128, 1000}) {
    SCOPED_TRACE(dim);
    const int64_t rows = 37;
    auto z = floats(rows * dim, 4);
    z[0] = -200;
    z[z.size() - 1] = 200;
    const auto x = floats(rows * dim, 2), weight = floats(dim);
    const DeviceMemory from = on_device(x), by = on_device(weight), gate = on_device(z);
    expect_done(
        api()->gated_norm(instance(), from.floats(), by.floats(), rows, dim, 1e-6f, gate.floats()));
    const auto out = gate.read();
    for (int64_t r = 0; r < rows; ++r) {
      const auto norm = exact_norm(row(x, r, dim), weight.data(), 1e-6);
      for (size_t i = 0; i < norm.size(); ++i) {
        const double g = row(z, r, dim)[i], expected = g / (1 + std::exp(-g)) * norm[i];
        ASSERT_NEAR(row(out, r, dim)[i], expected, 3e-6 * std::abs(expected) + 1e-30);
      }
    }
  }
}

TEST_P(RowsOfBackend, SigmoidGate) {
  auto gate = floats(10007, 5);
  gate[0] = -1000;
  gate[1] = 1000;
  const auto before = floats(10007);
  const DeviceMemory by = on_device(gate), x = on_device(before);
  expect_done(api()->sigmoid_gate(instance(), by.floats(), 10007, x.floats()));
  const auto after = x.read();
  for (size_t i = 0; i < after.size(); ++i) {
    const double expected = before[i] / (1 + std::exp(-double{gate[i]}));
    ASSERT_NEAR(after[i], expected, 1e-6 * std::abs(expected)) << i;
  }
}

TEST_P(RowsOfBackend, RowGate) {
  for (const int64_t dim : {1, 100, 2048}) {
    SCOPED_TRACE(dim);
    const int64_t rows = 70;
    auto x = floats(rows * dim);
    auto weight = floats(dim, 0.3f);
    weight[0] = 1;
    for (int64_t i = 0; i < dim; ++i) {
      x[static_cast<size_t>(i)] = 1e3f * weight[static_cast<size_t>(i)];
      x[static_cast<size_t>(dim + i)] = -1e3f * weight[static_cast<size_t>(i)];
    }
    const DeviceMemory from = on_device(x), by = on_device(weight);
    std::vector<float> out(static_cast<size_t>(rows), -1);
    ASSERT_EQ(api()->row_gate(instance(), from.floats(), rows, dim, by.floats(), out.data()), 0);
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(out[1], 0.0f);
    for (int64_t r = 2; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < dim; ++i)
        sum += double{weight[static_cast<size_t>(i)]} * row(x, r, dim)[static_cast<size_t>(i)];
      EXPECT_NEAR(out[static_cast<size_t>(r)], 1 / (1 + std::exp(-sum)), 2e-6);
    }
  }
}

// --- router ---

class RouterOfBackend : public BackendTest {
 protected:
  struct Choice {
    std::vector<int32_t> ids;
    std::vector<float> weights;
  };

  Choice route(const std::vector<float>& x, int64_t rows, const sluice_matrix& router, int64_t k) {
    const DeviceMemory from = on_device(x);
    Choice choice{std::vector<int32_t>(static_cast<size_t>(rows * k), -1),
                  std::vector<float>(static_cast<size_t>(rows * k), -1)};
    EXPECT_EQ(api()->route(instance(), from.floats(), rows, router.cols, &router, k,
                           choice.ids.data(), choice.weights.data()),
              0)
        << api()->last_error(instance());
    return choice;
  }

  // Softmax over all experts, the k largest, renormalised; in double.
  void expect_like_softmax(int64_t rows, const Weight& router, int64_t k) {
    const int64_t dim = router.matrix.cols;
    SCOPED_TRACE(testing::Message() << rows << " rows, " << k << " of " << router.matrix.rows
                                    << " experts, dim " << dim);
    const auto x = floats(rows * dim, 2);
    const DeviceWeight weight(backend(), router);
    const Choice choice = route(x, rows, weight.matrix(), k);
    for (int64_t r = 0; r < rows; ++r) {
      const auto logits = exact_product(router, row(x, r, dim));
      std::vector<double> sorted = logits;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const auto ids = row(choice.ids, r, k);
      const auto weights = row(choice.weights, r, k);
      // Float sums may exchange neighbours that are this close.
      double most = 0;
      for (const double logit : logits) most = std::max(most, std::abs(logit));
      const double close = 2e-6 * most * std::sqrt(static_cast<double>(dim));
      double chosen = 0;
      for (int64_t i = 0; i < k; ++i)
        chosen += std::exp(sorted[static_cast<size_t>(i)] - sorted[0]);
      double sum = 0;
      for (size_t i = 0; i < static_cast<size_t>(k); ++i) {
        ASSERT_GE(ids[i], 0);
        ASSERT_LT(ids[i], router.matrix.rows);
        ASSERT_EQ(std::count(ids.begin(), ids.end(), ids[i]), 1);
        const double logit = logits[static_cast<size_t>(ids[i])];
        ASSERT_NEAR(logit, sorted[i], close) << "row " << r << ", choice " << i;
        ASSERT_NEAR(weights[i], std::exp(logit - sorted[0]) / chosen, 1e-5 + 2 * close);
        if (i > 0) {
          ASSERT_LE(weights[i], weights[i - 1]);
        }
        sum += weights[i];
      }
      ASSERT_NEAR(sum, 1, 1e-6);
    }
  }
};
SLUICE_EVERY_BACKEND(RouterOfBackend);

TEST_P(RouterOfBackend, ChoosesTheMostProbable) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kBF16})
    for (const int64_t rows : {1, 2, 3, 4, 33})
      expect_like_softmax(rows, random_weight(type, 128, 96, random_), 8);
}

TEST_P(RouterOfBackend, AnyNumberOfExperts) {
  for (const int64_t experts : {1, 7, 31, 129, 512, 600, 1100})
    for (const int64_t rows : {1, 9})
      expect_like_softmax(rows, random_weight(Type::kF32, experts, 64, random_),
                          std::min<int64_t>(experts, 10));
  expect_like_softmax(5, random_weight(Type::kF32, 50, 33, random_), 50);  // all, odd width
}

// A quantised router meets the activations as they are, not rounded to 8 bits.
TEST_P(RouterOfBackend, QuantisedRouter) {
  for (const Type type : {Type::kQ8_0, Type::kQ4_K, Type::kQ6_K})
    expect_like_softmax(9, random_weight(type, 40, 256, random_), 6);
}

TEST_P(RouterOfBackend, WeightsAtAlignedAddresses) {
  const Weight router = random_weight(Type::kF32, 128, 2048, random_);
  const DeviceMemory aligned = on_device(router.values);
  const DeviceWeight odd(backend(), router);
  sluice_matrix matrix = router.matrix;
  matrix.data = aligned.data();
  for (const int64_t rows : {1, 20}) {
    const auto x = floats(rows * 2048);
    const Choice a = route(x, rows, matrix, 8), b = route(x, rows, odd.matrix(), 8);
    EXPECT_EQ(a.ids, b.ids);
    EXPECT_EQ(a.weights, b.weights);
    // A row alone: the same bits as among others.
    const std::vector<float> last(x.end() - 2048, x.end());
    const Choice alone = route(last, 1, matrix, 8);
    EXPECT_TRUE(std::equal(alone.ids.begin(), alone.ids.end(), a.ids.end() - 8));
    EXPECT_TRUE(std::equal(alone.weights.begin(), alone.weights.end(), a.weights.end() - 8));
  }
}

TEST_P(RouterOfBackend, TiesGoToTheLowerId) {
  // Experts 1, 34 and 70 share one row, and are the best; 0, 2 and 66 share the second best.
  const auto x = floats(32);
  std::vector<float> rows(80 * 32);
  for (size_t e = 0; e < 80; ++e)
    for (size_t i = 0; i < 32; ++i) {
      const bool best = e == 1 || e == 34 || e == 70, second = e == 0 || e == 2 || e == 66;
      rows[e * 32 + i] = x[i] * (best ? 1.0f : second ? 0.5f : -1.0f);
    }
  const DeviceMemory weight = on_device(rows);
  const sluice_matrix router{weight.data(), static_cast<uint32_t>(Type::kF32), 32, 80};
  EXPECT_EQ(route(x, 1, router, 2).ids, (std::vector<int32_t>{1, 34}));
  EXPECT_EQ(route(x, 1, router, 5).ids, (std::vector<int32_t>{1, 34, 70, 0, 2}));
  EXPECT_EQ(route(x, 1, router, 8).ids, (std::vector<int32_t>{1, 34, 70, 0, 2, 66, 3, 4}));
  const Choice two = route(x, 1, router, 2);
  EXPECT_EQ(two.weights[0], 0.5f);
  EXPECT_EQ(two.weights[1], 0.5f);
}

TEST_P(RouterOfBackend, LargeLogitsDoNotOverflow) {
  const Weight router = random_weight(Type::kF32, 12, 32, random_);
  const DeviceWeight weight(backend(), router);
  const Choice choice = route(floats(32, 1e6f), 1, weight.matrix(), 4);
  EXPECT_EQ(choice.weights[0], 1);
  for (const float value : choice.weights) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(RouterOfBackend, RefusesImpossibleChoices) {
  if (is_cpu()) GTEST_SKIP() << "the CPU's side checks nothing here: the model is checked at load";
  const Weight router = random_weight(Type::kF32, 12, 32, random_);
  const DeviceWeight weight(backend(), router);
  const DeviceMemory x = on_device(floats(32));
  std::vector<int32_t> ids(20);
  std::vector<float> weights(20);
  expect_refused(
      api()->route(instance(), x.floats(), 1, 32, &weight.matrix(), 13, ids.data(), weights.data()),
      "13 of 12 experts");
}

}  // namespace
}  // namespace sluice::compute
