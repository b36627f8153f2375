// SPDX-License-Identifier: Apache-2.0
#include "machine/measure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../temp_folder.h"
#include "storage/cache_folder.h"

namespace sluice::machine {
namespace {

// A remembered machine with one weight type: enough to be read.
Machine remembered(const std::string& identity) {
  Machine m;
  m.identity = identity;
  m.processor = {"CPU", "avx2", 2, 0, {{1, 1e10}}, {}};
  ComputeRates& rates = m.processor.rates;
  rates.types["Q4_K"] = {1e10, {{1, 1e10}}, {{1, 1e10}}};
  rates.norm_floats = rates.attention_row = rates.attention_batch = 1e9;
  rates.delta_row = rates.delta_batch = 1e9;
  return m;
}

class MeasureTest : public testing::Test {
 protected:
  MeasureTest() {
    options_.cache_folder = folder_.path();
    options_.accelerator = false;
    options_.tell = [this](const std::string& text) { told_.push_back(text); };
  }
  void remember(const Machine& machine) {
    ASSERT_TRUE(
        storage::replace_small_file(remembered_machine(folder_.path()), format_machine(machine)));
  }

  test::TempFolder folder_;
  MeasureOptions options_;
  std::vector<std::string> told_;
};

TEST_F(MeasureTest, WhatIsRememberedIsTakenWithWhatIsFreeNow) {
  remember(remembered(machine_identity()));
  const auto machine = this_machine(options_);
  ASSERT_TRUE(machine) << machine.error().message;
  EXPECT_TRUE(told_.empty());
  EXPECT_EQ(machine->processor.rates.types.at("Q4_K").near, 1e10);
  EXPECT_GT(machine->memory_bytes, uint64_t{64} << 20);
  EXPECT_LE(machine->available_bytes, machine->memory_bytes);
  EXPECT_FALSE(machine->accelerator);
  EXPECT_EQ(machine->accelerator_reason, "not looked for");
}

TEST_F(MeasureTest, NothingIsKnownOfAnotherMachineOrFromADamagedFile) {
  EXPECT_FALSE(known_machine(folder_.path()));
  EXPECT_FALSE(known_machine(""));
  remember(remembered(machine_identity()));
  EXPECT_TRUE(known_machine(folder_.path()));
  remember(remembered("another"));
  EXPECT_FALSE(known_machine(folder_.path()));
  std::ofstream(remembered_machine(folder_.path())) << "{";
  EXPECT_FALSE(known_machine(folder_.path()));
}

TEST_F(MeasureTest, DisksAreMeasuredOncePerKindOfReads) {
  remember(remembered(machine_identity()));
  const std::string model = folder_.file("model.gguf");
  std::ofstream(model) << std::string(32 << 20, 'x');
  const auto first = disk_times({model}, 100 << 10, true, options_);
  ASSERT_TRUE(first) << first.error().message;
  const auto again = disk_times({model}, 100 << 10, true, options_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->times.front().seconds, first->times.front().seconds) << "not measured again";
  const auto known = known_machine(folder_.path());
  ASSERT_TRUE(known);
  EXPECT_TRUE(known_disk(*known, {model}, 100 << 10, true));
  EXPECT_FALSE(known_disk(*known, {model}, 100 << 10, false));
  EXPECT_FALSE(known_disk(*known, {model}, 200 << 10, true));
}

TEST(MachineIdentity, IsOfTheMachineAndNotOfItsLimits) {
  const test::TempFolder folder;
  std::filesystem::create_directories(folder.path() + "/sys/class/dmi/id");
  std::filesystem::create_directories(folder.path() + "/proc");
  std::ofstream(folder.path() + "/sys/class/dmi/id/board_name") << "B550\n";
  std::ofstream(folder.path() + "/proc/meminfo") << "MemTotal:       16303000 kB\n";
  EXPECT_THAT(machine_identity(folder.path()), testing::HasSubstr("B550"));
  EXPECT_THAT(machine_identity(folder.path()), testing::EndsWith("16 GiB"));
  EXPECT_THAT(machine_identity(folder.path() + "/none"), testing::EndsWith("0 GiB"));
}

}  // namespace
}  // namespace sluice::machine
