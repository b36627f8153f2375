// SPDX-License-Identifier: Apache-2.0
// The operations of the gated delta net against their definitions in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compute/cpu/kernels.h"
#include "delta_reference.h"
#include "fixture.h"

namespace sluice::compute {
namespace {

// A layer's memory of one sequence. It starts as garbage: position 0 must not read it.
struct Memory {
  Memory(int64_t conv_floats, int64_t state_floats)
      : conv(static_cast<size_t>(conv_floats), std::nanf("")),
        state(static_cast<size_t>(state_floats), std::nanf("")) {}
  std::vector<float> conv, state;

  sluice_recurrent_span span(int64_t first_row, int64_t rows, int64_t position) {
    return {conv.data(), state.data(), first_row, rows, position};
  }
};

std::vector<std::string> levels() {
  std::vector<std::string> found;
  for (const char* level : {"scalar", "avx2", "avx-vnni", "avx512"})
    if (cpu::select_kernels(level)) found.push_back(level);
  return found;
}

// How a prompt of `rows` may be cut.
std::vector<std::vector<int64_t>> cuts(int64_t rows) {
  return {std::vector<int64_t>(static_cast<size_t>(rows), 1),
          {1, rows - 1},
          {2, 1, rows - 3},
          {rows - 1, 1},
          {rows / 2, rows - rows / 2}};
}

constexpr int64_t kRows = 75;

// --- short convolution ---

struct Conv {
  int64_t taps, channels;
  std::vector<float> x, weight;
};

Conv random_conv(int64_t taps, int64_t channels, int64_t rows) {
  std::mt19937 random(static_cast<uint32_t>(taps * 1000 + channels));
  return {taps, channels, random_floats(static_cast<size_t>(rows * channels), random),
          random_floats(static_cast<size_t>(taps * channels), random)};
}

std::vector<float> run_conv(const Backend& backend, const Conv& c, Memory& memory, int64_t first,
                            int64_t rows) {
  std::vector<float> out(static_cast<size_t>(rows * c.channels));
  const sluice_recurrent_span span = memory.span(0, rows, first);
  EXPECT_EQ(backend->short_conv(backend.get(), &span, 1, c.x.data() + first * c.channels,
                                c.weight.data(), c.taps, c.channels, out.data()),
            0);
  return out;
}

TEST(ShortConv, IsTheDefinition) {
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    for (const int64_t taps : {1, 2, 4, 7})
      for (const int64_t channels : {3, 16, 512, 1100}) {
        const Conv c = random_conv(taps, channels, 20);
        Memory memory((taps - 1) * channels, 0);
        const auto out = run_conv(backend, c, memory, 0, 20);
        for (int64_t r = 0; r < 20; ++r)
          for (int64_t i = 0; i < channels; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < taps; ++j)
              if (r - (taps - 1) + j >= 0)
                sum += double{c.weight[static_cast<size_t>(j * channels + i)]} *
                       c.x[static_cast<size_t>((r - (taps - 1) + j) * channels + i)];
            const double expected = sum / (1 + std::exp(-sum));
            ASSERT_NEAR(out[static_cast<size_t>(r * channels + i)], expected, 3e-6)
                << level << ", " << taps << " taps, row " << r << ", channel " << i;
          }
        // What is kept: the last inputs.
        EXPECT_TRUE(std::equal(memory.conv.begin(), memory.conv.end(),
                               c.x.end() - static_cast<long>(memory.conv.size())));
      }
  }
}

TEST(ShortConv, PiecesGiveTheSameBits) {
  const Backend backend = open_cpu(2);
  const Conv c = random_conv(4, 100, kRows);
  Memory memory(300, 0);
  const auto whole = run_conv(backend, c, memory, 0, kRows);
  for (const auto& pieces : cuts(kRows)) {
    Memory other(300, 0);
    std::vector<float> out;
    int64_t first = 0;
    for (const int64_t rows : pieces) {
      const auto part = run_conv(backend, c, other, first, rows);
      out.insert(out.end(), part.begin(), part.end());
      first += rows;
    }
    EXPECT_EQ(out, whole);
    EXPECT_EQ(other.conv, memory.conv);
  }
}

TEST(ShortConv, SpansDoNotSeeOneAnother) {
  const Backend backend = open_cpu(2);
  const Conv c = random_conv(4, 100, 30);
  Memory a(300, 0), b(300, 0), none(300, 0);
  const sluice_recurrent_span spans[] = {a.span(0, 11, 0), none.span(11, 0, 5), b.span(11, 19, 0)};
  std::vector<float> out(3000);
  backend->short_conv(backend.get(), spans, 3, c.x.data(), c.weight.data(), 4, 100, out.data());
  Memory alone(300, 0);
  const auto first = run_conv(backend, c, alone, 0, 11);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), out.begin()));
  EXPECT_EQ(alone.conv, a.conv);
  Conv second = c;
  second.x.erase(second.x.begin(), second.x.begin() + 1100);
  const auto rest = run_conv(backend, second, alone, 0, 19);
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), out.begin() + 1100));
  EXPECT_EQ(alone.conv, b.conv);
  EXPECT_TRUE(std::isnan(none.conv[0]));  // no rows, no change
}

// A span that keeps its memory gives the same outputs.
TEST(ShortConv, KeepsItsMemory) {
  const Backend backend = open_cpu(2);
  const Conv c = random_conv(4, 100, 20);
  Memory memory(300, 0), other(300, 0);
  run_conv(backend, c, memory, 0, 9);
  other.conv = memory.conv;
  sluice_recurrent_span span = memory.span(0, 11, 9);
  span.keep = 1;
  std::vector<float> out(1100);
  backend->short_conv(backend.get(), &span, 1, c.x.data() + 900, c.weight.data(), 4, 100,
                      out.data());
  EXPECT_EQ(memory.conv, other.conv);
  EXPECT_EQ(out, run_conv(backend, c, other, 9, 11));
  EXPECT_NE(memory.conv, other.conv);
}

// --- delta rule ---

DeltaInput random_input(const sluice_delta_heads& heads, int64_t rows, uint32_t seed = 1) {
  std::mt19937 random(seed);
  DeltaInput in;
  in.heads = heads;
  in.rows = rows;
  in.qkv = random_floats(static_cast<size_t>(rows * in.channels()), random);
  in.ba = random_floats(static_cast<size_t>(rows * 2 * heads.value_heads), random, 2);
  for (int32_t n = 0; n < heads.value_heads; ++n) {
    in.a.push_back(-0.05f * static_cast<float>(n + 1));
    in.bias.push_back(-1.0f + 0.3f * static_cast<float>(n));
  }
  return in;
}

std::vector<float> run_delta(const Backend& backend, const DeltaInput& in, Memory& memory,
                             int64_t first, int64_t rows) {
  std::vector<float> out(static_cast<size_t>(rows * in.values()));
  const sluice_recurrent_span span = memory.span(0, rows, first);
  EXPECT_EQ(
      backend->delta_rule(backend.get(), &span, 1, &in.heads, in.qkv.data() + first * in.channels(),
                          in.ba.data() + first * 2 * in.heads.value_heads, in.a.data(),
                          in.bias.data(), in.eps, out.data()),
      0);
  return out;
}

std::vector<float> run_delta(const Backend& backend, const DeltaInput& in, Memory& memory) {
  return run_delta(backend, in, memory, 0, in.rows);
}

Memory memory_for(const DeltaInput& in) {
  return {0, in.values() * in.heads.key_dim};
}

// The state as the reference has it: [value_heads, key_dim, value_dim].
std::vector<float> plain_state(const DeltaInput& in, const Memory& memory) {
  const int64_t dk = in.heads.key_dim, dv = in.heads.value_dim;
  std::vector<float> plain(memory.state.size());
  for (int64_t n = 0; n < in.heads.value_heads; ++n)
    for (int64_t i = 0; i < dk; ++i)
      for (int64_t j = 0; j < dv; ++j)
        plain[static_cast<size_t>((n * dk + i) * dv + j)] =
            memory.state[static_cast<size_t>(n * dk * dv + (j / 32 * dk + i) * 32 + j % 32)];
  return plain;
}

const sluice_delta_heads kShapes[] = {
    {1, 1, 1, 32}, {1, 1, 7, 32}, {2, 4, 16, 64}, {3, 3, 24, 96}, {2, 6, 128, 128}};

TEST(DeltaRule, IsTheDefinitionStepByStepAndInChunks) {
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    for (const sluice_delta_heads& heads : kShapes) {
      const DeltaInput in = random_input(heads, 150);
      DeltaReference steps(in), chunks(in);
      const auto expected = steps.run_by_steps(in);
      const auto chunked = chunks.run_by_chunks(in, 64);
      // The two references are one function.
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(chunked[i], expected[i], 1e-11 * (1 + std::abs(expected[i])));
      Memory memory = memory_for(in);
      const auto out = run_delta(backend, in, memory);
      EXPECT_LE(relative_error(out, expected), 1e-6) << level << ", key size " << heads.key_dim;
      EXPECT_LE(relative_error(plain_state(in, memory), steps.state()), 1e-6) << level;
    }
  }
}

TEST(DeltaRule, PiecesGiveTheSameBits) {
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    const DeltaInput in = random_input({2, 4, 16, 64}, kRows);
    Memory memory = memory_for(in);
    const auto whole = run_delta(backend, in, memory);
    for (const auto& pieces : cuts(kRows)) {
      Memory other = memory_for(in);
      std::vector<float> out;
      int64_t first = 0;
      for (const int64_t rows : pieces) {
        const auto part = run_delta(backend, in, other, first, rows);
        out.insert(out.end(), part.begin(), part.end());
        first += rows;
      }
      EXPECT_EQ(out, whole) << level;
      EXPECT_EQ(other.state, memory.state) << level;
    }
  }
}

TEST(DeltaRule, AnyNumberOfThreadsGivesTheSameBits) {
  const DeltaInput in = random_input({2, 4, 16, 128}, kRows);
  Memory memory = memory_for(in);
  const auto expected = run_delta(open_cpu(1), in, memory);
  for (const int threads : {2, 3, 7, 32}) {
    Memory other = memory_for(in);
    EXPECT_EQ(run_delta(open_cpu(threads), in, other), expected);
    EXPECT_EQ(other.state, memory.state);
  }
}

TEST(DeltaRule, SpansDoNotSeeOneAnother) {
  const Backend backend = open_cpu(2);
  const sluice_delta_heads heads{2, 4, 16, 64};
  const DeltaInput in = random_input(heads, 40);
  Memory a = memory_for(in), b = memory_for(in), none = memory_for(in);
  const sluice_recurrent_span spans[] = {a.span(0, 13, 0), none.span(13, 0, 5), b.span(13, 27, 0)};
  std::vector<float> out(static_cast<size_t>(40 * in.values()));
  backend->delta_rule(backend.get(), spans, 3, &heads, in.qkv.data(), in.ba.data(), in.a.data(),
                      in.bias.data(), in.eps, out.data());
  Memory alone = memory_for(in);
  const auto first = run_delta(backend, in, alone, 0, 13);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), out.begin()));
  EXPECT_EQ(alone.state, a.state);
  DeltaInput rest = in;
  rest.rows = 27;
  rest.qkv.erase(rest.qkv.begin(), rest.qkv.begin() + 13 * in.channels());
  rest.ba.erase(rest.ba.begin(), rest.ba.begin() + 13 * 8);
  const auto second = run_delta(backend, rest, alone);
  EXPECT_TRUE(std::equal(second.begin(), second.end(), out.begin() + 13 * in.values()));
  EXPECT_EQ(alone.state, b.state);
  EXPECT_TRUE(std::isnan(none.state[0]));
}

// With full strength, no decay and orthogonal keys the memory returns what was stored.
TEST(DeltaRule, RemembersValuesOfOrthogonalKeys) {
  const Backend backend = open_cpu(2);
  DeltaInput in = random_input({1, 1, 16, 32}, 17);
  in.eps = 0;
  for (int64_t t = 0; t < 17; ++t) {
    float* row = in.qkv.data() + t * in.channels();
    std::fill_n(row, 32, 0.0f);
    row[t == 16 ? 5 : t] = 1;  // query: at last for what the sixth key stored
    row[16 + std::min<int64_t>(t, 15)] = 1;
    in.ba[static_cast<size_t>(2 * t)] = t == 16 ? -200.0f : 200.0f;  // nothing is written at last
    in.ba[static_cast<size_t>(2 * t + 1)] = -200.0f;
  }
  Memory memory = memory_for(in);
  const auto out = run_delta(backend, in, memory);
  for (int64_t j = 0; j < 32; ++j)
    EXPECT_FLOAT_EQ(out[static_cast<size_t>(16 * 32 + j)],
                    in.qkv[static_cast<size_t>(5 * in.channels() + 32 + j)] / 4);
}

// With the strongest decay only the present token counts.
TEST(DeltaRule, ForgetsEverythingAtTheStrongestDecay) {
  const Backend backend = open_cpu(2);
  DeltaInput in = random_input({2, 4, 16, 64}, 20);
  std::fill(in.a.begin(), in.a.end(), -1e6f);
  Memory memory = memory_for(in);
  const auto all = run_delta(backend, in, memory);
  DeltaInput last = in;
  last.rows = 1;
  last.qkv.erase(last.qkv.begin(), last.qkv.end() - in.channels());
  last.ba.erase(last.ba.begin(), last.ba.end() - 8);
  Memory fresh = memory_for(in);
  const auto alone = run_delta(backend, last, fresh);
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.end() - in.values()));
}

TEST(DeltaRule, ExtremeGatesAndInputsStayFinite) {
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    for (const float size : {0.0f, 1e-30f, 1.0f, 1e4f}) {
      DeltaInput in = random_input({2, 4, 16, 64}, 200);
      for (float& value : in.qkv) value *= size;
      const float extremes[] = {-1e30f, -1e4f, -100, -20, 0, 20, 100, 1e4f, 1e30f};
      for (size_t i = 0; i < in.ba.size(); ++i) in.ba[i] = extremes[i * 5 % 9];
      in.a = {-1e-30f, -1e-3f, -30, -1e30f};
      Memory memory = memory_for(in);
      for (const float value : run_delta(backend, in, memory)) ASSERT_TRUE(std::isfinite(value));
      for (const float value : memory.state) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

// One head through 32768 tokens with memories from short to practically endless.
TEST(DeltaRule, DoesNotDriftOverLongTexts) {
  const int64_t tokens = 32768, step = 1024;
  const sluice_delta_heads heads{1, 1, 64, 32};
  const Backend backend = open_cpu(2);
  for (const float bias : {-12.0f, -4.0f}) {
    DeltaInput in = random_input(heads, step);
    in.a = {-1.0f};
    in.bias = {bias};  // decays of about 1 - 6e-6 and 0.98 where ba's a is 0
    Memory memory = memory_for(in);
    DeltaReference reference(in);
    double worst = 0;
    for (int64_t t = 0; t < tokens; t += step) {
      DeltaInput part = random_input(heads, step, static_cast<uint32_t>(t + 7));
      part.a = in.a;
      part.bias = in.bias;
      std::vector<float> out(static_cast<size_t>(step * in.values()));
      const sluice_recurrent_span span = memory.span(0, step, t);
      backend->delta_rule(backend.get(), &span, 1, &heads, part.qkv.data(), part.ba.data(),
                          part.a.data(), part.bias.data(), part.eps, out.data());
      worst = std::max(worst, relative_error(out, reference.run_by_steps(part)));
    }
    EXPECT_LE(worst, 1e-5) << bias;
    EXPECT_LE(relative_error(plain_state(in, memory), reference.state()), 1e-5) << bias;
  }
}

// --- gates ---

TEST(Gates, GatedNorm) {
  const int64_t rows = 37, dim = 96;
  std::mt19937 random(3);
  const auto x = random_floats(rows * dim, random, 2), z = random_floats(rows * dim, random, 4);
  const auto weight = random_floats(dim, random);
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    auto gate = z;
    ASSERT_EQ(
        backend->gated_norm(backend.get(), x.data(), weight.data(), rows, dim, 1e-6f, gate.data()),
        0);
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (const float value : row(x, r, dim)) squares += double{value} * value;
      const double scale = 1 / std::sqrt(squares / dim + 1e-6);
      for (size_t i = 0; i < dim; ++i) {
        const double g = row(z, r, dim)[i];
        const double expected = g / (1 + std::exp(-g)) * row(x, r, dim)[i] * scale * weight[i];
        ASSERT_NEAR(row(gate, r, dim)[i], expected, 2e-6 * std::abs(expected) + 1e-30) << level;
      }
    }
  }
}

TEST(Gates, SigmoidGate) {
  std::mt19937 random(4);
  auto gate = random_floats(10007, random, 5);
  gate[0] = -1000;
  gate[1] = 1000;
  const auto before = random_floats(gate.size(), random);
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    auto x = before;
    ASSERT_EQ(backend->sigmoid_gate(backend.get(), gate.data(), static_cast<int64_t>(gate.size()),
                                    x.data()),
              0);
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = before[i] / (1 + std::exp(-double{gate[i]}));
      ASSERT_NEAR(x[i], expected, 1e-6 * std::abs(expected)) << level << " at " << i;
    }
  }
}

TEST(Gates, RowGate) {
  const int64_t rows = 70, dim = 100;
  std::mt19937 random(5);
  auto x = random_floats(rows * dim, random);
  const auto weight = random_floats(dim, random, 0.3f);
  for (size_t i = 0; i < dim; ++i) x[i] = 1e3f * weight[i];
  for (size_t i = 0; i < dim; ++i) x[dim + i] = -1e3f * weight[i];
  const Backend backend = open_cpu(2);
  std::vector<float> out(rows);
  ASSERT_EQ(backend->row_gate(backend.get(), x.data(), rows, dim, weight.data(), out.data()), 0);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], 0.0f);
  for (int64_t r = 2; r < rows; ++r) {
    double sum = 0;
    for (size_t i = 0; i < dim; ++i) sum += double{weight[i]} * row(x, r, dim)[i];
    EXPECT_NEAR(out[static_cast<size_t>(r)], 1 / (1 + std::exp(-sum)), 1e-6);
  }
}

TEST(DeltaRule, KeepsItsMemory) {
  for (const std::string& level : levels()) {
    const Backend backend = open_cpu(2, level);
    const DeltaInput in = random_input({2, 4, 16, 64}, 40);
    Memory memory = memory_for(in);
    run_delta(backend, in, memory, 0, 5);
    Memory other = memory;
    sluice_recurrent_span span = memory.span(0, 35, 5);
    span.keep = 1;
    std::vector<float> out(static_cast<size_t>(35 * in.values()));
    backend->delta_rule(backend.get(), &span, 1, &in.heads, in.qkv.data() + 5 * in.channels(),
                        in.ba.data() + 5 * 2 * in.heads.value_heads, in.a.data(), in.bias.data(),
                        in.eps, out.data());
    EXPECT_EQ(memory.state, other.state) << level;
    EXPECT_EQ(out, run_delta(backend, in, other, 5, 35)) << level;
    EXPECT_NE(memory.state, other.state) << level;
  }
}

}  // namespace
}  // namespace sluice::compute
