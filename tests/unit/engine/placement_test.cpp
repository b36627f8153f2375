// SPDX-License-Identifier: Apache-2.0
#include "engine/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tiny_model.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kMiB = uint64_t{1} << 20;

class PlacementTest : public testing::Test {
 protected:
  Result<Placement> placed(const PlacementRequest& request) const {
    return place("model.gguf", engine_->file(), engine_->model().config(), request);
  }
  PlacementRequest request(uint64_t ram, std::optional<uint64_t> vram = {}) const {
    PlacementRequest r;
    r.memory.budget = ram;
    r.vram = vram;
    return r;
  }
  mutable test::TinyEngine engine_{test::tiny_model()};
};

TEST_F(PlacementTest, WithoutADeviceItIsTheMemoryPlan) {
  const auto placement = placed(request(4 * kGiB));
  ASSERT_TRUE(placement) << placement.error().message;
  EXPECT_FALSE(placement->device);
  EXPECT_FALSE(placement->device_refused);
  MemoryRequest same;
  same.budget = 4 * kGiB;
  EXPECT_EQ(placement->memory.total(),
            plan_memory("model.gguf", engine_->file(), engine_->model().config(), same)->total());
  // What load() did.
  EXPECT_EQ(placement->memory.experts, engine_->plan().experts);
}

TEST_F(PlacementTest, WithADeviceBothPlansAgree) {
  const auto placement = placed(request(4 * kGiB, 4 * kGiB));
  ASSERT_TRUE(placement) << placement.error().message;
  ASSERT_TRUE(placement->device);
  EXPECT_TRUE(placement->device->all_experts());
  EXPECT_LE(placement->device->total(), 4 * kGiB);
  EXPECT_TRUE(placement->memory.all_experts());
  EXPECT_EQ(placement->memory.elsewhere,
            std::min(placement->device->cache, placement->memory.experts));
}

TEST_F(PlacementTest, ADeviceThatIsTooSmallIsRefusedOrLeftAlone) {
  PlacementRequest small = request(4 * kGiB, kMiB);
  const auto left_alone = placed(small);
  ASSERT_TRUE(left_alone) << left_alone.error().message;
  EXPECT_FALSE(left_alone->device);
  ASSERT_TRUE(left_alone->device_refused);
  EXPECT_THAT(left_alone->device_refused->message, testing::HasSubstr("VRAM"));
  small.device_required = true;
  const auto refused = placed(small);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kTooLarge);
}

TEST(Budgets, LeaveAMargin) {
  EXPECT_EQ(default_ram(0), 0u);
  EXPECT_EQ(default_ram(1000), 900u);                         // a tenth
  EXPECT_EQ(default_ram(16 * kGiB), 16 * kGiB - 512 * kMiB);  // half a GiB at most
  // A sixteenth of 6 GiB; what is free is without what the driver has already.
  EXPECT_EQ(default_vram(5 * kGiB, 6 * kGiB), 5 * kGiB + kDriverBytes - 384 * kMiB);
  EXPECT_EQ(default_vram(70 * kGiB, 80 * kGiB), 70 * kGiB + kDriverBytes - kGiB);
}

}  // namespace
}  // namespace sluice::engine
