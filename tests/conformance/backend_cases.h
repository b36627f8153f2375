// SPDX-License-Identifier: Apache-2.0
// The operations of a backend behind its contract, the same cases for each: the CPU always, CUDA
// where it loads. References are plain arithmetic in double.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../unit/compute/fixture.h"
#include "compute/backend.h"

namespace sluice::compute {

// Memory of a backend between two guards. It starts as NaN, so that what was not written shows.
class DeviceMemory {
 public:
  DeviceMemory(const Backend& backend, size_t bytes);
  template <typename T>
  DeviceMemory(const Backend& backend, const std::vector<T>& values)
      : DeviceMemory(backend, values.size() * sizeof(T)) {
    write(values.data(), values.size() * sizeof(T));
  }
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept
      : backend_(other.backend_),
        start_(std::exchange(other.start_, nullptr)),
        bytes_(other.bytes_) {}
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  DeviceMemory& operator=(DeviceMemory&&) = delete;

  uint8_t* data() const { return start_ + kGuard; }
  float* floats() const { return reinterpret_cast<float*>(data()); }
  size_t bytes() const { return bytes_; }
  void write(const void* from, size_t bytes, size_t offset = 0);
  // Checks the guards too.
  template <typename T = float>
  std::vector<T> read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    read_bytes(values.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  void read_bytes(void* to, size_t bytes) const;

  static constexpr size_t kGuard = 256;
  const Backend* backend_;
  uint8_t* start_;
  size_t bytes_;
};

// Parameter: "cpu" or "cuda". A backend that is not on this machine skips its cases and says why;
// with SLUICE_REQUIRE_CUDA in the environment that is a failure.
class BackendTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;

  const Backend& backend() const { return *backend_; }
  const sluice_backend_api* api() const { return backend_->operator->(); }
  sluice_backend* instance() const { return backend_->get(); }
  bool is_cpu() const { return std::strcmp(GetParam(), "cpu") == 0; }
  // Of an operation that must succeed.
  void expect_done(int32_t code) const {
    ASSERT_EQ(code, 0) << api()->last_error(instance());
    ASSERT_EQ(api()->synchronize(instance()), 0) << api()->last_error(instance());
  }
  // Of one that must be refused with a text that holds `words`.
  void expect_refused(int32_t code, const std::string& words) const {
    EXPECT_NE(code, 0);
    EXPECT_NE(std::string(api()->last_error(instance())).find(words), std::string::npos)
        << api()->last_error(instance());
  }

  DeviceMemory poisoned(size_t floats) const { return {backend(), floats * sizeof(float)}; }
  template <typename T>
  DeviceMemory on_device(const std::vector<T>& values) const {
    return {backend(), values};
  }
  std::vector<float> floats(int64_t count, float scale = 1) {
    return random_floats(static_cast<size_t>(count), random_, scale);
  }

  std::mt19937 random_{11};

 private:
  const Backend* backend_ = nullptr;
};

#define SLUICE_EVERY_BACKEND(suite)                                         \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, testing::Values("cpu", "cuda"), \
                           [](const auto& backend) { return std::string(backend.param); })

// A weight's blocks in a backend's memory, at an odd address like those of `weight`.
class DeviceWeight {
 public:
  DeviceWeight(const Backend& backend, const Weight& weight);
  const sluice_matrix& matrix() const { return matrix_; }

 private:
  DeviceMemory memory_;
  sluice_matrix matrix_;
};

// One layer's cache of one sequence.
class DeviceCache {
 public:
  DeviceCache(const Backend& backend, int64_t kv_heads, int64_t head_dim, int64_t capacity,
              quant::Type key, quant::Type value);
  const sluice_kv& kv() const { return kv_; }
  // Everything in it, decoded: [kv_heads, capacity, head_dim].
  std::vector<float> keys() const { return decoded(keys_, kv_.key_type); }
  std::vector<float> values() const { return decoded(values_, kv_.value_type); }
  std::vector<uint8_t> key_bytes() const { return keys_.read<uint8_t>(); }
  std::vector<uint8_t> value_bytes() const { return values_.read<uint8_t>(); }

 private:
  std::vector<float> decoded(const DeviceMemory& memory, uint32_t type) const;

  DeviceMemory keys_, values_;
  sluice_kv kv_{};
};

}  // namespace sluice::compute
