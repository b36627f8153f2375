// SPDX-License-Identifier: Apache-2.0
// Opening, memory, and the C++ face of the contract.
#include "compute/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <utility>

#include "compute/cpu/cpu_backend.h"
#include "fixture.h"

namespace sluice::compute {
namespace {

using testing::HasSubstr;

TEST(CpuBackend, OpensAndTellsWhatItRunsOn) {
  const Backend backend = open_cpu(3);
  EXPECT_EQ(backend.name(), "CPU");
  EXPECT_THAT(backend.describe(), HasSubstr("3 threads"));
  EXPECT_THAT(open_cpu(1, "scalar").describe(), HasSubstr("scalar, 1 thread"));
  EXPECT_EQ(backend->host_memory, 1);
}

TEST(CpuBackend, LessThanOneThreadIsOne) {
  EXPECT_THAT(open_cpu(0).describe(), HasSubstr("1 thread"));
}

TEST(CpuBackend, UnknownInstructionSetIsAnError) {
  for (const char* isa : {"mmx", "SCALAR", "scala", " "}) {
    const auto backend = Backend::open(cpu::cpu_backend(), {2, isa});
    ASSERT_FALSE(backend) << isa;
    EXPECT_EQ(backend.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(backend.error().message, HasSubstr(std::string("--isa ") + isa));
    EXPECT_THAT(backend.error().message, HasSubstr("scalar"));  // what there is
  }
}

TEST(CpuBackend, SeveralThreadsMayOpen) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 20; ++i) {
        const std::string isa = "level" + std::to_string(t);
        const auto backend = Backend::open(cpu::cpu_backend(), {1, isa});
        ASSERT_FALSE(backend);
        EXPECT_THAT(backend.error().message, HasSubstr(isa));
        EXPECT_TRUE(Backend::open(cpu::cpu_backend(), {2, "scalar"}));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(CpuBackend, AnotherInterfaceVersionIsRefused) {
  sluice_backend_api api = *cpu::cpu_backend();
  api.abi_version += 1;
  const auto backend = Backend::open(&api, {});
  ASSERT_FALSE(backend);
  EXPECT_EQ(backend.error().kind, ErrorKind::kDevice);
}

TEST(CpuBackend, CheckTurnsCodesIntoErrors) {
  const Backend backend = open_cpu();
  EXPECT_TRUE(backend.check(0));
  const Status status = backend.check(3);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kDevice);
  EXPECT_THAT(status.error().message, HasSubstr("CPU"));
}

TEST(CpuBackend, SupportsWhatItHasLayoutsFor) {
  const Backend backend = open_cpu();
  for (uint32_t type = 0; type < 64; ++type)
    EXPECT_EQ(backend->supports_weight(backend.get(), type) != 0,
              quant::find_traits(type) != nullptr)
        << type;
  EXPECT_FALSE(backend->supports_weight(backend.get(), UINT32_MAX));
  // F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, BF16
  const std::vector<uint32_t> caches = {0, 1, 2, 3, 6, 7, 8, 20, 30};
  for (uint32_t type = 0; type < 64; ++type)
    EXPECT_EQ(backend->supports_cache(backend.get(), type) != 0,
              std::count(caches.begin(), caches.end(), type) == 1)
        << type;
}

TEST(CpuBackend, MemoryIsAlignedAndItsOwn) {
  const Backend backend = open_cpu();
  std::vector<uint8_t*> blocks;
  for (const size_t bytes : {size_t{1}, size_t{63}, size_t{4096}, size_t{1} << 20, size_t{0}}) {
    auto* memory = static_cast<uint8_t*>(backend->allocate(backend.get(), bytes));
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
    std::memset(memory, static_cast<int>(blocks.size()) + 1, bytes);
    if (bytes > 0) blocks.push_back(memory);
  }
  for (size_t i = 0; i < blocks.size(); ++i) EXPECT_EQ(*blocks[i], i + 1);
  for (uint8_t* memory : blocks) backend->release(backend.get(), memory);
  backend->release(backend.get(), nullptr);
}

TEST(CpuBackend, TooMuchMemoryIsNone) {
  const Backend backend = open_cpu();
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 64, SIZE_MAX / 2})
    EXPECT_EQ(backend->allocate(backend.get(), bytes), nullptr) << bytes;
}

TEST(CpuBackend, UploadAndDownloadCopy) {
  const Backend backend = open_cpu();
  DeviceArray memory(backend);
  ASSERT_TRUE(memory.reserve(1000));
  std::vector<uint8_t> from(1000), to(1000);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 7);
  ASSERT_EQ(backend->upload(backend.get(), memory.data(), from.data(), from.size()), 0);
  ASSERT_EQ(backend->download(backend.get(), to.data(), memory.data(), to.size()), 0);
  ASSERT_EQ(backend->synchronize(backend.get()), 0);
  EXPECT_EQ(to, from);
}

TEST(DeviceArray, GrowsAndNeverShrinks) {
  const Backend backend = open_cpu();
  DeviceArray array(backend);
  EXPECT_EQ(array.data(), nullptr);
  ASSERT_TRUE(array.reserve(0));
  ASSERT_TRUE(array.reserve(100));
  void* const first = array.data();
  EXPECT_EQ(array.bytes(), 100u);
  ASSERT_TRUE(array.reserve(50));
  EXPECT_EQ(array.data(), first);
  EXPECT_EQ(array.bytes(), 100u);
  ASSERT_TRUE(array.reserve(1 << 20));
  EXPECT_EQ(array.bytes(), size_t{1} << 20);
  array.floats()[(1 << 18) - 1] = 1;

  DeviceArray moved(std::move(array));
  EXPECT_EQ(array.data(), nullptr);  // NOLINT(bugprone-use-after-move): emptied by contract
  EXPECT_EQ(moved.floats()[(1 << 18) - 1], 1);
}

TEST(DeviceArray, TooLargeIsAnErrorAndLeavesItUsable) {
  const Backend backend = open_cpu();
  DeviceArray array(backend);
  ASSERT_TRUE(array.reserve(100));
  const Status status = array.reserve(SIZE_MAX / 2);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kTooLarge);
  EXPECT_EQ(array.bytes(), 0u);
  ASSERT_TRUE(array.reserve(100));
  array.floats()[24] = 1;
}

}  // namespace
}  // namespace sluice::compute
