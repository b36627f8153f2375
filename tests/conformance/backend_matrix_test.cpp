// SPDX-License-Identifier: Apache-2.0
// Products of every backend: embedding, multiply, experts; and copies between host and device.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../unit/quant/random_blocks.h"
#include "backend_cases.h"

namespace sluice::compute {
namespace {

using quant::ActBlock;
using quant::Traits;
using quant::Type;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Random blocks, unlike random_weight() for every type: all levels, scales and signs occur.
Weight blocks_weight(const Traits& t, int64_t rows, int64_t cols, std::mt19937& random) {
  Weight weight;
  weight.bytes = std::make_shared<std::vector<uint8_t>>(1);
  for (int64_t r = 0; r < rows; ++r) {
    const quant::Row row = quant::random_row(t, cols, random);
    weight.bytes->insert(weight.bytes->end(), row.data(), row.data() + row.size());
  }
  if (t.is_float) {  // bytes at random would hold infinities
    const auto values = random_floats(static_cast<size_t>(rows * cols), random);
    t.encode(values.data(), rows * cols, weight.blocks());
  }
  weight.values.resize(static_cast<size_t>(rows * cols));
  t.decode(weight.blocks(), rows * cols, weight.values.data());
  weight.matrix = {weight.blocks(), static_cast<uint32_t>(t.type), cols, rows};
  return weight;
}

const Traits& traits_of(const Weight& w) {
  return quant::traits(static_cast<Type>(w.matrix.type));
}

// The scalar truth: activations rounded as the contract says, integers exact.
double true_dot(const Weight& w, int64_t r, std::span<const float> x, bool fine) {
  const Traits& t = traits_of(w);
  const int64_t n = w.matrix.cols;
  const uint8_t* blocks = w.blocks() + static_cast<size_t>(r) * quant::row_bytes(t.type, n);
  if (t.is_float) return t.dot_f32(blocks, x.data(), n);
  std::vector<ActBlock> acts(static_cast<size_t>(quant::act_blocks(n)));
  quant::quantize_activations(x.data(), n, acts.data());
  double result = double{t.dot(blocks, acts.data(), n)};
  if (!fine) return result;
  std::vector<float> rest(x.begin(), x.end());
  for (size_t i = 0; i < rest.size(); ++i)
    rest[i] -= acts[i / 256].scale[i % 256 / 32] * static_cast<float>(acts[i / 256].q[i % 256]);
  quant::quantize_activations(rest.data(), n, acts.data());
  return result + double{t.dot(blocks, acts.data(), n)};
}

// What float sums in any order may be off, and float weights through two bf16 halves.
double sum_error(const Weight& w, int64_t r, std::span<const float> x) {
  double sum = 0, largest = 0;
  for (size_t c = 0; c < x.size(); ++c) {
    sum += std::abs(double{x[c]});
    largest = std::max(largest, std::abs(w.at(r, static_cast<int64_t>(c))));
  }
  return 2e-6 * largest * sum + 1e-30;
}

class MatrixOfBackend : public BackendTest {
 protected:
  std::vector<float> multiply(const DeviceMemory& x, int64_t rows, const DeviceWeight& weight,
                              bool fine, const std::vector<float>* accumulate = nullptr) {
    const sluice_matrix& m = weight.matrix();
    DeviceMemory out = poisoned(static_cast<size_t>(rows * m.rows));
    if (accumulate) out.write(accumulate->data(), accumulate->size() * sizeof(float));
    const sluice_product product{m, out.floats(), accumulate ? 1 : 0, fine ? 1 : 0};
    expect_done(api()->multiply(instance(), x.floats(), rows, m.cols, &product, 1));
    return out.read();
  }

  void expect_true(const Weight& w, const std::vector<float>& x, int64_t rows, bool fine,
                   const std::vector<float>& out, const std::vector<float>* before = nullptr) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < w.matrix.rows; ++i) {
        const auto input = row(x, r, w.matrix.cols);
        double expected = true_dot(w, i, input, fine);
        if (before) expected += double{row(*before, r, w.matrix.rows)[static_cast<size_t>(i)]};
        ASSERT_NEAR(row(out, r, w.matrix.rows)[static_cast<size_t>(i)], expected,
                    sum_error(w, i, input) + 1e-6 * std::abs(expected))
            << traits_of(w).name << (fine ? " fine" : "") << ", row " << r << " of " << rows
            << ", output " << i << " of " << w.matrix.rows << ", " << w.matrix.cols << " columns";
      }
  }
};
SLUICE_EVERY_BACKEND(MatrixOfBackend);

int64_t columns_of(const Traits& t, int64_t blocks) {
  return t.is_float ? 33 * blocks + 5 : t.block_elements * blocks;
}

TEST_P(MatrixOfBackend, EmbeddingIsTheDecodedRowBitForBit) {
  for (const Traits* t : quant::all_formats())
    for (const int64_t blocks : {1, 5}) {
      SCOPED_TRACE(testing::Message() << t->name << ", " << blocks << " blocks");
      const Weight w = blocks_weight(*t, 9, columns_of(*t, blocks), random_);
      const DeviceWeight table(backend(), w);
      const std::vector<int32_t> ids = {8, 0, 3, 3, 5};
      const DeviceMemory out = poisoned(ids.size() * static_cast<size_t>(w.matrix.cols));
      expect_done(api()->embed(instance(), &table.matrix(), ids.data(),
                               static_cast<int64_t>(ids.size()), out.floats()));
      const auto got = out.read();
      for (size_t i = 0; i < ids.size(); ++i)
        for (int64_t c = 0; c < w.matrix.cols; ++c)
          ASSERT_EQ(row(got, static_cast<int64_t>(i), w.matrix.cols)[static_cast<size_t>(c)],
                    w.at(ids[i], c));
    }
}

TEST_P(MatrixOfBackend, EveryTypeTimesAnyNumberOfRows) {
  for (const Traits* t : quant::all_formats()) {
    EXPECT_EQ(api()->supports_weight(instance(), static_cast<uint32_t>(t->type)), 1);
    for (const int64_t blocks : {1, 3, 9}) {
      const int64_t cols = columns_of(*t, blocks);
      const Weight w = blocks_weight(*t, blocks == 3 ? 131 : 37, cols, random_);
      const DeviceWeight weight(backend(), w);
      for (const int64_t rows : {1, 2, 3, 5, 8, 9, 17, 65}) {
        if (blocks == 9 && rows > 9) continue;
        const auto x = floats(rows * cols);
        const DeviceMemory from = on_device(x);
        for (const bool fine : {false, true}) {
          const auto out = multiply(from, rows, weight, fine);
          expect_true(w, x, rows, fine, out);
          if (HasFatalFailure()) return;
          EXPECT_EQ(multiply(from, rows, weight, fine), out) << "not the same bits again";
        }
      }
    }
  }
  EXPECT_EQ(api()->supports_weight(instance(), 4), 0);
}

TEST_P(MatrixOfBackend, LongRowsAndManyOutputs) {
  for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kBF16, Type::kIQ4_NL}) {
    const int64_t cols = 4096 + (type == Type::kQ8_0 || type == Type::kIQ4_NL ? 32 : 0);
    const Weight w = random_weight(type, 300, cols, random_);
    const DeviceWeight weight(backend(), w);
    for (const int64_t rows : {1, 70}) {
      const auto x = floats(rows * cols);
      expect_true(w, x, rows, false, multiply(on_device(x), rows, weight, false));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(MatrixOfBackend, AddsToItsOutput) {
  for (const Type type : {Type::kQ5_K, Type::kF32})
    for (const int64_t rows : {2, 20})
      for (const bool fine : {false, true}) {
        const Weight w = random_weight(type, 45, 512, random_);
        const DeviceWeight weight(backend(), w);
        const auto x = floats(rows * 512), before = floats(rows * 45);
        expect_true(w, x, rows, fine, multiply(on_device(x), rows, weight, fine, &before), &before);
        if (HasFatalFailure()) return;
      }
}

// Queries, keys, values: types, sizes and rounding of their own, one input.
TEST_P(MatrixOfBackend, SeveralProductsOfOneInput) {
  for (const int64_t rows : {1, 4, 31}) {
    const auto x = floats(rows * 768);
    const DeviceMemory from = on_device(x);
    std::vector<Weight> weights;
    for (const auto& [type, outputs] : {std::pair{Type::kQ4_K, 200},
                                        {Type::kQ6_K, 33},
                                        {Type::kQ4_K, 64},
                                        {Type::kBF16, 7},
                                        {Type::kQ4_0, 1}})
      weights.push_back(random_weight(type, outputs, 768, random_));
    std::vector<DeviceWeight> on;
    std::vector<DeviceMemory> outs;
    std::vector<sluice_product> products;
    for (size_t i = 0; i < weights.size(); ++i) {
      on.emplace_back(backend(), weights[i]);
      outs.push_back(poisoned(static_cast<size_t>(rows * weights[i].matrix.rows)));
    }
    for (size_t i = 0; i < weights.size(); ++i)
      products.push_back({on[i].matrix(), outs[i].floats(), 0, i % 2 == 1 ? 1 : 0});
    expect_done(api()->multiply(instance(), from.floats(), rows, 768, products.data(),
                                static_cast<int32_t>(products.size())));
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto out = outs[i].read();
      expect_true(weights[i], x, rows, i % 2 == 1, out);
      if (HasFatalFailure()) return;
      // The others in the call change nothing.
      EXPECT_EQ(multiply(from, rows, on[i], i % 2 == 1), out);
    }
  }
}

TEST_P(MatrixOfBackend, ARowDoesNotDependOnItsBatch) {
  for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ3_K, Type::kBF16}) {
    const Weight w = random_weight(type, 50, 1024, random_);
    const DeviceWeight weight(backend(), w);
    const auto x = floats(100 * 1024);
    const auto all = multiply(on_device(x), 100, weight, false);
    const auto part = [&](int64_t rows) {
      return multiply(on_device(std::vector<float>(x.begin(), x.begin() + rows * 1024)), rows,
                      weight, false);
    };
    const auto eight = part(8);
    for (const int64_t rows : {1, 2, 3, 4, 7}) {
      const auto few = part(rows);
      for (size_t i = 0; i < few.size(); ++i) ASSERT_EQ(few[i], eight[i]) << rows << " rows";
    }
    const auto twenty = part(20);
    for (size_t i = 0; i < twenty.size(); ++i) ASSERT_EQ(twenty[i], all[i]);
    for (size_t i = 0; i < eight.size(); ++i)
      ASSERT_NEAR(eight[i], all[i], 2e-5 * (1 + std::abs(all[i])));
  }
}

TEST_P(MatrixOfBackend, NoNumberStaysNone) {
  for (const Type type : {Type::kQ4_K, Type::kQ4_0, Type::kQ6_K, Type::kBF16, Type::kF32})
    for (const int64_t rows : {2, 12})
      for (const float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
        const Weight w = random_weight(type, 20, 256, random_);
        auto x = floats(rows * 256);
        x[256 + 77] = bad;  // of the second row
        const DeviceWeight weight(backend(), w);
        const auto out = multiply(on_device(x), rows, weight, false);
        for (int64_t r = 0; r < rows; ++r)
          for (const float v : row(out, r, 20)) EXPECT_EQ(std::isfinite(v), r != 1);
      }
}

// A backend may keep what a norm wrote in another form for the products that follow: never longer
// than the rows stay as they are.
TEST_P(MatrixOfBackend, ProductsOfRowsThatANormWrote) {
  constexpr int64_t kDim = 512;
  for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kBF16})
    for (const int64_t rows : {1, 3, 9})
      for (const bool fine : {false, true}) {
        SCOPED_TRACE(testing::Message() << rows << " rows" << (fine ? ", fine" : ""));
        const DeviceWeight weight(backend(), random_weight(type, 40, kDim, random_));
        const auto x = floats(rows * kDim), other = floats(rows * kDim);
        const DeviceMemory from = on_device(x), by = on_device(floats(kDim));
        DeviceMemory normed = poisoned(static_cast<size_t>(rows * kDim));
        const auto norm = [&] {
          expect_done(api()->rms_norm(instance(), from.floats(), by.floats(), rows, kDim, 1e-6f,
                                      normed.floats()));
        };
        const auto fresh = [&](const std::vector<float>& values) {
          return multiply(on_device(values), rows, weight, fine);
        };
        // Into memory of before: an upload in between would end what is kept.
        const DeviceMemory out = poisoned(static_cast<size_t>(rows * 40));
        const sluice_product product{weight.matrix(), out.floats(), 0, fine ? 1 : 0};
        const auto run = [&](int64_t count) {
          expect_done(api()->multiply(instance(), normed.floats(), count, kDim, &product, 1));
          return out.read();
        };
        norm();
        const auto expected = fresh(normed.read());
        norm();
        EXPECT_EQ(run(rows), expected);
        EXPECT_EQ(run(rows), expected);
        if (rows == 3) {
          EXPECT_EQ(run(2), expected);
        }
        // Overwritten by the host, by an operation, by a transfer.
        norm();
        normed.write(other.data(), other.size() * sizeof(float));
        EXPECT_EQ(run(rows), fresh(other));
        const std::vector<int32_t> ids(static_cast<size_t>(rows), 0);
        norm();
        expect_done(
            api()->gather(instance(), from.floats(), ids.data(), rows, kDim, normed.floats()));
        EXPECT_EQ(run(rows), fresh(normed.read()));
        norm();
        uint64_t ticket = 0, mark = 0;
        ASSERT_EQ(api()->mark(instance(), &mark), 0);
        ASSERT_EQ(api()->transfers_after(instance(), mark), 0);
        ASSERT_EQ(api()->transfer(instance(), normed.data(), other.data(),
                                  other.size() * sizeof(float), 1, &ticket),
                  0);
        ASSERT_EQ(api()->order_after(instance(), ticket), 0);
        EXPECT_EQ(run(rows), fresh(other));
        ASSERT_EQ(api()->transferred(instance(), ticket, 1), 1);
      }
}

TEST_P(MatrixOfBackend, GathersRows) {
  const auto x = floats(50 * 77);
  const DeviceMemory from = on_device(x);
  for (const size_t count : {1, 3, 1000}) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random_() % 50));
    const DeviceMemory to = poisoned(count * 77);
    expect_done(api()->gather(instance(), from.floats(), ids.data(), static_cast<int64_t>(count),
                              77, to.floats()));
    const auto out = to.read();
    for (size_t i = 0; i < count; ++i)
      for (size_t c = 0; c < 77; ++c)
        ASSERT_EQ(out[i * 77 + c], x[static_cast<size_t>(ids[i]) * 77 + c]);
  }
}

struct Chosen {
  Weight gate, up, down;
  std::vector<int32_t> rows;
  std::vector<float> weights;
};

class ExpertsOfBackend : public BackendTest {
 protected:
  Chosen expert(Type gate, Type up, Type down, int64_t dim, int64_t hidden,
                std::vector<int32_t> rows) {
    Chosen e{random_weight(gate, hidden, dim, random_),
             random_weight(up, hidden, dim, random_),
             random_weight(down, dim, hidden, random_),
             std::move(rows),
             {}};
    e.weights = floats(static_cast<int64_t>(e.rows.size()));
    return e;
  }

  // Runs them; with `apart` each expert's y is kept, and add_experts() adds them.
  std::vector<float> run(const std::vector<Chosen>& list, const std::vector<float>& x, int64_t rows,
                         int64_t dim, const std::vector<float>& before, bool apart = false) {
    std::vector<DeviceWeight> weights;
    std::vector<DeviceMemory> kept;
    for (const Chosen& e : list) {
      weights.emplace_back(backend(), e.gate);
      weights.emplace_back(backend(), e.up);
      weights.emplace_back(backend(), e.down);
      kept.push_back(poisoned(e.rows.size() * static_cast<size_t>(dim)));
    }
    std::vector<sluice_expert> views;
    for (size_t i = 0; i < list.size(); ++i)
      views.push_back({weights[3 * i].matrix(), weights[3 * i + 1].matrix(),
                       weights[3 * i + 2].matrix(), list[i].rows.data(), list[i].weights.data(),
                       static_cast<int32_t>(list[i].rows.size()),
                       apart ? kept[i].floats() : nullptr});
    const DeviceMemory from = on_device(x), out = on_device(before);
    const auto count = static_cast<int32_t>(views.size());
    if (!apart) {
      expect_done(
          api()->experts(instance(), from.floats(), rows, dim, views.data(), count, out.floats()));
      return out.read();
    }
    // In pieces and the last first.
    const int32_t first = count / 2;
    expect_done(api()->experts(instance(), from.floats(), rows, dim, views.data() + first,
                               count - first, out.floats()));
    expect_done(
        api()->experts(instance(), from.floats(), rows, dim, views.data(), first, out.floats()));
    EXPECT_EQ(out.read(), before) << "experts kept apart were added";
    expect_done(api()->add_experts(instance(), views.data(), count, dim, out.floats()));
    return out.read();
  }

  static std::vector<double> exact(const std::vector<Chosen>& list, const std::vector<float>& x,
                                   int64_t dim) {
    std::vector<double> sum(x.size());
    for (const Chosen& e : list)
      for (size_t i = 0; i < e.rows.size(); ++i) {
        const auto gate = exact_product(e.gate, row(x, e.rows[i], dim));
        const auto up = exact_product(e.up, row(x, e.rows[i], dim));
        std::vector<float> hidden;
        for (size_t h = 0; h < gate.size(); ++h)
          hidden.push_back(static_cast<float>(gate[h] / (1 + std::exp(-gate[h])) * up[h]));
        const auto y = exact_product(e.down, hidden);
        for (int64_t d = 0; d < dim; ++d)
          sum[static_cast<size_t>(e.rows[i] * dim + d)] +=
              double{e.weights[i]} * y[static_cast<size_t>(d)];
      }
    return sum;
  }

  void expect_close(const std::vector<Chosen>& list, int64_t rows, int64_t dim, double bound) {
    const auto x = floats(rows * dim);
    const std::vector<float> nothing(x.size(), 0.0f);
    const auto out = run(list, x, rows, dim, nothing);
    EXPECT_LE(relative_error(out, exact(list, x, dim)), bound);
    EXPECT_EQ(run(list, x, rows, dim, nothing, true), out) << "apart, other bits";
  }
};
SLUICE_EVERY_BACKEND(ExpertsOfBackend);

std::vector<int32_t> counted(int32_t first, int32_t count) {
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < count; ++i) rows.push_back(first + i);
  return rows;
}

TEST_P(ExpertsOfBackend, EveryType) {
  for (const Traits* t : quant::all_formats())
    for (const int32_t rows : {1, 20}) {
      SCOPED_TRACE(testing::Message() << t->name << ", " << rows << " rows");
      if (!t->encode) continue;
      std::vector<Chosen> list;
      list.push_back(expert(t->type, t->type, t->type, 512, 256, counted(0, rows)));
      list.push_back(expert(t->type, t->type, t->type, 512, 256, counted(0, rows)));
      expect_close(list, rows, 512, t->is_float ? 2e-5 : 0.02);
    }
}

TEST_P(ExpertsOfBackend, PartsOfSeveralTypesAndScatteredRows) {
  std::vector<Chosen> list;
  list.push_back(expert(Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, 256, 96, {3, 1, 39}));
  list.push_back(expert(Type::kQ4_K, Type::kQ4_K, Type::kBF16, 256, 96, counted(5, 30)));
  list.push_back(expert(Type::kF32, Type::kQ4_K, Type::kQ8_0, 256, 96,
                        {2, 4, 6, 8, 9, 11, 13, 15, 17, 19, 21}));
  list.push_back(expert(Type::kQ4_K, Type::kQ4_K, Type::kQ4_0, 256, 96, {39}));
  list.push_back(expert(Type::kQ5_0, Type::kQ5_0, Type::kQ8_0, 256, 96, {}));
  expect_close(list, 40, 256, 0.02);
}

TEST_P(ExpertsOfBackend, ManyExpertsOfAToken) {
  std::vector<Chosen> list;
  for (int i = 0; i < 45; ++i)
    list.push_back(expert(Type::kQ4_0, Type::kQ4_0, Type::kQ4_0, 64, 32, {0}));
  expect_close(list, 1, 64, 0.03);
}

TEST_P(ExpertsOfBackend, MoreRowsThanScratchHolds) {
  std::vector<Chosen> list;
  list.push_back(expert(Type::kF32, Type::kF32, Type::kF32, 32, 32, counted(0, 4500)));
  list.push_back(expert(Type::kF32, Type::kF32, Type::kF32, 32, 32, counted(100, 4000)));
  expect_close(list, 4500, 32, 2e-5);
}

TEST_P(ExpertsOfBackend, RowsThatNobodyChoseKeepTheirBits) {
  std::vector<Chosen> list;
  list.push_back(expert(Type::kQ4_0, Type::kQ4_0, Type::kQ4_0, 64, 64, {1}));
  const auto x = floats(3 * 64), before = floats(3 * 64);
  const auto out = run(list, x, 3, 64, before);
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(out[i], before[i]);
    EXPECT_NE(out[64 + i], before[64 + i]);
    EXPECT_EQ(out[128 + i], before[128 + i]);
  }
  EXPECT_EQ(run({}, x, 3, 64, before), before);
}

TEST_P(ExpertsOfBackend, AreAddedInTheirOrder) {
  std::vector<Chosen> list;
  for (int i = 0; i < 8; ++i) {
    list.push_back(expert(Type::kQ8_0, Type::kQ8_0, Type::kQ8_0, 64, 64, {0, 1, 2}));
    for (float& w : list.back().weights) w *= std::pow(30.0f, static_cast<float>(i % 3));
  }
  const auto x = floats(3 * 64), before = floats(3 * 64);
  auto one_by_one = before;
  for (const Chosen& e : list) {
    std::vector<Chosen> single;
    single.push_back(e);
    one_by_one = run(single, x, 3, 64, one_by_one);
  }
  EXPECT_EQ(run(list, x, 3, 64, before), one_by_one);
  std::reverse(list.begin(), list.end());
  EXPECT_NE(run(list, x, 3, 64, before), one_by_one);
}

TEST_P(ExpertsOfBackend, OfSeveralWidthsAreRefused) {
  if (is_cpu()) GTEST_SKIP() << "a broken invariant there";
  std::vector<Chosen> list;
  list.push_back(expert(Type::kQ8_0, Type::kQ8_0, Type::kQ8_0, 64, 64, {0}));
  list.push_back(expert(Type::kQ8_0, Type::kQ8_0, Type::kQ8_0, 64, 32, {0}));
  std::vector<DeviceWeight> w;
  std::vector<sluice_expert> views;
  for (const Chosen& e : list) {
    w.emplace_back(backend(), e.gate);
    w.emplace_back(backend(), e.up);
    w.emplace_back(backend(), e.down);
  }
  for (size_t i = 0; i < 2; ++i)
    views.push_back({w[3 * i].matrix(), w[3 * i + 1].matrix(), w[3 * i + 2].matrix(),
                     list[i].rows.data(), list[i].weights.data(), 1, nullptr});
  const DeviceMemory x = on_device(floats(64)), out = on_device(floats(64));
  expect_refused(api()->experts(instance(), x.floats(), 1, 64, views.data(), 2, out.floats()),
                 "widths");
}

class CopiesOfBackend : public BackendTest {};
SLUICE_EVERY_BACKEND(CopiesOfBackend);

std::vector<uint8_t> random_bytes(size_t count, std::mt19937& random) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

// Sizes around the borders between the ways that a copy may take.
TEST_P(CopiesOfBackend, UploadAndDownload) {
  for (const size_t count :
       {1u, 15u, 16u, 3071u, 3072u, 3073u, 100000u, 1u << 20, (1u << 20) + 1, (4u << 20) + 3}) {
    auto bytes = random_bytes(count, random_);
    DeviceMemory there = on_device(bytes);
    EXPECT_EQ(there.read<uint8_t>(), bytes) << count;
    // At an odd address, and the source changes right after.
    if (count > 3) {
      auto part = random_bytes(count - 3, random_);
      std::copy(part.begin(), part.end(), bytes.begin() + 3);
      there.write(part.data(), part.size(), 3);
      std::fill(part.begin(), part.end(), uint8_t{0});
      EXPECT_EQ(there.read<uint8_t>(), bytes) << count;
    }
  }
}

TEST_P(CopiesOfBackend, ManySmallOnesStayInOrder) {
  const DeviceMemory there = poisoned(1);
  std::vector<int32_t> block(5000);
  const DeviceMemory large = poisoned(block.size());
  for (int32_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(api()->upload(instance(), there.data(), &i, sizeof i), 0);
    std::fill(block.begin(), block.end(), i);
    ASSERT_EQ(api()->upload(instance(), large.data(), block.data(), block.size() * 4), 0);
  }
  EXPECT_EQ(there.read<int32_t>()[0], 999);
  EXPECT_EQ(large.read<int32_t>(), std::vector<int32_t>(5000, 999));
}

TEST_P(CopiesOfBackend, TransfersBesideOperations) {
  auto bytes = random_bytes(3 << 20, random_);
  const bool pinned = api()->pin(instance(), bytes.data(), bytes.size()) == 0;
  const DeviceMemory there = poisoned(bytes.size() / 4);
  uint64_t first = 0, second = 0;
  ASSERT_EQ(api()->transfer(instance(), there.data(), bytes.data(), bytes.size(), 1, &first), 0);
  std::vector<uint8_t> back(bytes.size());
  ASSERT_EQ(api()->transfer(instance(), back.data(), there.data(), back.size(), 0, &second), 0);
  if (!is_cpu()) {
    EXPECT_GT(second, first);
  }
  EXPECT_EQ(api()->transferred(instance(), second, 1), 1);
  EXPECT_EQ(api()->transferred(instance(), first, 0), 1);
  EXPECT_EQ(back, bytes);
  if (pinned) api()->unpin(instance(), bytes.data());
}

// A slot is read, overwritten and read again without the host waiting between.
TEST_P(CopiesOfBackend, OperationsAndTransfersInTheirOrder) {
  constexpr int64_t kDim = 1 << 16;
  const std::vector<int32_t> ids(16, 0);
  const DeviceMemory slot = poisoned(kDim);
  std::vector<std::vector<float>> content;
  std::vector<DeviceMemory> seen;
  for (int i = 0; i < 20; ++i) {
    content.push_back(floats(kDim));
    seen.push_back(poisoned(kDim * ids.size()));
  }
  for (size_t i = 0; i < content.size(); ++i) {
    uint64_t ticket = 0, mark = 0;
    ASSERT_EQ(api()->transfer(instance(), slot.data(), content[i].data(), kDim * 4, 1, &ticket), 0);
    ASSERT_EQ(api()->order_after(instance(), ticket), 0);
    ASSERT_EQ(api()->gather(instance(), slot.floats(), ids.data(), 16, kDim, seen[i].floats()), 0);
    ASSERT_EQ(api()->mark(instance(), &mark), 0);
    ASSERT_EQ(api()->transfers_after(instance(), mark), 0);
  }
  for (size_t i = 0; i < content.size(); ++i) {
    const auto got = seen[i].read();
    for (int64_t r = 0; r < 16; ++r)
      ASSERT_TRUE(std::equal(content[i].begin(), content[i].end(), row(got, r, kDim).begin()));
  }
}

TEST_P(CopiesOfBackend, OldTicketsAndMarksCountAsPassed) {
  const DeviceMemory there = poisoned(1);
  const float value = 7;
  uint64_t first = 0, first_mark = 0, ticket = 0, mark = 0;
  ASSERT_EQ(api()->transfer(instance(), there.data(), &value, 4, 1, &first), 0);
  ASSERT_EQ(api()->mark(instance(), &first_mark), 0);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(api()->transfer(instance(), there.data(), &value, 4, 1, &ticket), 0);
    ASSERT_EQ(api()->mark(instance(), &mark), 0);
  }
  EXPECT_EQ(api()->transferred(instance(), first, 0), 1);
  EXPECT_EQ(api()->order_after(instance(), first), 0);
  EXPECT_EQ(api()->transfers_after(instance(), first_mark), 0);
  EXPECT_EQ(api()->transferred(instance(), ticket, 1), 1);
}

TEST_P(CopiesOfBackend, MemoryThatIsNotThereIsNone) {
  EXPECT_EQ(api()->allocate(instance(), size_t{1} << 50), nullptr);
  void* memory = api()->allocate(instance(), 100);
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
  api()->release(instance(), memory);
  api()->release(instance(), nullptr);
  uint64_t available = 1, total = 1;
  ASSERT_EQ(api()->memory_info(instance(), &available, &total), 0);
  EXPECT_LE(available, total);
  EXPECT_EQ(total == 0, is_cpu());
}

}  // namespace
}  // namespace sluice::compute
