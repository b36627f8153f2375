// SPDX-License-Identifier: Apache-2.0
// The decision how large the arena of experts may be, and the thread that carries it out.
#include "residency/pressure.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "../temp_folder.h"
#include "residency/expert_cache.h"
#include "support/fake_disk.h"

namespace sluice::residency {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kLimit = 8192 * kMiB;  // its marks: 128 and 256 MiB

ArenaUse use_of(uint64_t aim, uint64_t untouched = 0, uint64_t excess = 0) {
  return {100 * kMiB, 4000 * kMiB, aim * kMiB, excess * kMiB, untouched * kMiB};
}
PressureSample sample(uint64_t available, double stalled = 0) {
  return {available * kMiB, kLimit, stalled};
}

TEST(NextAim, BetweenTheMarksNothingHappens) {
  for (const uint64_t left : {128, 160, 200, 256})
    EXPECT_EQ(next_aim(sample(left), use_of(2000), kCalmSamples).bytes, 2000 * kMiB) << left;
}

TEST(NextAim, BelowTheLowMarkItShrinksToTheMiddle) {
  EXPECT_EQ(next_aim(sample(127), use_of(2000), 0).bytes, (2000 - (192 - 127)) * kMiB);
  EXPECT_EQ(next_aim(sample(0), use_of(2000), 0).bytes, (2000 - 192) * kMiB);
  // Slots that no memory was taken for will want it.
  EXPECT_EQ(next_aim(sample(600), use_of(2000, 500), 0).bytes, (2000 - (192 - 100)) * kMiB);
  EXPECT_EQ(next_aim(sample(600), use_of(2000, 900), 0).bytes, (2000 - (192 + 300)) * kMiB);
  // What is on its way out does not have to go twice.
  EXPECT_EQ(next_aim(sample(50), use_of(1858, 0, 142), 0).bytes, 1858 * kMiB);
}

TEST(NextAim, TheLeastStays) {
  EXPECT_EQ(next_aim(sample(0), use_of(150), 0).bytes, 100 * kMiB);
  EXPECT_EQ(next_aim(sample(0), use_of(100), 0).bytes, 100 * kMiB);
  EXPECT_EQ(next_aim(sample(0, 99), use_of(100), 0).bytes, 100 * kMiB);
}

TEST(NextAim, ItGrowsAfterCalmAndInSteps) {
  uint64_t bytes = 1000 * kMiB;
  int calm = 0, samples = 0;
  while (bytes == 1000 * kMiB && samples < 1000) {
    const ArenaAim next = next_aim(sample(3000), use_of(1000), calm);
    bytes = next.bytes, calm = next.calm;
    ++samples;
  }
  EXPECT_EQ(samples, kCalmSamples);
  EXPECT_EQ(bytes, 1125 * kMiB) << "a 32nd of the whole";
  for (samples = 0; bytes == 1125 * kMiB && samples < 1000; ++samples) {
    const ArenaAim next = next_aim(sample(2875), use_of(1125), calm);
    bytes = next.bytes, calm = next.calm;
  }
  EXPECT_EQ(samples, kCalmSamples / 4);
  EXPECT_EQ(bytes, 1250 * kMiB);
  // Not into the band where it would stop.
  EXPECT_EQ(next_aim(sample(276), use_of(1000), kCalmSamples).bytes, 1020 * kMiB);
  EXPECT_EQ(next_aim(sample(3000), use_of(3990), kCalmSamples).bytes, 4000 * kMiB);
  // One bad sample, and the calm begins anew.
  EXPECT_EQ(next_aim(sample(200), use_of(1000), kCalmSamples).calm, 0);
}

TEST(NextAim, WaitingProgramsAreASignWhereMemoryIsNotPlentiful) {
  EXPECT_EQ(next_aim(sample(300, 30), use_of(2000), 0).bytes, 1750 * kMiB);
  EXPECT_EQ(next_aim(sample(3000, 30), use_of(2000), 0).bytes, 2000 * kMiB);
  EXPECT_EQ(next_aim(sample(3000, 5), use_of(2000), kCalmSamples).bytes, 2000 * kMiB)
      << "no growth while somebody waits";
}

// A machine in miniature: whatever others take, memory does not run out while the arena can give,
// and once they are calm the size settles.
TEST(NextAim, FollowsOthersWithoutSwinging) {
  const uint64_t machine = kLimit;
  uint64_t others = 3000 * kMiB, arena = 4000 * kMiB;
  int calm = 0, changes = 0;
  for (int i = 0; i < 2000; ++i) {
    if (i >= 100 && i < 200) others += 25 * kMiB;
    if (i >= 800 && i < 850) others -= 30 * kMiB;
    ASSERT_GE(machine, others + arena) << i;
    const ArenaUse use{100 * kMiB, 4000 * kMiB, arena, 0, 0};
    const ArenaAim next = next_aim({machine - others - arena, machine, 0}, use, calm);
    calm = next.calm;
    changes += i > 300 && i < 800 && next.bytes != arena ? 1 : 0;
    arena = next.bytes;
    if (i == 799) {
      EXPECT_LT(arena, 2600 * kMiB);
    }
  }
  EXPECT_LE(changes, 1);
  EXPECT_GT(arena, 3900 * kMiB) << "it came back";
}

TEST(SamplePressure, TakesTheNearestLimitAndNotAddressSpace) {
  const test::TempFolder folder;
  const auto write = [&](const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  };
  EXPECT_FALSE(sample_pressure(folder.path()));
  write("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
  write("/proc/self/limits", "Max address space  1073741824  1073741824  bytes\n");
  write("/proc/self/status", "VmSize: 1000000 kB\n");
  write("/proc/pressure/memory", "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\n");
  const auto machine = sample_pressure(folder.path());
  ASSERT_TRUE(machine);
  EXPECT_EQ(machine->available, 8192 * kMiB);
  EXPECT_EQ(machine->limit, 16384 * kMiB);
  EXPECT_EQ(machine->stalled, 12.5);
  write("/proc/self/cgroup", "0::/jobs\n");
  write("/proc/self/mountinfo", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  write("/sys/fs/cgroup/jobs/memory.max", "1073741824\n");
  write("/sys/fs/cgroup/jobs/memory.current", "943718400\n");
  write("/sys/fs/cgroup/jobs/memory.stat", "inactive_file 0\nactive_file 0\n");
  write("/sys/fs/cgroup/jobs/memory.pressure", "some avg10=40.00 avg60=1.00 avg300=0.00 total=9\n");
  const auto group = sample_pressure(folder.path());
  ASSERT_TRUE(group);
  EXPECT_EQ(group->available, 124 * kMiB);
  EXPECT_EQ(group->limit, 1024 * kMiB);
  EXPECT_EQ(group->stalled, 40);
}

// The guard's thread makes a cache smaller while nobody uses it, and larger again.
TEST(PressureGuard, ResizesTheCache) {
  ExpertTable table;
  uint64_t end = 0;
  for (int n = 0; n < 4; ++n) {
    LayerExperts& layer = table.layers.emplace_back();
    for (int e = 0; e < 64; ++e) {
      ExpertRanges& expert = layer.experts.emplace_back();
      for (ByteRange& range : expert) {
        range = {0, end, 30000};
        end += range.bytes;
      }
    }
  }
  table.files = {"one.gguf"};
  CacheOptions options;
  options.used = 4;
  auto disk = std::make_unique<storage::FakeDisk>(
      std::vector<storage::FakeDisk::File>{{"one.gguf", std::vector<uint8_t>(end, 7)}});
  const auto cache = ExpertCache::create(table, std::move(disk), options);
  ASSERT_TRUE(cache) << cache.error().message;
  (*cache)->fill();
  ASSERT_TRUE((*cache)->wait_until_full());
  ASSERT_TRUE((*cache)->complete());
  const uint64_t full = (*cache)->bytes();

  std::atomic<bool> tight{true};
  const PressureGuard guard(
      **cache,
      [&]() -> std::optional<PressureSample> {
        return PressureSample{tight ? 0 : 4096 * kMiB, kLimit, 0};
      },
      std::chrono::milliseconds(1));
  const auto wait_for = [](const auto& condition) {
    for (int i = 0; i < 5000 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  };
  EXPECT_TRUE(wait_for([&] { return (*cache)->use().aim == (*cache)->use().least; }));
  EXPECT_TRUE(wait_for([&] { return (*cache)->use().excess == 0; }));
  EXPECT_FALSE((*cache)->complete());
  EXPECT_LT((*cache)->bytes(), full / 2);
  EXPECT_EQ((*cache)->statistics().given_back, full - (*cache)->bytes());
  tight = false;
  EXPECT_TRUE(wait_for([&] { return (*cache)->complete(); })) << "it grows, and fills again";
  EXPECT_EQ((*cache)->bytes(), full);
}

}  // namespace
}  // namespace sluice::residency
