// SPDX-License-Identifier: Apache-2.0
// The short convolution and the delta rule of every backend, against their definitions in double.
#include <algorithm>
#include <cmath>

#include "../unit/compute/delta_reference.h"
#include "backend_cases.h"

namespace sluice::compute {
namespace {

// A layer's memory of one sequence. It starts as NaN: position 0 must not read it.
struct RecurrentMemory {
  RecurrentMemory(const Backend& backend, int64_t conv_floats, int64_t state_floats)
      : conv(backend, static_cast<size_t>(conv_floats) * sizeof(float)),
        state(backend, static_cast<size_t>(state_floats) * sizeof(float)) {}
  DeviceMemory conv, state;

  sluice_recurrent_span span(int64_t first_row, int64_t rows, int64_t position,
                             int32_t keep = 0) const {
    return {conv.floats(), state.floats(), first_row, rows, position, keep};
  }
};

// How a prompt of `rows` may be cut.
std::vector<std::vector<int64_t>> cuts(int64_t rows) {
  return {std::vector<int64_t>(static_cast<size_t>(rows), 1),
          {1, rows - 1},
          {2, 1, rows - 3},
          {rows - 1, 1},
          {rows / 2, rows - rows / 2}};
}

class ConvOfBackend : public BackendTest {
 protected:
  std::vector<float> run(const std::vector<float>& x, const std::vector<float>& weight,
                         int64_t taps, int64_t channels,
                         const std::vector<sluice_recurrent_span>& spans) {
    const DeviceMemory from = on_device(x), by = on_device(weight), out = poisoned(x.size());
    expect_done(api()->short_conv(instance(), spans.data(), static_cast<int32_t>(spans.size()),
                                  from.floats(), by.floats(), taps, channels, out.floats()));
    return out.read();
  }
};
SLUICE_EVERY_BACKEND(ConvOfBackend);

TEST_P(ConvOfBackend, IsTheDefinition) {
  for (const int64_t taps : {1, 2, 4, 7, 16})
    for (const int64_t channels : {3, 16, 512, 1100})
      for (const int64_t rows : {1, 20, 100}) {
        SCOPED_TRACE(testing::Message()
                     << taps << " taps, " << channels << " channels, " << rows << " rows");
        const auto x = floats(rows * channels), weight = floats(taps * channels);
        const RecurrentMemory memory(backend(), (taps - 1) * channels, 0);
        const auto out = run(x, weight, taps, channels, {memory.span(0, rows, 0)});
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < channels; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < taps; ++j)
              if (r - (taps - 1) + j >= 0)
                sum += double{weight[static_cast<size_t>(j * channels + i)]} *
                       x[static_cast<size_t>((r - (taps - 1) + j) * channels + i)];
            ASSERT_NEAR(out[static_cast<size_t>(r * channels + i)], sum / (1 + std::exp(-sum)),
                        1e-5)
                << "row " << r << ", channel " << i;
          }
        // What is kept: the last inputs, zeros before the first.
        std::vector<float> kept(
            static_cast<size_t>(std::max<int64_t>(0, taps - 1 - rows) * channels));
        kept.insert(kept.end(),
                    x.end() - std::min<long>(static_cast<long>(x.size()), (taps - 1) * channels),
                    x.end());
        EXPECT_EQ(memory.conv.read(), kept);
      }
}

TEST_P(ConvOfBackend, PiecesGiveTheSameBits) {
  const int64_t rows = 75, channels = 100;
  const auto x = floats(rows * channels), weight = floats(4 * channels);
  const RecurrentMemory memory(backend(), 3 * channels, 0);
  const auto whole = run(x, weight, 4, channels, {memory.span(0, rows, 0)});
  for (const auto& pieces : cuts(rows)) {
    const RecurrentMemory other(backend(), 3 * channels, 0);
    int64_t first = 0;
    for (const int64_t count : pieces) {
      const auto part = run(x, weight, 4, channels, {other.span(first, count, first)});
      for (int64_t r = first; r < first + count; ++r) {
        const auto mine = row(part, r, channels), expected = row(whole, r, channels);
        ASSERT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin())) << r;
      }
      first += count;
    }
    EXPECT_EQ(other.conv.read(), memory.conv.read());
  }
}

TEST_P(ConvOfBackend, SpansAndKeptMemory) {
  const int64_t channels = 100;
  const auto x = floats(50 * channels), weight = floats(4 * channels);
  const RecurrentMemory a(backend(), 300, 0), b(backend(), 300, 0), none(backend(), 300, 0);
  const auto whole = run(x, weight, 4, channels, {b.span(0, 50, 0)});
  const auto at_end = b.conv.read();
  run(x, weight, 4, channels, {b.span(0, 11, 0)});
  const auto after_11 = b.conv.read();
  // Rows behind those, through a copy of the memory; a sequence without rows; another one.
  const auto out =
      run(x, weight, 4, channels, {b.span(11, 30, 11, 1), none.span(41, 0, 5), a.span(41, 9, 0)});
  EXPECT_EQ(b.conv.read(), after_11);
  EXPECT_TRUE(std::isnan(none.conv.read()[0]));
  EXPECT_TRUE(std::equal(out.begin() + 1100, out.begin() + 4100, whole.begin() + 1100));
  for (size_t i = 0; i < 1100; ++i) ASSERT_TRUE(std::isnan(out[i]));  // no rows of this batch
  run(x, weight, 4, channels, {b.span(11, 39, 11)});
  EXPECT_EQ(b.conv.read(), at_end);
}

// --- delta rule ---

class DeltaOfBackend : public BackendTest {
 protected:
  DeltaInput input(const sluice_delta_heads& heads, int64_t rows) {
    DeltaInput in;
    in.heads = heads;
    in.rows = rows;
    in.qkv = floats(rows * in.channels());
    in.ba = floats(rows * 2 * heads.value_heads, 2);
    for (int32_t n = 0; n < heads.value_heads; ++n) {
      in.a.push_back(-0.05f * static_cast<float>(n + 1));
      in.bias.push_back(-1.0f + 0.3f * static_cast<float>(n));
    }
    return in;
  }

  RecurrentMemory memory_for(const DeltaInput& in) const {
    return {backend(), 0, in.values() * in.heads.key_dim};
  }

  std::vector<float> run(const DeltaInput& in, const std::vector<sluice_recurrent_span>& spans) {
    const DeviceMemory qkv = on_device(in.qkv), ba = on_device(in.ba), a = on_device(in.a),
                       bias = on_device(in.bias),
                       out = poisoned(static_cast<size_t>(in.rows * in.values()));
    expect_done(api()->delta_rule(instance(), spans.data(), static_cast<int32_t>(spans.size()),
                                  &in.heads, qkv.floats(), ba.floats(), a.floats(), bias.floats(),
                                  in.eps, out.floats()));
    return out.read();
  }

  // The state as the reference has it: [value_heads, key_dim, value_dim].
  static std::vector<float> plain_state(const DeltaInput& in, const std::vector<float>& state) {
    const int64_t dk = in.heads.key_dim, dv = in.heads.value_dim;
    std::vector<float> plain(state.size());
    for (int64_t n = 0; n < in.heads.value_heads; ++n)
      for (int64_t i = 0; i < dk; ++i)
        for (int64_t j = 0; j < dv; ++j)
          plain[static_cast<size_t>((n * dk + i) * dv + j)] =
              state[static_cast<size_t>(n * dk * dv + (j / 32 * dk + i) * 32 + j % 32)];
    return plain;
  }
};
SLUICE_EVERY_BACKEND(DeltaOfBackend);

TEST_P(DeltaOfBackend, IsTheDefinition) {
  for (const sluice_delta_heads& heads : {sluice_delta_heads{1, 1, 1, 32},
                                          {1, 1, 7, 32},
                                          {2, 4, 16, 64},
                                          {3, 3, 24, 96},
                                          {2, 6, 128, 128},
                                          {1, 2, 256, 32}})
    for (const int64_t rows : {1, 16, 150}) {
      SCOPED_TRACE(testing::Message() << "key size " << heads.key_dim << ", " << rows << " rows");
      const DeltaInput in = input(heads, rows), more = input(heads, 5);
      DeltaReference reference(in);
      const RecurrentMemory memory = memory_for(in);
      EXPECT_LE(relative_error(run(in, {memory.span(0, rows, 0)}), reference.run_by_steps(in)),
                2e-6);
      // And on from there.
      EXPECT_LE(relative_error(run(more, {memory.span(0, 5, rows)}), reference.run_by_steps(more)),
                2e-6);
      EXPECT_LE(relative_error(plain_state(in, memory.state.read()), reference.state()), 2e-6);
    }
}

TEST_P(DeltaOfBackend, PiecesGiveTheSameBits) {
  for (const sluice_delta_heads& heads :
       {sluice_delta_heads{2, 4, 16, 64}, sluice_delta_heads{1, 2, 128, 128}}) {
    SCOPED_TRACE(heads.key_dim);
    const DeltaInput in = input(heads, 75);
    const RecurrentMemory memory = memory_for(in);
    const auto whole = run(in, {memory.span(0, 75, 0)});
    for (const auto& pieces : cuts(75)) {
      const RecurrentMemory other = memory_for(in);
      int64_t first = 0;
      for (const int64_t count : pieces) {
        const auto part = run(in, {other.span(first, count, first)});
        for (int64_t r = first; r < first + count; ++r) {
          const auto mine = row(part, r, in.values()), expected = row(whole, r, in.values());
          ASSERT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin())) << r;
        }
        first += count;
      }
      EXPECT_EQ(other.state.read(), memory.state.read());
    }
  }
}

TEST_P(DeltaOfBackend, SpansAndKeptMemory) {
  for (const sluice_delta_heads& heads :
       {sluice_delta_heads{2, 4, 16, 64}, sluice_delta_heads{1, 2, 128, 128}}) {
    SCOPED_TRACE(heads.key_dim);
    const DeltaInput in = input(heads, 50);
    const RecurrentMemory a = memory_for(in), b = memory_for(in), none = memory_for(in);
    const auto whole = run(in, {b.span(0, 50, 0)});
    const auto at_end = b.state.read();
    run(in, {b.span(0, 11, 0)});
    const auto after_11 = b.state.read();
    const auto out = run(in, {b.span(11, 30, 11, 1), none.span(41, 0, 5), a.span(41, 9, 0)});
    EXPECT_EQ(b.state.read(), after_11);
    EXPECT_TRUE(std::isnan(none.state.read()[0]));
    const auto first = 11 * in.values(), last = 41 * in.values();
    EXPECT_TRUE(std::equal(out.begin() + first, out.begin() + last, whole.begin() + first));
    for (int64_t i = 0; i < first; ++i) ASSERT_TRUE(std::isnan(out[static_cast<size_t>(i)]));
    run(in, {b.span(11, 39, 11)});
    EXPECT_EQ(b.state.read(), at_end);
  }
}

TEST_P(DeltaOfBackend, MoreSequencesThanOneLaunchTakes) {
  const sluice_delta_heads heads{1, 1, 128, 32};
  const DeltaInput in = input(heads, 70);
  std::vector<RecurrentMemory> memories;
  std::vector<sluice_recurrent_span> spans;
  for (int64_t i = 0; i < 70; ++i) {
    memories.push_back(memory_for(in));
    spans.push_back(memories.back().span(i, 1, 0));
  }
  const auto out = run(in, spans);
  for (int64_t i = 0; i < 70; ++i) {
    const RecurrentMemory alone = memory_for(in);
    const auto expected = run(in, {alone.span(i, 1, 0)});
    const auto mine = row(out, i, 32), other = row(expected, i, 32);
    EXPECT_TRUE(std::equal(mine.begin(), mine.end(), other.begin())) << i;
    EXPECT_EQ(memories[static_cast<size_t>(i)].state.read(), alone.state.read());
  }
}

TEST_P(DeltaOfBackend, ExtremesStayFinite) {
  for (const int32_t key_dim : {16, 128})
    for (const float size : {0.0f, 1e-20f, 1e15f}) {
      SCOPED_TRACE(testing::Message() << "key size " << key_dim << ", inputs of " << size);
      DeltaInput in = input({2, 4, key_dim, 64}, 40);
      for (float& value : in.qkv) value *= size;
      const float extremes[] = {-1e30f, -1e4f, -100, -20, 0, 20, 100, 1e4f, 1e30f};
      for (size_t i = 0; i < in.ba.size(); ++i) in.ba[i] = extremes[i * 5 % 9];
      in.a = {-1e-30f, -1e-3f, -30, -1e30f};
      const RecurrentMemory memory = memory_for(in);
      for (const float value : run(in, {memory.span(0, 40, 0)})) ASSERT_TRUE(std::isfinite(value));
      for (const float value : memory.state.read()) ASSERT_TRUE(std::isfinite(value));
    }
}

// One head through 32768 tokens with memories from short to practically endless.
TEST_P(DeltaOfBackend, DoesNotDriftOverLongTexts) {
  const int64_t tokens = 32768, step = 1024;
  const sluice_delta_heads heads{1, 1, 128, 32};
  for (const float bias : {-12.0f, -4.0f}) {
    DeltaInput in = input(heads, step);
    in.a = {-1.0f};
    in.bias = {bias};  // decays of about 1 - 6e-6 and 0.98 where ba's a is 0
    const RecurrentMemory memory = memory_for(in);
    DeltaReference reference(in);
    double worst = 0;
    for (int64_t t = 0; t < tokens; t += step) {
      DeltaInput part = input(heads, step);
      part.a = in.a;
      part.bias = in.bias;
      worst = std::max(worst, relative_error(run(part, {memory.span(0, step, t)}),
                                             reference.run_by_steps(part)));
    }
    EXPECT_LE(worst, 1e-5) << bias;
    EXPECT_LE(relative_error(plain_state(in, memory.state.read()), reference.state()), 1e-5)
        << bias;
  }
}

TEST_P(DeltaOfBackend, RefusesOddHeads) {
  if (is_cpu()) GTEST_SKIP() << "on the CPU's side these are broken invariants, which stop it";
  const DeviceMemory x = on_device(floats(64));
  const RecurrentMemory memory(backend(), 1, 1);
  const sluice_recurrent_span span = memory.span(0, 1, 0);
  const sluice_delta_heads odd{1, 1, 16, 33}, wide{1, 1, 4096, 32};
  expect_refused(api()->delta_rule(instance(), &span, 1, &odd, x.floats(), x.floats(), x.floats(),
                                   x.floats(), 1e-6f, x.floats()),
                 "multiple of 32");
  expect_refused(api()->delta_rule(instance(), &span, 1, &wide, x.floats(), x.floats(), x.floats(),
                                   x.floats(), 1e-6f, x.floats()),
                 "key_dim 4096");
  expect_refused(api()->short_conv(instance(), &span, 1, x.floats(), x.floats(), 17, 1, x.floats()),
                 "17 taps");
}

}  // namespace
}  // namespace sluice::compute
