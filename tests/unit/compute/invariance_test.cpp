// SPDX-License-Identifier: Apache-2.0
// The same inputs give the same bits: with any number of threads, and for a row whether it comes
// alone or with others. Every tier and every batch of the engine rests on this.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <string>

#include "fixture.h"

namespace sluice::compute {
namespace {

using quant::Type;

constexpr int64_t kDim = 256;
constexpr int64_t kHidden = 256;
constexpr int64_t kHeads = 4, kKvHeads = 2, kHeadDim = 64;
constexpr int64_t kExperts = 8, kUsed = 3;

// Weights of every kind of operation, and inputs of `kRows` rows.
struct Fixture {
  static constexpr int64_t kRows = 37;
  std::mt19937 random{7};
  Weight table = random_weight(Type::kQ4_K, 50, kDim, random);
  std::vector<Weight> weights;
  Weight router = random_weight(Type::kF32, kExperts, kDim, random);
  Weight quantised_router = random_weight(Type::kQ8_0, kExperts, kDim, random);
  std::vector<Weight> gates, ups, downs;
  std::vector<float> norm = random_floats(kDim, random);
  std::vector<float> head_norm = random_floats(kHeadDim, random);
  std::vector<float> x = random_floats(kRows * kDim, random);
  std::vector<float> q = random_floats(kRows * kHeads * kHeadDim, random);
  std::vector<float> k = random_floats(kRows * kKvHeads * kHeadDim, random);
  std::vector<float> v = random_floats(kRows * kKvHeads * kHeadDim, random);
  std::vector<float> cosines = random_floats(kRows * kHeadDim / 2, random);
  std::vector<float> sines = random_floats(kRows * kHeadDim / 2, random);

  Fixture() {
    for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kQ2_K, Type::kIQ2_XS,
                            Type::kF32, Type::kBF16, Type::kF16})
      weights.push_back(random_weight(type, 45, kDim, random));
    for (int64_t e = 0; e < kExperts; ++e) {
      gates.push_back(random_weight(e % 3 ? Type::kQ4_K : Type::kF16, kHidden, kDim, random));
      ups.push_back(random_weight(e % 2 ? Type::kQ4_K : Type::kBF16, kHidden, kDim, random));
      downs.push_back(random_weight(e % 2 ? Type::kQ6_K : Type::kF32, kDim, kHidden, random));
    }
  }

  const float* part(const std::vector<float>& values, int64_t first, int64_t width) const {
    return values.data() + first * width;
  }
};

using Outputs = std::map<std::string, std::vector<float>>;

// Runs every operation on rows [first, first + rows); attention on the whole sequence before it.
class Runner {
 public:
  Runner(const Backend& backend, const Fixture& f)
      : backend_(backend),
        f_(f),
        keys_(quant::row_bytes(Type::kF16, kHeadDim) * kKvHeads * Fixture::kRows),
        values_(quant::row_bytes(Type::kQ8_0, kHeadDim) * kKvHeads * Fixture::kRows) {}

  void run(int64_t first, int64_t rows, Outputs& out) {
    embed(first, rows, out["embed"]);
    norms(first, rows, out);
    for (const int fine : {0, 1})
      for (const int accumulate : {0, 1}) products(first, rows, fine, accumulate, out);
    attention(first, rows, out["attention"]);
    route(f_.router, first, rows, out["route"]);
    route(f_.quantised_router, first, rows, out["quantised route"]);
    experts(first, rows, out["experts"]);
  }

 private:
  static void append(std::vector<float>& to, const std::vector<float>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  void embed(int64_t first, int64_t rows, std::vector<float>& out) {
    std::vector<int32_t> ids;
    for (int64_t r = first; r < first + rows; ++r) ids.push_back(static_cast<int32_t>(r));
    std::vector<float> x(static_cast<size_t>(rows * kDim));
    EXPECT_EQ(backend_->embed(backend_.get(), &f_.table.matrix, ids.data(), rows, x.data()), 0);
    append(out, x);
  }

  void norms(int64_t first, int64_t rows, Outputs& out) {
    std::vector<float> x(static_cast<size_t>(rows * kDim));
    EXPECT_EQ(backend_->rms_norm(backend_.get(), f_.part(f_.x, first, kDim), f_.norm.data(), rows,
                                 kDim, 1e-6f, x.data()),
              0);
    append(out["rms_norm"], x);
    const int64_t width = kHeads * kHeadDim;
    std::vector<float> q(f_.part(f_.q, first, width), f_.part(f_.q, first + rows, width));
    EXPECT_EQ(
        backend_->norm_rope(backend_.get(), q.data(), rows, kHeads, kHeadDim, width,
                            f_.head_norm.data(), 1e-6f, f_.part(f_.cosines, first, kHeadDim / 2),
                            f_.part(f_.sines, first, kHeadDim / 2), kHeadDim),
        0);
    append(out["norm_rope"], q);
  }

  void products(int64_t first, int64_t rows, int fine, int accumulate, Outputs& out) {
    std::vector<std::vector<float>> results;
    std::vector<sluice_product> products;
    for (const Weight& weight : f_.weights)
      results.emplace_back(static_cast<size_t>(rows * weight.matrix.rows), 0.5f);
    for (size_t w = 0; w < results.size(); ++w)
      products.push_back({f_.weights[w].matrix, results[w].data(), accumulate, fine});
    EXPECT_EQ(backend_->multiply(backend_.get(), f_.part(f_.x, first, kDim), rows, kDim,
                                 products.data(), static_cast<int32_t>(products.size())),
              0);
    for (size_t w = 0; w < results.size(); ++w)
      append(out["multiply " + std::to_string(w) + (fine ? " fine" : "") +
                 (accumulate ? " accumulated" : "")],
             results[w]);
  }

  void attention(int64_t first, int64_t rows, std::vector<float>& out) {
    const sluice_kv kv{keys_.data(),
                       values_.data(),
                       static_cast<uint32_t>(Type::kF16),
                       static_cast<uint32_t>(Type::kQ8_0),
                       Fixture::kRows,
                       kKvHeads,
                       kHeadDim};
    const sluice_span span{kv, 0, rows, first};
    std::vector<float> mixed(static_cast<size_t>(rows * kHeads * kHeadDim));
    EXPECT_EQ(
        backend_->kv_store(backend_.get(), &span, 1, f_.part(f_.k, first, kKvHeads * kHeadDim),
                           f_.part(f_.v, first, kKvHeads * kHeadDim)),
        0);
    EXPECT_EQ(backend_->attention(backend_.get(), &span, 1, f_.part(f_.q, first, kHeads * kHeadDim),
                                  kHeads, 0.125f, mixed.data()),
              0);
    append(out, mixed);
  }

  void route(const Weight& router, int64_t first, int64_t rows, std::vector<float>& out) {
    std::vector<int32_t> ids(static_cast<size_t>(rows * kUsed));
    std::vector<float> weights(ids.size());
    EXPECT_EQ(backend_->route(backend_.get(), f_.part(f_.x, first, kDim), rows, kDim,
                              &router.matrix, kUsed, ids.data(), weights.data()),
              0);
    for (size_t i = 0; i < ids.size(); ++i) {
      out.push_back(static_cast<float>(ids[i]));
      out.push_back(weights[i]);
    }
  }

  // Row r goes to experts r, r + 1 and r + 3 (modulo their number).
  void experts(int64_t first, int64_t rows, std::vector<float>& out) {
    std::vector<std::vector<int32_t>> chosen(kExperts);
    std::vector<std::vector<float>> weights(kExperts);
    for (int64_t r = 0; r < rows; ++r)
      for (const int64_t step : {0, 1, 3}) {
        const auto e = static_cast<size_t>((first + r + step) % kExperts);
        chosen[e].push_back(static_cast<int32_t>(r));
        weights[e].push_back(0.1f * static_cast<float>(first + r) + static_cast<float>(step));
      }
    std::vector<sluice_expert> list;
    for (size_t e = 0; e < kExperts; ++e)
      if (!chosen[e].empty())
        list.push_back({f_.gates[e].matrix, f_.ups[e].matrix, f_.downs[e].matrix, chosen[e].data(),
                        weights[e].data(), static_cast<int32_t>(chosen[e].size())});
    std::vector<float> sum(f_.part(f_.x, first, kDim), f_.part(f_.x, first + rows, kDim));
    EXPECT_EQ(backend_->experts(backend_.get(), f_.part(f_.x, first, kDim), rows, kDim, list.data(),
                                static_cast<int32_t>(list.size()), sum.data()),
              0);
    append(out, sum);
  }

  const Backend& backend_;
  const Fixture& f_;
  std::vector<uint8_t> keys_, values_;
};

const Fixture& fixture() {
  static const Fixture f;
  return f;
}

Outputs run(int threads, const std::string& isa, const std::vector<int64_t>& pieces) {
  const Backend backend = open_cpu(threads, isa);
  Runner runner(backend, fixture());
  Outputs out;
  int64_t first = 0;
  for (const int64_t rows : pieces) {
    runner.run(first, rows, out);
    first += rows;
  }
  EXPECT_EQ(first, Fixture::kRows);
  return out;
}

void expect_same(const Outputs& a, const Outputs& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, values] : a) {
    ASSERT_EQ(values.size(), b.at(name).size()) << name;
    size_t different = 0;
    for (size_t i = 0; i < values.size(); ++i) different += values[i] != b.at(name)[i];
    EXPECT_EQ(different, 0u) << name << ": of " << values.size();
  }
}

// The best level of this machine, and the portable one.
class InvarianceTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Levels, InvarianceTest, testing::Values("", "scalar"),
                         [](const auto& level) {
                           return level.param.empty() ? "best" : level.param;
                         });

TEST_P(InvarianceTest, AnyNumberOfThreads) {
  const Outputs one = run(1, GetParam(), {Fixture::kRows});
  for (const int threads : {2, 5}) {
    SCOPED_TRACE(threads);
    expect_same(one, run(threads, GetParam(), {Fixture::kRows}));
  }
}

TEST_P(InvarianceTest, RowsAloneOrTogether) {
  const Outputs whole = run(2, GetParam(), {Fixture::kRows});
  expect_same(whole, run(2, GetParam(), std::vector<int64_t>(Fixture::kRows, 1)));
  expect_same(whole, run(2, GetParam(), {5, 16, 1, 15}));
}

TEST_P(InvarianceTest, AgainTheSame) {
  const Outputs once = run(2, GetParam(), {Fixture::kRows});
  expect_same(once, run(2, GetParam(), {Fixture::kRows}));
}

}  // namespace
}  // namespace sluice::compute
