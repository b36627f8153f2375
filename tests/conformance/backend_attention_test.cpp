// SPDX-License-Identifier: Apache-2.0
// The key-value cache and attention of every backend. What is stored must be the bytes of the
// scalar encoders; attention is compared with a plain softmax in double over what the cache holds.
#include <algorithm>
#include <cmath>

#include "backend_cases.h"

namespace sluice::compute {
namespace {

using quant::Type;

constexpr Type kCacheTypes[] = {Type::kF32,  Type::kF16,  Type::kBF16, Type::kQ8_0,  Type::kQ5_1,
                                Type::kQ5_0, Type::kQ4_1, Type::kQ4_0, Type::kIQ4_NL};

struct Shape {
  int64_t heads, kv_heads, head_dim;
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
};

struct Rows {
  std::vector<float> q, k, v;
};

class AttentionOfBackend : public BackendTest {
 protected:
  DeviceCache cache(const Shape& s, int64_t capacity, Type key, Type value) const {
    return {backend(), s.kv_heads, s.head_dim, capacity, key, value};
  }

  Rows random_rows(const Shape& s, int64_t rows) {
    return {floats(rows * s.heads * s.head_dim, 1.5f), floats(rows * s.kv_heads * s.head_dim, 1.5f),
            floats(rows * s.kv_heads * s.head_dim)};
  }

  void store(const std::vector<sluice_span>& spans, const Rows& rows) {
    const DeviceMemory k = on_device(rows.k), v = on_device(rows.v);
    expect_done(api()->kv_store(instance(), spans.data(), static_cast<int32_t>(spans.size()),
                                k.floats(), v.floats()));
  }

  std::vector<float> attend(const std::vector<sluice_span>& spans, const Shape& s, const Rows& rows,
                            float scale) {
    const DeviceMemory q = on_device(rows.q), out = poisoned(rows.q.size());
    expect_done(api()->attention(instance(), spans.data(), static_cast<int32_t>(spans.size()),
                                 q.floats(), s.heads, scale, out.floats()));
    return out.read();
  }

  std::vector<float> run(const std::vector<sluice_span>& spans, const Shape& s, const Rows& rows,
                         float scale) {
    store(spans, rows);
    return attend(spans, s, rows, scale);
  }

  // Fills positions [0, count) of a cache.
  void fill(const DeviceCache& cache, const Shape& s, int64_t count) {
    if (count > 0) store({{cache.kv(), 0, count, 0}}, random_rows(s, count));
  }

  // Checks rows of one span against double precision: every row, or the first, last and a few.
  void expect_span(const DeviceCache& cache, const sluice_span& span, const Shape& s,
                   const Rows& rows, const std::vector<float>& out, float scale,
                   double bound = 1e-5, int64_t step = 1) {
    const auto keys = cache.keys(), values = cache.values();
    const auto dim = static_cast<size_t>(s.head_dim);
    double worst = 0;
    for (int64_t r = 0; r < span.rows;
         r = r + step < span.rows || r + 1 == span.rows ? r + step : span.rows - 1)
      for (int64_t h = 0; h < s.heads; ++h) {
        const auto at = static_cast<size_t>((span.first_row + r) * s.heads + h) * dim;
        const auto head = static_cast<size_t>(h / (s.heads / s.kv_heads) * span.kv.capacity) * dim;
        const auto last = static_cast<size_t>(span.position + r);
        std::vector<double> scores;
        for (size_t p = 0; p <= last; ++p) {
          double sum = 0;
          for (size_t i = 0; i < dim; ++i) sum += double{rows.q[at + i]} * keys[head + p * dim + i];
          scores.push_back(sum * double{scale});
        }
        const double most = *std::max_element(scores.begin(), scores.end());
        std::vector<double> expected(dim);
        double sum = 0;
        for (size_t p = 0; p <= last; ++p) {
          const double weight = std::exp(scores[p] - most);
          for (size_t i = 0; i < dim; ++i) expected[i] += weight * values[head + p * dim + i];
          sum += weight;
        }
        for (double& value : expected) value /= sum;
        const double error = relative_error(std::span<const float>(out.data() + at, dim), expected);
        worst = std::max(worst, error);
        ASSERT_LE(error, bound) << "position " << last << " head " << h;
      }
    RecordProperty("worst", std::to_string(worst));
  }

  // Many rows over heads of 128 and 256 may go through fp16 operands.
  double bound_for(const Shape& s, int64_t rows) const {
    const bool may_be_half = !is_cpu() && rows > 8 && (s.head_dim == 128 || s.head_dim == 256);
    return may_be_half ? 1.5e-3 : 1e-5;
  }
};
SLUICE_EVERY_BACKEND(AttentionOfBackend);

TEST_P(AttentionOfBackend, StoresTheBytesOfTheScalarEncoders) {
  const Shape s{2, 2, 96};
  for (const Type type : kCacheTypes) {
    SCOPED_TRACE(quant::traits(type).name);
    ASSERT_TRUE(api()->supports_cache(instance(), static_cast<uint32_t>(type)));
    Rows rows = random_rows(s, 20);
    // Blocks of zeros, of one value, of one sign, of large and of tiny values.
    for (size_t i = 0; i < 32; ++i) {
      rows.k[i] = 0;
      rows.k[32 + i] = 0.7f;
      rows.k[64 + i] = -std::abs(rows.k[64 + i]);
      rows.v[i] *= 1000;
      rows.v[32 + i] *= 1e-4f;
    }
    const DeviceCache c = cache(s, 32, type, type);
    store({{c.kv(), 0, 20, 3}}, rows);
    const size_t row_bytes = quant::row_bytes(type, 96);
    for (const bool keys : {true, false}) {
      const auto bytes = keys ? c.key_bytes() : c.value_bytes();
      const auto& given = keys ? rows.k : rows.v;
      for (size_t h = 0; h < 2; ++h)
        for (size_t p = 0; p < 32; ++p) {
          // What was not stored keeps its poison.
          std::vector<uint8_t> expected(row_bytes, 0xff);
          if (p >= 3 && p < 23)
            quant::traits(type).encode(given.data() + ((p - 3) * 2 + h) * 96, 96, expected.data());
          ASSERT_EQ(
              std::memcmp(bytes.data() + (h * 32 + p) * row_bytes, expected.data(), row_bytes), 0)
              << (keys ? "key" : "value") << " head " << h << " position " << p;
        }
    }
  }
  EXPECT_FALSE(api()->supports_cache(instance(), static_cast<uint32_t>(Type::kQ4_K)));
  EXPECT_FALSE(api()->supports_cache(instance(), 12345));
}

TEST_P(AttentionOfBackend, KeysAndValuesOfAnyTypes) {
  for (const Shape& s : {Shape{4, 2, 32}, Shape{2, 1, 128}, Shape{8, 1, 256}})
    for (const Type key : kCacheTypes)
      for (const Type value : kCacheTypes)
        for (const int64_t rows : {3, 12}) {
          // The larger shapes with equal types, and each with F16.
          if (s.head_dim > 32 && key != value && key != Type::kF16 && value != Type::kF16) continue;
          SCOPED_TRACE(testing::Message()
                       << quant::traits(key).name << " and " << quant::traits(value).name << ", "
                       << rows << " rows, heads of " << s.head_dim);
          const Rows all = random_rows(s, rows);
          const DeviceCache c = cache(s, 40, key, value);
          fill(c, s, 5);
          const sluice_span span{c.kv(), 0, rows, 5};
          expect_span(c, span, s, all, run({span}, s, all, s.scale()), s.scale(),
                      bound_for(s, rows));
        }
}

TEST_P(AttentionOfBackend, GroupsOfQueryHeadsShareAKeyHead) {
  for (const Shape& s : {Shape{1, 1, 64}, Shape{8, 1, 32}, Shape{8, 8, 32}, Shape{12, 4, 128},
                         Shape{32, 4, 128}, Shape{16, 2, 256}, Shape{2, 1, 512}, Shape{20, 2, 96},
                         Shape{12, 1, 160}, Shape{64, 1, 128}, Shape{5, 5, 480}})
    for (const int64_t rows : {1, 2, 7, 11}) {
      SCOPED_TRACE(testing::Message() << s.heads << "/" << s.kv_heads << " x " << s.head_dim << ", "
                                      << rows << " rows");
      const Rows all = random_rows(s, rows);
      const DeviceCache c = cache(s, 50, Type::kF16, Type::kF16);
      fill(c, s, 33);
      const sluice_span span{c.kv(), 0, rows, 33};
      expect_span(c, span, s, all, run({span}, s, all, s.scale()), s.scale(), bound_for(s, rows));
    }
}

// Tiles of cached positions end at 32, 64, 128, ...: prompts around there, then single tokens.
TEST_P(AttentionOfBackend, ContextsOverTileBorders) {
  for (const Shape& s : {Shape{4, 2, 32}, Shape{4, 2, 128}, Shape{2, 1, 256}})
    for (const int64_t prompt : {31, 32, 33, 62, 63, 64, 65, 127, 128, 129, 200}) {
      SCOPED_TRACE(testing::Message() << prompt << ", heads of " << s.head_dim);
      const DeviceCache c = cache(s, prompt + 3, Type::kF16, Type::kF16);
      const Rows all = random_rows(s, prompt);
      const sluice_span whole{c.kv(), 0, prompt, 0};
      expect_span(c, whole, s, all, run({whole}, s, all, 0.1f), 0.1f, bound_for(s, prompt), 7);
      for (int64_t next = prompt; next < prompt + 3; ++next) {
        const Rows one = random_rows(s, 1);
        const sluice_span span{c.kv(), 0, 1, next};
        expect_span(c, span, s, one, run({span}, s, one, 0.1f), 0.1f);
      }
    }
}

// Contexts that are cut into segments and added again, for one row and for short prompts behind
// them; a large cache has longer segments.
TEST_P(AttentionOfBackend, LongContexts) {
  for (const Shape& s : {Shape{8, 2, 64}, Shape{8, 1, 128}, Shape{8, 1, 256}})
    for (const int64_t capacity : {3000, 40000}) {
      if (capacity > 3000 && s.head_dim != 128) continue;
      for (const int64_t end : {1023, 1024, 1025, 2900})
        for (const int64_t rows : {1, 8, 9, 40}) {
          SCOPED_TRACE(testing::Message() << end << " of " << capacity << " positions, " << rows
                                          << " rows, heads of " << s.head_dim);
          const DeviceCache c = cache(s, capacity, Type::kF16, Type::kQ8_0);
          fill(c, s, end - rows);
          const Rows all = random_rows(s, rows);
          const sluice_span span{c.kv(), 0, rows, end - rows};
          expect_span(c, span, s, all, run({span}, s, all, s.scale()), s.scale(),
                      bound_for(s, rows), 13);
        }
    }
}

// Prompts in whole and in pieces of any size, to the end of what one launch cuts.
TEST_P(AttentionOfBackend, LongPrompts) {
  for (const Shape& s : {Shape{32, 4, 128}, Shape{16, 2, 256}}) {
    SCOPED_TRACE(s.head_dim);
    const int64_t rows = 300;
    const DeviceCache c = cache(s, 512, Type::kF16, Type::kF16);
    fill(c, s, 100);
    const Rows all = random_rows(s, rows);
    const sluice_span span{c.kv(), 0, rows, 100};
    const auto out = run({span}, s, all, s.scale());
    expect_span(c, span, s, all, out, s.scale(), bound_for(s, rows), 37);
    // The same bits when asked again.
    EXPECT_EQ(out, attend({span}, s, all, s.scale()));
  }
}

// A few rows: the same bits whether they come alone or together, and beside other sequences.
TEST_P(AttentionOfBackend, RowsAloneOrTogether) {
  for (const Shape& s : {Shape{8, 2, 64}, Shape{8, 1, 128}, Shape{6, 3, 256}, Shape{4, 4, 128}}) {
    SCOPED_TRACE(s.head_dim);
    const int64_t rows = 7, start = 400;
    const DeviceCache c = cache(s, 500, Type::kF16, Type::kF16);
    const DeviceCache d = cache(s, 100, Type::kF16, Type::kF16);
    fill(c, s, start);
    fill(d, s, 40);
    const Rows all = random_rows(s, rows + 2);
    const std::vector<sluice_span> both = {{d.kv(), 0, 2, 40}, {c.kv(), 2, rows, start}};
    const auto together = run(both, s, all, s.scale());
    for (int64_t r = 0; r < rows; ++r) {
      const auto alone = attend({{c.kv(), 2 + r, 1, start + r}}, s, all, s.scale());
      const auto width = s.heads * s.head_dim;
      const auto mine = row(alone, 2 + r, width), expected = row(together, 2 + r, width);
      EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin())) << r;
    }
  }
}

// The same with enough sequences that a device may divide the work otherwise.
TEST_P(AttentionOfBackend, RowsAloneOrBesideManySequences) {
  for (const Shape& s : {Shape{32, 4, 128}, Shape{16, 2, 256}}) {
    SCOPED_TRACE(s.head_dim);
    const int64_t sequences = 16, context = 700;
    std::vector<DeviceCache> caches;
    std::vector<sluice_span> spans;
    for (int64_t i = 0; i < sequences; ++i) {
      caches.push_back(cache(s, 1024, Type::kF16, Type::kF16));
      fill(caches.back(), s, context);
      spans.push_back({caches.back().kv(), i, 1, context});
    }
    const Rows rows = random_rows(s, sequences);
    const auto together = run(spans, s, rows, s.scale());
    const auto width = s.heads * s.head_dim;
    for (int64_t i = 0; i < sequences; ++i) {
      const auto alone = attend({spans[static_cast<size_t>(i)]}, s, rows, s.scale());
      const auto mine = row(alone, i, width), expected = row(together, i, width);
      EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin())) << i;
    }
    expect_span(caches[3], spans[3], s, rows, together, s.scale());
  }
}

// Positions beyond a row's own do not count, whatever lies there.
TEST_P(AttentionOfBackend, IsCausal) {
  for (const Shape& s : {Shape{2, 1, 32}, Shape{2, 1, 128}, Shape{2, 1, 256}}) {
    SCOPED_TRACE(s.head_dim);
    const auto dim = static_cast<size_t>(s.head_dim);
    const Rows rows = random_rows(s, 70);
    const DeviceCache c = cache(s, 128, Type::kF16, Type::kF16);
    const auto out = run({{c.kv(), 0, 70, 0}}, s, rows, 0.2f);
    Rows changed = rows;
    for (size_t i = 66 * dim; i < 70 * dim; ++i) changed.k[i] = changed.v[i] = 6e4f;
    const DeviceCache other = cache(s, 128, Type::kF16, Type::kF16);
    const auto after = run({{other.kv(), 0, 70, 0}}, s, changed, 0.2f);
    const auto same = static_cast<long>(66 * 2 * dim);
    EXPECT_TRUE(std::equal(out.begin(), out.begin() + same, after.begin()));
    EXPECT_FALSE(std::equal(out.begin() + same, out.end(), after.begin() + same));
  }
}

TEST_P(AttentionOfBackend, SeveralSequencesInOneBatch) {
  for (const Shape& s : {Shape{4, 2, 32}, Shape{4, 2, 128}}) {
    SCOPED_TRACE(s.head_dim);
    const DeviceCache a = cache(s, 80, Type::kF16, Type::kF16);
    const DeviceCache b = cache(s, 20, Type::kQ8_0, Type::kF16);
    const DeviceCache c = cache(s, 100, Type::kF32, Type::kQ4_0);
    const DeviceCache d = cache(s, 1200, Type::kF16, Type::kBF16);
    fill(a, s, 70);
    fill(c, s, 5);
    fill(d, s, 900);
    const Rows rows = random_rows(s, 1 + 20 + 6 + 1 + 11);
    const std::vector<sluice_span> spans = {{a.kv(), 0, 1, 70},  {b.kv(), 1, 20, 0},
                                            {b.kv(), 21, 0, 20}, {c.kv(), 21, 6, 5},
                                            {a.kv(), 27, 1, 71}, {d.kv(), 28, 11, 900}};
    const auto out = run(spans, s, rows, 0.1f);
    const DeviceCache* const caches[] = {&a, &b, &b, &c, &a, &d};
    for (size_t i = 0; i < spans.size(); ++i)
      expect_span(*caches[i], spans[i], s, rows, out, 0.1f, bound_for(s, spans[i].rows));
  }
}

TEST_P(AttentionOfBackend, MoreSequencesThanOneLaunchTakes) {
  const Shape s{4, 1, 128};
  std::vector<DeviceCache> caches;
  std::vector<sluice_span> spans;
  for (int64_t i = 0; i < 70; ++i) {
    caches.push_back(cache(s, 10 + i, Type::kF16, Type::kF16));
    fill(caches.back(), s, 9 + i);
    spans.push_back({caches.back().kv(), i, 1, 9 + i});
  }
  const Rows rows = random_rows(s, 70);
  const auto out = run(spans, s, rows, 0.1f);
  for (size_t i = 0; i < spans.size(); ++i) expect_span(caches[i], spans[i], s, rows, out, 0.1f);
}

TEST_P(AttentionOfBackend, OneTokenGivesItsValue) {
  for (const Shape& s : {Shape{8, 2, 32}, Shape{8, 2, 128}}) {
    const Rows rows = random_rows(s, 1);
    const DeviceCache c = cache(s, 1, Type::kF32, Type::kF32);
    const auto out = run({{c.kv(), 0, 1, 0}}, s, rows, 0.2f);
    const auto dim = static_cast<size_t>(s.head_dim);
    for (size_t h = 0; h < 8; ++h)
      for (size_t i = 0; i < dim; ++i) EXPECT_EQ(out[h * dim + i], rows.v[h / 4 * dim + i]);
  }
}

TEST_P(AttentionOfBackend, LargeScoresDoNotOverflow) {
  for (const Shape& s : {Shape{2, 2, 32}, Shape{2, 2, 128}})
    for (const Type type : {Type::kF32, Type::kF16}) {
      Rows rows = random_rows(s, 130);
      for (float& q : rows.q) q *= 1000;
      const DeviceCache c = cache(s, 130, type, type);
      const sluice_span span{c.kv(), 0, 130, 0};
      const auto out = run({span}, s, rows, 1);
      for (const float value : out) ASSERT_TRUE(std::isfinite(value));
      // Scores of 10^4 have 3 digits behind the point.
      if (bound_for(s, 130) < 1e-4) expect_span(c, span, s, rows, out, 1, 2e-2, 17);
    }
}

TEST_P(AttentionOfBackend, RefusesWhatItCannotDo) {
  if (is_cpu()) GTEST_SKIP() << "on the CPU's side these are broken invariants, which stop it";
  const Shape s{2, 1, 64};
  const DeviceCache c = cache(s, 4, Type::kF16, Type::kF16);
  const DeviceMemory x = on_device(floats(512));
  sluice_span span{c.kv(), 0, 2, 3};
  expect_refused(api()->kv_store(instance(), &span, 1, x.floats(), x.floats()),
                 "positions beyond the cache");
  expect_refused(api()->attention(instance(), &span, 1, x.floats(), 2, 1, x.floats()),
                 "positions beyond the cache");
  span.position = 0;
  span.kv.key_type = static_cast<uint32_t>(Type::kQ4_K);
  expect_refused(api()->kv_store(instance(), &span, 1, x.floats(), x.floats()), "type of cache");
  span.kv.key_type = static_cast<uint32_t>(Type::kF16);
  span.kv.head_dim = 1024;
  expect_refused(api()->attention(instance(), &span, 1, x.floats(), 2, 1, x.floats()),
                 "heads of 1024");
}

}  // namespace
}  // namespace sluice::compute
