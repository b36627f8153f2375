// SPDX-License-Identifier: Apache-2.0
// The key-value cache and attention. Attention is compared with a plain softmax in double over what
// the cache holds after decoding, and what it holds with what was stored.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "compute/cpu/cpu_backend.h"
#include "fixture.h"

namespace sluice::compute {
namespace {

using quant::Type;

struct Shape {
  int64_t heads, kv_heads, head_dim;
};

// One sequence's cache of one layer, and everything that was stored in it.
class Cache {
 public:
  Cache(const Backend& backend, const Shape& shape, int64_t capacity, Type key, Type value)
      : shape_(shape),
        memory_keys_(quant::row_bytes(key, shape.head_dim) *
                     static_cast<size_t>(shape.kv_heads * capacity)),
        memory_values_(quant::row_bytes(value, shape.head_dim) *
                       static_cast<size_t>(shape.kv_heads * capacity)) {
    kv_ = {memory_keys_.data(),
           memory_values_.data(),
           static_cast<uint32_t>(key),
           static_cast<uint32_t>(value),
           capacity,
           static_cast<int32_t>(shape.kv_heads),
           static_cast<int32_t>(shape.head_dim)};
    EXPECT_TRUE(backend->supports_cache(backend.get(), kv_.key_type));
  }
  const sluice_kv& kv() const { return kv_; }

  std::vector<float> key(int64_t head, int64_t position) const {
    return decoded(memory_keys_, kv_.key_type, head, position);
  }
  std::vector<float> value(int64_t head, int64_t position) const {
    return decoded(memory_values_, kv_.value_type, head, position);
  }
  std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> all = memory_keys_;
    all.insert(all.end(), memory_values_.begin(), memory_values_.end());
    return all;
  }

 private:
  std::vector<float> decoded(const std::vector<uint8_t>& memory, uint32_t type, int64_t head,
                             int64_t position) const {
    const quant::Traits& traits = quant::traits(static_cast<Type>(type));
    const size_t bytes = quant::row_bytes(traits.type, shape_.head_dim);
    std::vector<float> out(static_cast<size_t>(shape_.head_dim));
    traits.decode(memory.data() + static_cast<size_t>(head * kv_.capacity + position) * bytes,
                  shape_.head_dim, out.data());
    return out;
  }

  Shape shape_;
  std::vector<uint8_t> memory_keys_, memory_values_;
  sluice_kv kv_{};
};

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

// Attention of one query head over positions [0, last].
std::vector<double> exact_attention(const Cache& cache, int64_t kv_head, int64_t last,
                                    std::span<const float> q, double scale) {
  std::vector<double> scores;
  for (int64_t p = 0; p <= last; ++p) scores.push_back(scale * dot(q, cache.key(kv_head, p)));
  const double most = *std::max_element(scores.begin(), scores.end());
  std::vector<double> out(q.size());
  double sum = 0;
  for (int64_t p = 0; p <= last; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p)] - most);
    const auto value = cache.value(kv_head, p);
    for (size_t i = 0; i < out.size(); ++i) out[i] += weight * value[i];
    sum += weight;
  }
  for (double& o : out) o /= sum;
  return out;
}

class AttentionTest : public testing::Test {
 protected:
  struct Rows {
    std::vector<float> q, k, v;
  };
  Rows random_rows(const Shape& s, int64_t rows) {
    return {random_floats(static_cast<size_t>(rows * s.heads * s.head_dim), random_, 1.5f),
            random_floats(static_cast<size_t>(rows * s.kv_heads * s.head_dim), random_, 1.5f),
            random_floats(static_cast<size_t>(rows * s.kv_heads * s.head_dim), random_)};
  }

  std::vector<float> run(const std::vector<sluice_span>& spans, const Shape& s, const Rows& rows,
                         float scale) {
    const auto count = static_cast<int32_t>(spans.size());
    std::vector<float> out(rows.q.size(), -100);
    EXPECT_EQ(backend_->kv_store(backend_.get(), spans.data(), count, rows.k.data(), rows.v.data()),
              0);
    EXPECT_EQ(backend_->attention(backend_.get(), spans.data(), count, rows.q.data(), s.heads,
                                  scale, out.data()),
              0);
    return out;
  }

  // Checks the rows of one span against double precision.
  void expect_span(const Cache& cache, const sluice_span& span, const Shape& s, const Rows& rows,
                   const std::vector<float>& out, float scale, double bound = 1e-5) {
    for (int64_t r = 0; r < span.rows; ++r)
      for (int64_t h = 0; h < s.heads; ++h) {
        const auto at = static_cast<size_t>(((span.first_row + r) * s.heads + h) * s.head_dim);
        const std::span<const float> q(rows.q.data() + at, static_cast<size_t>(s.head_dim));
        const auto expected =
            exact_attention(cache, h / (s.heads / s.kv_heads), span.position + r, q, scale);
        const std::span<const float> actual(out.data() + at, static_cast<size_t>(s.head_dim));
        ASSERT_LE(relative_error(actual, expected), bound)
            << "position " << span.position + r << " head " << h;
      }
  }

  Backend backend_ = open_cpu();
  std::mt19937 random_{6};
};

// Bound of |stored - given| / max|given| of a block: half a step, and the scale's own rounding.
double cache_error(Type type) {
  switch (type) {
    case Type::kF32:
      return 0;
    case Type::kF16:
      return 0.0005;
    case Type::kBF16:
      return 0.004;
    case Type::kQ8_0:
      return 0.0045;
    case Type::kQ5_0:
    case Type::kQ5_1:
      return 0.07;
    default:
      return 0.15;
  }
}

constexpr Type kCacheTypes[] = {Type::kF32,  Type::kF16,  Type::kBF16, Type::kQ8_0,  Type::kQ5_1,
                                Type::kQ5_0, Type::kQ4_1, Type::kQ4_0, Type::kIQ4_NL};

TEST_F(AttentionTest, CacheTypesKeepWhatTheyCan) {
  const Shape s{2, 2, 64};
  for (const Type type : kCacheTypes) {
    SCOPED_TRACE(quant::traits(type).name);
    const Rows rows = random_rows(s, 20);
    Cache cache(backend_, s, 32, type, type);
    ASSERT_EQ(0, backend_->kv_store(backend_.get(),
                                    std::vector<sluice_span>{{cache.kv(), 0, 20, 3}}.data(), 1,
                                    rows.k.data(), rows.v.data()));
    double worst = 0;
    for (int64_t r = 0; r < 20; ++r)
      for (int64_t h = 0; h < 2; ++h)
        for (const bool keys : {true, false}) {
          const auto stored = keys ? cache.key(h, 3 + r) : cache.value(h, 3 + r);
          const float* given = (keys ? rows.k : rows.v).data() + (r * 2 + h) * 64;
          for (size_t i = 0; i < 64; ++i) {
            double most = 0;
            for (size_t b = i / 32 * 32; b < i / 32 * 32 + 32; ++b)
              most = std::max(most, std::abs(double{given[b]}));
            worst = std::max(worst, std::abs(double{stored[i]} - given[i]) / most);
          }
        }
    EXPECT_LE(worst, cache_error(type));
    EXPECT_GE(worst, cache_error(type) / 10);  // the bound is this type's
  }
}

TEST_F(AttentionTest, KeysAndValuesOfAnyTypes) {
  const Shape s{4, 2, 32};
  const float scale = 1 / std::sqrt(32.0f);
  for (const Type key : kCacheTypes)
    for (const Type value : kCacheTypes) {
      SCOPED_TRACE(testing::Message()
                   << quant::traits(key).name << " and " << quant::traits(value).name);
      const Rows rows = random_rows(s, 10);
      Cache cache(backend_, s, 16, key, value);
      const sluice_span span{cache.kv(), 0, 10, 0};
      expect_span(cache, span, s, rows, run({span}, s, rows, scale), scale);
    }
}

TEST_F(AttentionTest, GroupsOfQueryHeadsShareAKeyHead) {
  for (const Shape& s : {Shape{1, 1, 64}, Shape{8, 1, 32}, Shape{8, 8, 32}, Shape{12, 4, 128},
                         Shape{32, 4, 128}, Shape{2, 1, 512}, Shape{3, 1, 2}}) {
    SCOPED_TRACE(testing::Message() << s.heads << "/" << s.kv_heads << " x " << s.head_dim);
    const float scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
    const Rows rows = random_rows(s, 7);
    Cache cache(backend_, s, 9, Type::kF16, Type::kF16);
    const sluice_span span{cache.kv(), 0, 7, 0};
    expect_span(cache, span, s, rows, run({span}, s, rows, scale), scale);
  }
}

// Tiles of cached positions end at 64, 128, ...: prompts around there, then single tokens.
TEST_F(AttentionTest, ContextsOverTileBorders) {
  const Shape s{4, 2, 32};
  for (const int64_t prompt : {62, 63, 64, 65, 127, 128, 200}) {
    SCOPED_TRACE(prompt);
    Cache cache(backend_, s, prompt + 3, Type::kF16, Type::kQ8_0);
    const Rows all = random_rows(s, prompt);
    const sluice_span whole{cache.kv(), 0, prompt, 0};
    expect_span(cache, whole, s, all, run({whole}, s, all, 0.3f), 0.3f);
    for (int64_t next = prompt; next < prompt + 3; ++next) {
      const Rows one = random_rows(s, 1);
      const sluice_span span{cache.kv(), 0, 1, next};
      expect_span(cache, span, s, one, run({span}, s, one, 0.3f), 0.3f);
    }
  }
}

// Positions beyond a row's own do not count, whatever lies there.
TEST_F(AttentionTest, IsCausal) {
  const Shape s{2, 1, 32};
  const Rows rows = random_rows(s, 70);
  Cache cache(backend_, s, 128, Type::kF32, Type::kF32);
  const auto out = run({{cache.kv(), 0, 70, 0}}, s, rows, 0.2f);
  Rows changed = rows;
  for (size_t i = 66 * 32; i < 70 * 32; ++i) changed.k[i] = changed.v[i] = 1e6f;
  Cache other(backend_, s, 128, Type::kF32, Type::kF32);
  const auto after = run({{other.kv(), 0, 70, 0}}, s, changed, 0.2f);
  const auto same = static_cast<long>(66 * 2 * 32);
  EXPECT_TRUE(std::equal(out.begin(), out.begin() + same, after.begin()));
  EXPECT_FALSE(std::equal(out.begin() + same, out.end(), after.begin() + same));
}

TEST_F(AttentionTest, SeveralSequencesInOneBatch) {
  const Shape s{4, 2, 32};
  Cache a(backend_, s, 80, Type::kF16, Type::kF16);
  Cache b(backend_, s, 20, Type::kQ8_0, Type::kF16);
  Cache c(backend_, s, 100, Type::kF32, Type::kQ4_0);
  // What they hold already.
  run({{a.kv(), 0, 70, 0}}, s, random_rows(s, 70), 0.2f);
  run({{c.kv(), 0, 5, 0}}, s, random_rows(s, 5), 0.2f);
  const Rows rows = random_rows(s, 1 + 20 + 6 + 1);
  const std::vector<sluice_span> spans = {
      {a.kv(), 0, 1, 70}, {b.kv(), 1, 20, 0}, {c.kv(), 21, 6, 5}, {a.kv(), 27, 1, 71}};
  const auto out = run(spans, s, rows, 0.2f);
  const Cache* const caches[] = {&a, &b, &c, &a};
  for (size_t i = 0; i < spans.size(); ++i) expect_span(*caches[i], spans[i], s, rows, out, 0.2f);
}

// Long contexts are cut into segments of 1024 positions that threads share: one token, or a prompt
// that ends around there, at every level of this machine.
TEST_F(AttentionTest, SegmentsOfLongContexts) {
  const Shape s{8, 2, 64};
  const float scale = 0.2f;
  for (const char* isa : {"scalar", "avx2", "avx-vnni", "avx512"}) {
    const Result<Backend> single = Backend::open(cpu::cpu_backend(), {1, isa});
    if (!single) continue;  // not a level of this machine
    SCOPED_TRACE(isa);
    for (const int64_t end : {1023, 1024, 1025, 2100}) {
      SCOPED_TRACE(end);
      Cache cache(backend_, s, end, Type::kF16, Type::kQ8_0);
      const Rows before = random_rows(s, end - 9);
      run({{cache.kv(), 0, end - 9, 0}}, s, before, scale);
      const Rows rows = random_rows(s, 9);
      const sluice_span span{cache.kv(), 0, 9, end - 9};
      backend_ = open_cpu(3, isa);
      const auto out = run({span}, s, rows, scale);
      expect_span(cache, span, s, rows, out, scale);

      // One thread, and the last row alone: the same bits.
      backend_ = open_cpu(1, isa);
      EXPECT_EQ(out, run({span}, s, rows, scale));
      const auto width = s.heads * s.head_dim, kv_width = s.kv_heads * s.head_dim;
      const Rows last{{rows.q.end() - width, rows.q.end()},
                      {rows.k.end() - kv_width, rows.k.end()},
                      {rows.v.end() - kv_width, rows.v.end()}};
      backend_ = open_cpu(3, isa);
      const auto alone = run({{cache.kv(), 0, 1, end - 1}}, s, last, scale);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), out.end() - width));
    }
  }
}

TEST_F(AttentionTest, OneTokenGivesItsValue) {
  const Shape s{8, 2, 32};
  const Rows rows = random_rows(s, 1);
  Cache cache(backend_, s, 1, Type::kF32, Type::kF32);
  const auto out = run({{cache.kv(), 0, 1, 0}}, s, rows, 0.2f);
  for (size_t h = 0; h < 8; ++h)
    for (size_t i = 0; i < 32; ++i) EXPECT_EQ(out[h * 32 + i], rows.v[h / 4 * 32 + i]);
}

TEST_F(AttentionTest, LargeScoresDoNotOverflow) {
  const Shape s{2, 2, 32};
  Rows rows = random_rows(s, 130);
  for (float& q : rows.q) q *= 1000;
  Cache cache(backend_, s, 130, Type::kF32, Type::kF32);
  const sluice_span span{cache.kv(), 0, 130, 0};
  const auto out = run({span}, s, rows, 1);
  for (const float value : out) ASSERT_TRUE(std::isfinite(value));
  expect_span(cache, span, s, rows, out, 1, 1e-2);  // scores of 10^4 have 3 digits behind the point
}

TEST_F(AttentionTest, StoreWritesItsPositionsOnly) {
  const Shape s{2, 2, 32};
  for (const Type type : {Type::kF16, Type::kQ5_1}) {
    Cache cache(backend_, s, 40, type, type);
    const Rows rows = random_rows(s, 40);
    sluice_span span{cache.kv(), 0, 40, 0};
    ASSERT_EQ(backend_->kv_store(backend_.get(), &span, 1, rows.k.data(), rows.v.data()), 0);
    const auto before = cache.bytes();
    const Rows more = random_rows(s, 8);
    span = {cache.kv(), 5, 3, 17};  // rows 5, 6, 7 of the batch to positions 17, 18, 19
    ASSERT_EQ(backend_->kv_store(backend_.get(), &span, 1, more.k.data(), more.v.data()), 0);
    const auto after = cache.bytes();
    const size_t row_bytes = quant::row_bytes(type, 32);
    for (size_t i = 0; i < before.size(); i += row_bytes) {
      const size_t position = i / row_bytes % 40;
      const bool same = std::memcmp(before.data() + i, after.data() + i, row_bytes) == 0;
      EXPECT_EQ(same, position < 17 || position > 19) << position;
    }
    // The same bytes as when they are stored alone.
    Cache alone(backend_, s, 1, type, type);
    span = {alone.kv(), 6, 1, 0};
    ASSERT_EQ(backend_->kv_store(backend_.get(), &span, 1, more.k.data(), more.v.data()), 0);
    for (const int64_t head : {0, 1}) {
      EXPECT_EQ(alone.key(head, 0), cache.key(head, 18));
      EXPECT_EQ(alone.value(head, 0), cache.value(head, 18));
    }
  }
}

TEST_F(AttentionTest, StoringBeyondTheCacheIsABrokenInvariant) {
  const Shape s{1, 1, 32};
  Cache cache(backend_, s, 4, Type::kF32, Type::kF32);
  const Rows rows = random_rows(s, 2);
  const sluice_span span{cache.kv(), 0, 2, 3};
  EXPECT_DEATH(backend_->kv_store(backend_.get(), &span, 1, rows.k.data(), rows.v.data()),
               "positions beyond the cache");
}

}  // namespace
}  // namespace sluice::compute
