// SPDX-License-Identifier: Apache-2.0
#include "engine/tensor_overrides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "engine/placement.h"
#include "tiny_model.h"

namespace sluice::engine {
namespace {

using residency::ExpertPlace;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kAnywhere = ExpertPlace::kAnywhere;
constexpr auto kAway = ExpertPlace::kAway;
constexpr auto kPinned = ExpertPlace::kPinned;
constexpr uint64_t kGiB = uint64_t{1} << 30;

std::vector<TensorOverride> parsed(const std::string& text) {
  std::vector<TensorOverride> overrides;
  const Status status = parse_overrides(text, overrides);
  EXPECT_TRUE(status) << status.error().message;
  return overrides;
}

std::vector<std::string> texts(const std::vector<TensorOverride>& overrides) {
  std::vector<std::string> texts;
  for (const TensorOverride& one : overrides) texts.push_back(one.text());
  return texts;
}

TEST(ParseOverrides, ListsOfPatternsAndBuffers) {
  EXPECT_THAT(texts(parsed("a=CPU")), ElementsAre("a=CPU"));
  EXPECT_THAT(texts(parsed("blk\\.(1[0-9])\\..*_exps=CUDA12,exps=CPU")),
              ElementsAre("blk\\.(1[0-9])\\..*_exps=CUDA12", "exps=CPU"));
  EXPECT_THAT(texts(parsed("exps=CUDA_Host")), ElementsAre("exps=CPU")) << "main memory, too";
  std::vector<TensorOverride> several = parsed("a=CPU");
  ASSERT_TRUE(parse_overrides("b=CUDA0", several));
  EXPECT_THAT(texts(several), ElementsAre("a=CPU", "b=CUDA0"));
}

TEST(ParseOverrides, ErrorsNameThePart) {
  for (const auto& [text, part, says] : std::initializer_list<std::array<const char*, 3>>{
           {"", "\"\"", "PATTERN=BUFFER"},
           {"a=CPU,", "\"\"", "PATTERN=BUFFER"},
           {"a=CPU,exps", "\"exps\"", "PATTERN=BUFFER"},
           {"=CPU", "\"=CPU\"", "PATTERN=BUFFER"},
           {"x{1,2}=CPU", "\"x{1\"", "PATTERN=BUFFER"},  // a comma ends a pattern
           {"a=", "\"a=\"", "no buffer \"\""},
           {"a=b=CPU", "\"a=b=CPU\"", "no buffer \"b=CPU\""},
           {"a=GPU", "\"a=GPU\"", "no buffer \"GPU\""},
           {"a=CUDA", "\"a=CUDA\"", "no buffer \"CUDA\""},
           {"a=CUDA-1", "\"a=CUDA-1\"", "no buffer \"CUDA-1\""},
           {"a=CUDA0x", "\"a=CUDA0x\"", "no buffer \"CUDA0x\""},
           {"a=CUDA99999999999", "\"a=CUDA99999999999\"", "no buffer"},
           {"(=CPU", "\"(\"", "no regular expression"},
           {"[z-a]=CPU", "\"[z-a]\"", "no regular expression"}}) {
    std::vector<TensorOverride> overrides;
    const Status status = parse_overrides(text, overrides);
    ASSERT_FALSE(status) << text;
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(status.error().message, HasSubstr(part));
    EXPECT_THAT(status.error().message, HasSubstr(says));
  }
}

class OverridesTest : public testing::Test {
 protected:
  Result<ExpertPlaces> placed(const std::string& overrides, int64_t cpu_moe_layers = 0,
                              int device = 0) const {
    return place_experts("model.gguf", engine_->file(), engine_->model().config(),
                         overrides.empty() ? std::vector<TensorOverride>() : parsed(overrides),
                         device, cpu_moe_layers);
  }
  std::vector<ExpertPlace> layers(const std::string& overrides, int64_t cpu_moe_layers = 0) const {
    const auto places = placed(overrides, cpu_moe_layers);
    EXPECT_TRUE(places) << places.error().message;
    return places ? places->layers : std::vector<ExpertPlace>();
  }
  void expect_refused(const std::string& overrides, const std::vector<std::string>& says,
                      int device = 0) const {
    const auto places = placed(overrides, 0, device);
    ASSERT_FALSE(places) << overrides;
    EXPECT_EQ(places.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(places.error().message, HasSubstr("model.gguf: -ot "));
    for (const std::string& text : says) EXPECT_THAT(places.error().message, HasSubstr(text));
  }
  Result<Placement> shared_out(const std::string& overrides, uint64_t vram) const {
    PlacementRequest request;
    request.memory.budget = 4 * kGiB;
    request.memory.context = 128;
    request.vram = vram;
    if (!overrides.empty()) request.overrides = parsed(overrides);
    return place("model.gguf", engine_->file(), engine_->model().config(), request);
  }
  mutable test::TinyEngine engine_{test::tiny_model()};
};

TEST_F(OverridesTest, LayersOfExperts) {
  EXPECT_THAT(layers(""), ElementsAre());
  EXPECT_THAT(layers("exps=CPU"), ElementsAre(kAway, kAway));
  EXPECT_THAT(layers("blk\\.1\\.ffn_.*_exps=CPU"), ElementsAre(kAnywhere, kAway));
  EXPECT_THAT(layers("blk\\.0\\.ffn_(gate|up|down)_exps\\.weight=CUDA0"),
              ElementsAre(kPinned, kAnywhere));
  // One pattern for each part.
  EXPECT_THAT(layers("gate_exps=CPU,up_exps=CPU,down_exps=CPU"), ElementsAre(kAway, kAway));
}

TEST_F(OverridesTest, TheFirstThatMatchesCounts) {
  EXPECT_THAT(layers("blk\\.0.*exps=CUDA0,exps=CPU"), ElementsAre(kPinned, kAway));
  EXPECT_THAT(layers("exps=CPU,blk\\.0.*exps=CUDA0"), ElementsAre(kAway, kAway));
  EXPECT_THAT(placed("exps=CPU,blk\\.0.*exps=CUDA0")->unused, ElementsAre("blk\\.0.*exps=CUDA0"));
}

TEST_F(OverridesTest, TheyCountBeforeNCpuMoe) {
  EXPECT_THAT(layers("", 1), ElementsAre(kAway, kAnywhere));
  EXPECT_THAT(layers("blk\\.0.*exps=CUDA0", 2), ElementsAre(kPinned, kAway));
}

TEST_F(OverridesTest, WhatMatchesNothingIsTold) {
  const auto places = placed("blk\\.77\\.=CPU,nothing=CUDA0,exps=CPU");
  ASSERT_TRUE(places) << places.error().message;
  EXPECT_THAT(places->unused, ElementsAre("blk\\.77\\.=CPU", "nothing=CUDA0"));
}

TEST_F(OverridesTest, WhereTensorsLieAnyway) {
  EXPECT_TRUE(placed("attn_.*=CUDA0,token_embd=CPU,output\\.weight=CUDA0,ffn_gate_inp=CUDA0"));
}

TEST_F(OverridesTest, WhatCannotBeIsRefused) {
  // What every token needs, in main memory.
  expect_refused("attn_q\\.=CPU", {"attn_q\\.=CPU", "blk.0.attn_q.weight", "-ngl 0"});
  expect_refused(".*=CPU", {".*=CPU", "narrow the pattern"});
  expect_refused("output\\.weight=CPU", {"output.weight"});
  expect_refused("ffn_gate_inp=CPU", {"ffn_gate_inp"});
  expect_refused("token_embd=CUDA0", {"token_embd=CUDA0", "stays in main memory"});
  // Experts in parts.
  expect_refused("up_exps=CPU", {"up_exps=CPU", "layer 0", "blk\\.0\\.ffn_.*_exps"});
  expect_refused("blk\\.1\\..*(up|gate)_exps=CUDA0", {"layer 1", "ffn_down_exps"});
  expect_refused("down_exps=CUDA0,exps=CPU", {"layer 0", "lies in one memory"});
  // Another device than that which computes.
  expect_refused("exps=CUDA1", {"exps=CUDA1", "CUDA0", "-mg 0"});
  expect_refused("exps=CUDA0", {"exps=CUDA0", "CUDA1", "-mg 1"}, 1);
}

TEST_F(OverridesTest, PlansFollow) {
  const auto plain = shared_out("", 4 * kGiB);
  ASSERT_TRUE(plain && plain->device) << plain.error().message;
  const DevicePlan& all = *plain->device;

  const auto away = shared_out("blk\\.0.*exps=CPU", 4 * kGiB);
  ASSERT_TRUE(away && away->device);
  EXPECT_EQ(away->device->cache, all.experts / 2);
  EXPECT_THAT(away->device->places, ElementsAre(kAway, kAnywhere));
  EXPECT_FALSE(away->device->all_experts());
  EXPECT_TRUE(away->memory.all_experts());

  const auto pinned = shared_out("blk\\.1.*exps=CUDA0", 4 * kGiB);
  ASSERT_TRUE(pinned && pinned->device);
  EXPECT_EQ(pinned->device->pinned, all.experts / 2);
  EXPECT_EQ(pinned->device->cache, all.experts);

  // With room for half of them: those that are pinned and no others, or an error.
  const uint64_t rest = all.total() - all.cache;
  const auto half = shared_out("blk\\.1.*exps=CUDA0", rest + all.experts / 2);
  ASSERT_TRUE(half && half->device);
  EXPECT_EQ(half->device->cache, half->device->pinned);
  const auto less = shared_out("blk\\.1.*exps=CUDA0", rest + all.experts / 2 - 1);
  ASSERT_TRUE(less);
  ASSERT_TRUE(less->device_refused) << "left to the CPU, as nobody insists on the GPU";
  EXPECT_THAT(less->device_refused->message, HasSubstr("experts that -ot wants there"));
  EXPECT_THAT(less->unused, ElementsAre("blk\\.1.*exps=CUDA0"));
}

TEST_F(OverridesTest, WithoutADeviceCpuIsWhereAllIs) {
  PlacementRequest request;
  request.memory.budget = 4 * kGiB;
  request.overrides = parsed("exps=CPU,attn=CPU,blk=CUDA0");
  const auto placement = place("model.gguf", engine_->file(), engine_->model().config(), request);
  ASSERT_TRUE(placement) << placement.error().message;
  EXPECT_THAT(placement->unused, ElementsAre("blk=CUDA0"));
}

}  // namespace
}  // namespace sluice::engine
