// SPDX-License-Identifier: Apache-2.0
// Layouts and decoding against stored blocks with their values, and the registry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "random_blocks.h"

namespace sluice::quant {
namespace {

const std::string kFolder = std::string(SLUICE_TEST_DATA) + "/data/quants/";

std::vector<uint8_t> read(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << kFolder + name;
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Registry, KnowsEveryFormatByIdAndName) {
  const std::vector<std::pair<const char*, uint32_t>> expected = {
      {"F32", 0},     {"F16", 1},    {"Q4_0", 2},     {"Q4_1", 3},    {"Q5_0", 6},
      {"Q5_1", 7},    {"Q8_0", 8},   {"Q2_K", 10},    {"Q3_K", 11},   {"Q4_K", 12},
      {"Q5_K", 13},   {"Q6_K", 14},  {"IQ2_XXS", 16}, {"IQ2_XS", 17}, {"IQ3_XXS", 18},
      {"IQ4_NL", 20}, {"IQ3_S", 21}, {"IQ2_S", 22},   {"IQ4_XS", 23}, {"BF16", 30},
      {"MXFP4", 39}};
  std::set<uint32_t> ids;
  for (const auto& [name, id] : expected) {
    ids.insert(id);
    const Traits* t = find_traits(id);
    ASSERT_NE(t, nullptr) << name;
    EXPECT_EQ(t->name, name);
    EXPECT_EQ(static_cast<uint32_t>(t->type), id);
    EXPECT_EQ(&traits(t->type), t);
    EXPECT_EQ(find_traits(std::string_view(name)), t);
    EXPECT_NE(t->decode, nullptr);
    EXPECT_NE(t->dot_f32, nullptr);
    EXPECT_EQ(t->dot == nullptr, t->is_float);
    EXPECT_TRUE(t->block_elements == 1 || t->block_elements == 32 || t->block_elements == 256);
    EXPECT_EQ(row_bytes(t->type, 512),
              static_cast<size_t>(512 / t->block_elements * t->block_bytes));
  }
  for (uint32_t id = 0; id < 1000; ++id) {
    EXPECT_EQ(find_traits(id) != nullptr, ids.contains(id)) << id;
  }
  EXPECT_EQ(find_traits(0xffffffffu), nullptr);
}

TEST(Registry, NamesIgnoreCaseAndNothingElse) {
  EXPECT_EQ(find_traits("q4_k"), &traits(Type::kQ4_K));
  EXPECT_EQ(find_traits("Iq2_xXs"), &traits(Type::kIQ2_XXS));
  for (const char* name : {"", "Q4", "Q4_K_M", "Q4-K", " Q4_K", "Q8_K", "Q8_1"}) {
    EXPECT_EQ(find_traits(std::string_view(name)), nullptr) << name;
  }
}

TEST(RegistryDeathTest, UnknownTypeIsABrokenInvariant) {
  EXPECT_DEATH(traits(static_cast<Type>(4)), "broken invariant");
}

TEST(Vectors, DecodeEqualsTheStoredValues) {
  std::ifstream file(kFolder + "manifest.json");
  const nlohmann::json manifest = nlohmann::json::parse(file);
  std::set<std::string> missing;
  for (const Traits* t : all_formats()) missing.insert(std::string(t->name));
  for (const auto& [name, entry] : manifest.items()) {
    SCOPED_TRACE(name);
    const Traits* t = find_traits(entry["type_id"].get<uint32_t>());
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(t->name, name);
    EXPECT_EQ(t->block_elements, entry["block"].get<int>());
    EXPECT_EQ(t->block_bytes, entry["bytes"].get<int>());
    const int64_t n = entry["blocks"].get<int64_t>() * t->block_elements;
    const std::vector<uint8_t> blocks = read(name + ".bin"), values = read(name + ".f32");
    ASSERT_EQ(blocks.size(), row_bytes(t->type, n));
    ASSERT_EQ(values.size(), static_cast<size_t>(n) * sizeof(float));
    Row row(*t, n);
    std::memcpy(row.data(), blocks.data(), blocks.size());
    const std::vector<float> decoded = row.decode();
    int bad = 0;
    for (int64_t i = 0; i < n; ++i) {
      float expected;
      std::memcpy(&expected, values.data() + i * 4, 4);
      const float actual = decoded[static_cast<size_t>(i)];
      if (std::isnan(expected) ? std::isnan(actual) : expected == actual) continue;
      if (std::fabs(actual - expected) <= 1e-6f * std::fabs(expected)) continue;
      if (++bad < 4) ADD_FAILURE() << "element " << i << ": " << actual << ", not " << expected;
    }
    EXPECT_EQ(bad, 0);
    missing.erase(name);
  }
  EXPECT_THAT(missing, testing::ElementsAre("F32"));
}

TEST(Vectors, MxFp4ScalesAtTheEndsOfTheRange) {
  const Traits& t = traits(Type::kMXFP4);
  Row row(t, 32);
  row.data()[1] = 0x21;  // elements 0 and 16: levels 1 and 2
  for (const int e : {0, 1, 2, 3, 127, 254, 255}) {
    row.data()[0] = static_cast<uint8_t>(e);
    const std::vector<float> values = row.decode();
    EXPECT_EQ(values[0], static_cast<float>(std::ldexp(1.0, e - 128))) << e;
    EXPECT_EQ(values[16], static_cast<float>(std::ldexp(2.0, e - 128))) << e;
    EXPECT_EQ(values[1], 0.0f);
  }
}

}  // namespace
}  // namespace sluice::quant
