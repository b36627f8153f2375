// SPDX-License-Identifier: Apache-2.0
// Which type each tensor of a published architecture gets in each mix.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "gguf/quantize.h"

namespace sluice::gguf {
namespace {

using quant::Type;
using testing::HasSubstr;

struct Source {
  std::string name;
  std::vector<int64_t> shape;
  Type type = Type::kBF16;
};

// The tensors of Qwen3-30B-A3B as converted to BF16.
std::vector<Source> qwen3_30b() {
  std::vector<Source> all = {{"token_embd.weight", {2048, 151936}},
                             {"output_norm.weight", {2048}, Type::kF32},
                             {"output.weight", {2048, 151936}}};
  for (int n = 0; n < 48; ++n) {
    const std::string p = "blk." + std::to_string(n) + ".";
    all.push_back({p + "attn_norm.weight", {2048}, Type::kF32});
    all.push_back({p + "attn_q.weight", {2048, 4096}});
    all.push_back({p + "attn_k.weight", {2048, 512}});
    all.push_back({p + "attn_v.weight", {2048, 512}});
    all.push_back({p + "attn_q_norm.weight", {128}, Type::kF32});
    all.push_back({p + "attn_k_norm.weight", {128}, Type::kF32});
    all.push_back({p + "attn_output.weight", {4096, 2048}});
    all.push_back({p + "ffn_norm.weight", {2048}, Type::kF32});
    all.push_back({p + "ffn_gate_inp.weight", {2048, 128}, Type::kF32});
    all.push_back({p + "ffn_gate_exps.weight", {2048, 768, 128}});
    all.push_back({p + "ffn_up_exps.weight", {2048, 768, 128}});
    all.push_back({p + "ffn_down_exps.weight", {768, 2048, 128}});
  }
  return all;
}

const Mix& mix(std::string_view name) {
  const Mix* found = find_mix(name);
  if (!found) throw std::runtime_error("no mix " + std::string(name));
  return *found;
}

Type type_in(std::string_view name, const Source& tensor, int64_t layers = 48,
             bool has_output = true) {
  return mix_type(mix(name), {layers, has_output}, tensor.name, tensor.shape, tensor.type);
}

std::map<Type, int> counts(std::string_view name) {
  std::map<Type, int> out;
  for (const Source& tensor : qwen3_30b()) ++out[type_in(name, tensor)];
  return out;
}

// The type of blk.N.<role>.weight for every layer.
std::vector<Type> by_layer(std::string_view name, const std::string& role,
                           std::vector<int64_t> shape = {2048, 512}) {
  std::vector<Type> out;
  for (int n = 0; n < 48; ++n)
    out.push_back(type_in(name, {"blk." + std::to_string(n) + "." + role + ".weight", shape}));
  return out;
}

std::vector<Type> per_layer(const std::function<Type(int)>& type) {
  std::vector<Type> out;
  for (int n = 0; n < 48; ++n) out.push_back(type(n));
  return out;
}

std::vector<Type> all_layers(Type type) {
  return std::vector<Type>(48, type);
}

bool more_bits(int n) {
  static const std::set<int> layers = {0,  1,  2,  3,  4,  5,  8,  11, 14, 17, 20, 23,
                                       26, 29, 32, 35, 38, 41, 42, 43, 44, 45, 46, 47};
  return layers.contains(n);
}

TEST(Mix, NamesAreFoundInAnyCase) {
  const std::string names = mix_names();
  size_t begin = 0;
  int count = 0;
  while (begin < names.size()) {
    const size_t end = std::min(names.find(' ', begin), names.size());
    const Mix* found = find_mix(names.substr(begin, end - begin));
    ASSERT_NE(found, nullptr) << names.substr(begin, end - begin);
    EXPECT_EQ(found->name, names.substr(begin, end - begin));
    begin = end + 1;
    ++count;
  }
  EXPECT_EQ(count, 20);
  EXPECT_EQ(find_mix("q4_k_m"), find_mix("Q4_K_M"));
  EXPECT_EQ(find_mix("bf16")->file_type, 32u);
  EXPECT_EQ(find_mix("Q4_K_M")->file_type, 15u);
  EXPECT_EQ(find_mix("MXFP4_MOE")->file_type, 38u);
  for (const char* name : {"", "Q4_K", "Q4_K_M ", "Q4", "IQ2_M", "Q9_0"})
    EXPECT_EQ(find_mix(name), nullptr) << name;
}

// The published Qwen3-30B-A3B Q4_K_M: 17.277 GiB of tensor data.
TEST(Mix, Q4KMOfThe30B) {
  const std::map<Type, int> expected = {{Type::kF32, 241}, {Type::kQ4_K, 289}, {Type::kQ6_K, 49}};
  EXPECT_EQ(counts("Q4_K_M"), expected);
  uint64_t bytes = 0;
  for (const Source& tensor : qwen3_30b()) {
    int64_t elements = 1;
    for (const int64_t n : tensor.shape) elements *= n;
    bytes += quant::row_bytes(type_in("Q4_K_M", tensor), elements);
  }
  EXPECT_NEAR(static_cast<double>(bytes) / (1 << 30), 17.277, 0.0005);
}

TEST(Mix, MoreBitsLayers) {
  for (const char* name : {"Q4_K_M", "Q5_K_M"}) {
    const Type base = mix(name).base;
    const auto expected = per_layer([&](int n) { return more_bits(n) ? Type::kQ6_K : base; });
    EXPECT_EQ(by_layer(name, "attn_v"), expected) << name;
    EXPECT_EQ(by_layer(name, "attn_qkv"), expected) << name;
    EXPECT_EQ(by_layer(name, "ffn_down"), expected) << name;
    EXPECT_EQ(by_layer(name, "ffn_down_exps", {768, 2048, 128}), expected) << name;
    EXPECT_EQ(by_layer(name, "ffn_down_shexp"), expected) << name;
  }
}

TEST(Mix, TheHeadGetsQ6K) {
  const Source output{"output.weight", {2048, 151936}};
  const Source embedding{"token_embd.weight", {2048, 151936}};
  for (const char* name : {"Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S",
                           "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS"}) {
    EXPECT_EQ(type_in(name, output), Type::kQ6_K) << name;
    EXPECT_EQ(type_in(name, embedding), mix(name).base) << name;
    EXPECT_EQ(type_in(name, embedding, 48, false), Type::kQ6_K) << name;  // tied
  }
  for (const char* name : {"Q8_0", "Q4_0", "Q5_1", "F16", "BF16", "F32"})
    EXPECT_EQ(type_in(name, output), mix(name).base) << name;
}

TEST(Mix, Q2K) {
  EXPECT_EQ(by_layer("Q2_K", "attn_v"), all_layers(Type::kQ4_K));
  EXPECT_EQ(by_layer("Q2_K", "attn_q"), all_layers(Type::kQ2_K));
  EXPECT_EQ(by_layer("Q2_K", "attn_k"), all_layers(Type::kQ2_K));
  EXPECT_EQ(by_layer("Q2_K", "attn_output"), all_layers(Type::kQ3_K));
  EXPECT_EQ(by_layer("Q2_K", "ffn_down_exps", {768, 2048, 128}), all_layers(Type::kQ3_K));
  EXPECT_EQ(by_layer("Q2_K", "ffn_up_exps", {2048, 768, 128}), all_layers(Type::kQ2_K));
}

TEST(Mix, Q3K) {
  for (const char* role : {"attn_v", "attn_q", "attn_output", "ffn_down_exps", "ffn_gate_exps"})
    EXPECT_EQ(by_layer("Q3_K_S", role), all_layers(Type::kQ3_K)) << role;

  EXPECT_EQ(by_layer("Q3_K_M", "attn_v"),
            per_layer([](int n) { return n < 2 ? Type::kQ5_K : Type::kQ4_K; }));
  EXPECT_EQ(by_layer("Q3_K_M", "attn_output"), all_layers(Type::kQ4_K));
  EXPECT_EQ(by_layer("Q3_K_M", "ffn_down_exps"),
            per_layer([](int n) { return n < 3 ? Type::kQ5_K : Type::kQ4_K; }));
  EXPECT_EQ(by_layer("Q3_K_M", "ffn_up_exps"), all_layers(Type::kQ3_K));
  EXPECT_EQ(by_layer("Q3_K_M", "attn_k"), all_layers(Type::kQ3_K));

  for (const char* role : {"attn_v", "attn_output", "ffn_down_exps"})
    EXPECT_EQ(by_layer("Q3_K_L", role), all_layers(Type::kQ5_K)) << role;
  EXPECT_EQ(by_layer("Q3_K_L", "ffn_gate_exps"), all_layers(Type::kQ3_K));
}

TEST(Mix, Q4KSAndQ5K) {
  EXPECT_EQ(by_layer("Q4_K_S", "attn_v"),
            per_layer([](int n) { return n < 4 ? Type::kQ5_K : Type::kQ4_K; }));
  EXPECT_EQ(by_layer("Q4_K_S", "ffn_down_exps"),
            per_layer([](int n) { return n < 6 ? Type::kQ5_K : Type::kQ4_K; }));
  EXPECT_EQ(by_layer("Q4_K_S", "attn_output"), all_layers(Type::kQ4_K));
  for (const char* role : {"attn_v", "attn_output", "ffn_down_exps", "attn_q"})
    EXPECT_EQ(by_layer("Q5_K_S", role), all_layers(Type::kQ5_K)) << role;
  EXPECT_EQ(by_layer("Q5_K_M", "attn_output"), all_layers(Type::kQ5_K));
  for (const char* role : {"attn_v", "attn_output", "ffn_down_exps", "attn_q"})
    EXPECT_EQ(by_layer("Q6_K", role), all_layers(Type::kQ6_K)) << role;
  const std::map<Type, int> q5_k_m = {{Type::kF32, 241}, {Type::kQ5_K, 289}, {Type::kQ6_K, 49}};
  EXPECT_EQ(counts("Q5_K_M"), q5_k_m);
}

TEST(Mix, IQ4) {
  for (const char* name : {"IQ4_NL", "IQ4_XS"}) {
    const Type base = mix(name).base;
    EXPECT_EQ(by_layer(name, "attn_v"), all_layers(Type::kQ5_K));
    EXPECT_EQ(by_layer(name, "ffn_down_exps"),
              per_layer([&](int n) { return n < 6 ? Type::kQ5_K : base; }));
    EXPECT_EQ(by_layer(name, "attn_output"), all_layers(base));
    EXPECT_EQ(by_layer(name, "attn_q"), all_layers(base));
    const std::map<Type, int> expected = {
        {Type::kF32, 241}, {base, 579 - 241 - 54 - 1}, {Type::kQ5_K, 54}, {Type::kQ6_K, 1}};
    EXPECT_EQ(counts(name), expected) << name;
  }
}

TEST(Mix, Mxfp4KeepsTheRestAtQ8) {
  const std::map<Type, int> expected = {
      {Type::kF32, 241}, {Type::kMXFP4, 3 * 48}, {Type::kQ8_0, 4 * 48 + 2}};
  EXPECT_EQ(counts("MXFP4_MOE"), expected);
  EXPECT_EQ(by_layer("MXFP4_MOE", "ffn_down_exps", {768, 2048, 128}), all_layers(Type::kMXFP4));
  EXPECT_EQ(by_layer("MXFP4_MOE", "ffn_down"), all_layers(Type::kQ8_0));
}

TEST(Mix, PlainTypesAreEverywhere) {
  for (const char* name : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"}) {
    std::map<Type, int> expected = {{Type::kF32, 241}};
    expected[mix(name).base] += 338;
    EXPECT_EQ(counts(name), expected) << name;
  }
}

TEST(Mix, WhatIsNeverQuantised) {
  const std::vector<Source> kept = {
      {"output_norm.weight", {2048}, Type::kF32},
      {"blk.3.attn_q_norm.weight", {128}, Type::kF16},
      {"blk.3.ssm_norm.weight", {128, 32}, Type::kF32},  // by its name
      {"blk.3.attn_q.bias", {4096}, Type::kF32},
      {"blk.3.ffn_exps.bias", {2048, 128}, Type::kF32},
      {"blk.3.ffn_gate_inp.weight", {2048, 128}, Type::kBF16},
      {"blk.3.ffn_gate_inp_shexp.weight", {2048}, Type::kBF16},
      {"blk.3.ffn_gate_inp_shexp.weight", {2048, 1}, Type::kBF16},
      {"blk.3.ssm_conv1d.weight", {4, 8192}, Type::kF32},
      {"blk.3.ssm_a", {32}, Type::kF32},
      {"blk.3.ssm_dt.bias", {32}, Type::kF32},
  };
  for (const Source& tensor : kept)
    for (const char* name : {"Q4_K_M", "Q8_0", "MXFP4_MOE", "F32"})
      EXPECT_EQ(type_in(name, tensor), tensor.type) << tensor.name << " in " << name;
}

TEST(Mix, RowsThatFillNoBlockFallBack) {
  const auto type = [](std::string_view name, int64_t row, const char* tensor) {
    return type_in(name, {tensor, {row, 64}});
  };
  const char* const plain = "blk.9.attn_q.weight";
  EXPECT_EQ(type("Q2_K", 224, plain), Type::kQ4_0);
  EXPECT_EQ(type("Q3_K_M", 224, plain), Type::kQ4_0);
  EXPECT_EQ(type("Q4_K_M", 224, plain), Type::kQ5_0);
  EXPECT_EQ(type("Q5_K_M", 224, plain), Type::kQ5_1);
  EXPECT_EQ(type("Q6_K", 224, plain), Type::kQ8_0);
  EXPECT_EQ(type("Q4_K_M", 224, "output.weight"), Type::kQ8_0);
  EXPECT_EQ(type("IQ4_XS", 224, plain), Type::kIQ4_NL);
  EXPECT_EQ(type("IQ4_NL", 224, plain), Type::kIQ4_NL);
  EXPECT_EQ(type("Q8_0", 224, plain), Type::kQ8_0);
  for (const char* name :
       {"Q2_K", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS", "IQ4_NL", "Q8_0", "Q4_0", "MXFP4_MOE"})
    EXPECT_EQ(type(name, 100, plain), Type::kF16) << name;
  EXPECT_EQ(type_in("MXFP4_MOE", {"blk.9.ffn_up_exps.weight", {100, 8, 8}}), Type::kF16);
  EXPECT_EQ(type("BF16", 100, plain), Type::kBF16);
  EXPECT_EQ(type("F32", 3, plain), Type::kF32);
}

// Fewer layers than eight: integer divisions, and no special layers at the ends.
TEST(Mix, SmallModels) {
  const auto type = [](int n, int64_t layers) {
    return type_in("Q4_K_M", {"blk." + std::to_string(n) + ".attn_v.weight", {256, 64}}, layers);
  };
  EXPECT_EQ(type(0, 1), Type::kQ6_K);  // 0 >= 7 * 1 / 8
  EXPECT_EQ(type(0, 4), Type::kQ4_K);
  EXPECT_EQ(type(1, 4), Type::kQ4_K);
  EXPECT_EQ(type(2, 4), Type::kQ6_K);  // every third
  EXPECT_EQ(type(3, 4), Type::kQ6_K);  // 3 >= 7 * 4 / 8
  EXPECT_EQ(type(12, 16), Type::kQ4_K);
  EXPECT_EQ(type(10, 16), Type::kQ6_K);
}

}  // namespace
}  // namespace sluice::gguf
