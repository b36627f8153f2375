// SPDX-License-Identifier: Apache-2.0
// All levels give the same bits on every processor: results as digests, recorded with AVX2.
// A change of the order of operations changes them; the message of a failure shows the new ones.
// Inputs are made from integers, since libraries of mathematics differ in last bits.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "levels.h"
#include "packed_acts.h"
#include "random_blocks.h"

namespace sluice::cpu {
namespace {

using quant::ActBlock;
using quant::Traits;
using quant::Type;

constexpr int64_t kN = 1024;
constexpr int64_t kRows = 11;
constexpr int64_t kActs = 7;

const std::map<std::string, uint64_t> kExpected = {
    {"BF16", 0xbc0c67dfc4d1877a},         {"F16", 0xdb82416dae8bb097},
    {"F32", 0xebf9ed40efedb2a8},          {"IQ2_S", 0x13cc67ec5bee2abc},
    {"IQ2_XS", 0x5999a60ff07567d8},       {"IQ2_XXS", 0xf830da4c0b3c31b},
    {"IQ3_S", 0xf86fe8bcba9dc866},        {"IQ3_XXS", 0x7a555714dc200938},
    {"IQ4_NL", 0x14b5b6777b2a9a50},       {"IQ4_XS", 0xfc4f1385cf5eb28b},
    {"MXFP4", 0xd4052a7d849c1cb},         {"Q2_K", 0x1d1abbe3eb7cbae1},
    {"Q3_K", 0x53ffc8de323585db},         {"Q4_0", 0x1ce5bf8d6c170e3a},
    {"Q4_1", 0xfae3fca618f52f77},         {"Q4_K", 0x7f4718a31c73db6c},
    {"Q5_0", 0xc040590a77a622cc},         {"Q5_1", 0xd6aca8790d5ef442},
    {"Q5_K", 0x4a31992c8f22881f},         {"Q6_K", 0x1960725d0da48cf6},
    {"Q8_0", 0x431e43db432fc0c3},         {"attend", 0x3ff4ebf4726f9849},
    {"axpy", 0x3f36b8bf5391fe66},         {"conv_silu", 0xc368368b6368fed6},
    {"delta_rule", 0x8c43ecd6931a541c},   {"dot", 0xabd19bc4c99c6b9a},
    {"exp", 0x84f66e608fb3ed6a},          {"rms_norm", 0xba607075072de587},
    {"sigmoid_gate", 0xcdde0c1afbd00331}, {"swiglu", 0x105e5478d1d9155c},
};

// FNV-1a.
uint64_t digest(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const float v : values) {
    uint8_t bytes[sizeof(v)];
    std::memcpy(bytes, &v, sizeof(v));
    for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  }
  return hash;
}

class Inputs {
 public:
  // In steps of 2^-14 within (-limit, limit).
  std::vector<float> floats(int64_t n, int limit) {
    std::vector<float> result;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t steps = limit << 14;
      const auto at = static_cast<int32_t>(random_() % static_cast<uint32_t>(2 * steps)) - steps;
      result.push_back(static_cast<float>(at) * 0x1p-14f);
    }
    return result;
  }
  std::vector<uint8_t> rows(const Traits& t) {
    std::vector<uint8_t> result;
    for (int64_t r = 0; r < kRows; ++r) {
      const quant::Row row = quant::random_row(t, kN, random_);
      result.insert(result.end(), row.data(), row.data() + row.size());
    }
    return result;
  }

 private:
  std::mt19937 random_{29};
};

std::vector<float> products(const Kernels& kernels, const Traits& t) {
  Inputs inputs;
  const auto weights = inputs.rows(t);
  const auto x = inputs.floats(kActs * kN, 4);
  const int64_t per_row = quant::act_blocks(kN);
  std::vector<ActBlock> blocks(static_cast<size_t>(kActs * per_row));
  for (int64_t a = 0; a < kActs; ++a)
    kernels.quantize(x.data() + a * kN, kN, blocks.data() + a * per_row);
  const PackedActs packed = pack(kernels, blocks, per_row);
  std::vector<float> out(static_cast<size_t>(kRows * kActs));
  kernels.dot_rows[static_cast<uint32_t>(t.type)](weights.data(), quant::row_bytes(t.type, kN),
                                                  kRows, kN, packed.rows.data(), kActs, out.data(),
                                                  kRows, nullptr);
  return out;
}

std::vector<float> float_products(const Kernels& kernels, Type type) {
  Inputs inputs;
  const auto values = inputs.floats(kRows * kN, 2), x = inputs.floats(kActs * kN, 4);
  std::vector<uint8_t> weights(kRows * quant::row_bytes(type, kN));
  quant::traits(type).encode(values.data(), kRows * kN, weights.data());
  std::vector<float> out(static_cast<size_t>(kRows * kActs));
  kernels.dot_rows_float[static_cast<uint32_t>(type)](
      weights.data(), quant::row_bytes(type, kN), kRows, kN, x.data(), kActs, out.data(), kRows);
  return out;
}

// Two tiles, in the second of which queries see different numbers of positions.
std::vector<float> attention(const Kernels& kernels) {
  constexpr int64_t kDim = 72, kStride = 128, kCount = 5;
  Inputs inputs;
  const auto queries = inputs.floats(kCount * kDim, 1);
  std::vector<float> scores(kCount * kTilePositions), sum(kCount), out(kCount * kStride);
  std::vector<float> maximum(kCount, -__builtin_inff());
  for (const int64_t positions : {kTilePositions, int64_t{43}}) {
    const auto rows = inputs.floats(positions * kDim, 1);
    std::vector<float> keys(kDim * kTilePositions),
        values(static_cast<size_t>(positions) * kStride);
    kernels.transpose_keys(rows.data(), positions, kDim, keys.data());
    for (int64_t p = 0; p < positions; ++p)
      std::memcpy(values.data() + p * kStride, rows.data() + p * kDim, kDim * sizeof(float));
    std::vector<int32_t> visible;
    for (int64_t q = 0; q < kCount; ++q)
      visible.push_back(static_cast<int32_t>(positions == kTilePositions ? positions : 10 * q));
    AttentionTile tile{};
    tile.queries = queries.data();
    tile.count = kCount;
    tile.dim = kDim;
    tile.keys = keys.data();
    tile.values = values.data();
    tile.positions = positions;
    tile.visible = visible.data();
    tile.scores = scores.data();
    tile.maximum = maximum.data();
    tile.sum = sum.data();
    tile.out = out.data();
    tile.out_stride = kStride;
    kernels.attend(tile);
  }
  out.insert(out.end(), sum.begin(), sum.end());
  return out;
}

std::vector<float> delta_rule(const Kernels& kernels) {
  constexpr int64_t kTokens = 9, kDim = 33, kStrips = 2;
  Inputs inputs;
  const auto keys = inputs.floats(kTokens * kDim, 1), queries = inputs.floats(kTokens * kDim, 1);
  const auto match = inputs.floats(kTokens, 1), values = inputs.floats(kTokens * 64, 1);
  auto state = inputs.floats(kStrips * kDim * kDeltaStrip, 1);
  const std::vector<float> decay(kTokens, 0.875f), beta(kTokens, 0.0625f);
  const DeltaTokens tokens = {kTokens,      kDim,         keys.data(), queries.data(),
                              match.data(), decay.data(), beta.data()};
  std::vector<float> out(values.size());
  kernels.delta_rule(tokens, state.data(), kStrips, values.data(), 64, out.data(), 64);
  out.insert(out.end(), state.begin(), state.end());
  return out;
}

std::map<std::string, uint64_t> digests(const Kernels& kernels) {
  std::map<std::string, uint64_t> found;
  for (const Traits* t : quant::block_formats())
    found[std::string(t->name)] = digest(products(kernels, *t));
  for (const Type type : {Type::kF32, Type::kF16, Type::kBF16})
    found[std::string(quant::traits(type).name)] = digest(float_products(kernels, type));

  Inputs inputs;
  const auto a = inputs.floats(1003, 30), b = inputs.floats(1003, 2);
  const auto n = static_cast<int64_t>(a.size());
  found["dot"] = digest({kernels.dot(a.data(), b.data(), n)});
  auto out = a;
  kernels.axpy(0.3f, b.data(), out.data(), n);
  found["axpy"] = digest(out);
  kernels.rms_norm(a.data(), b.data(), n, 1e-6f, out.data());
  found["rms_norm"] = digest(out);
  out = a;
  kernels.swiglu(out.data(), b.data(), n);
  found["swiglu"] = digest(out);
  out = a;
  kernels.exp(out.data(), 3.0f, n);
  found["exp"] = digest(out);
  out = a;
  kernels.sigmoid_gate(b.data(), n, out.data());
  found["sigmoid_gate"] = digest(out);
  const float* taps[] = {a.data(), b.data(), a.data() + 3};
  out.assign(500, 0.0f);
  kernels.conv_silu(taps, b.data(), 500, 2, 500, out.data());
  found["conv_silu"] = digest(out);
  found["attend"] = digest(attention(kernels));
  found["delta_rule"] = digest(delta_rule(kernels));
  return found;
}

TEST(Bits, AreTheSameOnEveryProcessor) {
  for (const TestLevel& level : levels()) {
    const auto found = digests(*level.kernels);
    EXPECT_EQ(found.size(), kExpected.size());
    for (const auto& [name, value] : found) {
      const auto expected = kExpected.find(name);
      EXPECT_TRUE(expected != kExpected.end() && expected->second == value)
          << level.name << ": {\"" << name << "\", 0x" << std::hex << value << "},";
    }
  }
}

}  // namespace
}  // namespace sluice::cpu
