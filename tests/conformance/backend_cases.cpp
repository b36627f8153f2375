// SPDX-License-Identifier: Apache-2.0
#include "backend_cases.h"

#include <cstdlib>
#include <map>

#include "compute/load_backend.h"

namespace sluice::compute {
namespace {

constexpr uint8_t kPattern = 0xa5;

// Opened once for all cases: an accelerator takes a while to start.
Result<Backend>& opened(const std::string& name) {
  static std::map<std::string, Result<Backend>> all;
  const auto found = all.find(name);
  if (found != all.end()) return found->second;
  if (name == "cpu") return all.emplace(name, open_cpu(2)).first->second;
  Result<Backend> loaded = load_backend(name, {});
#ifdef SLUICE_BACKEND_FOLDER
  if (!loaded && loaded.error().kind == ErrorKind::kNotFound)
    loaded = load_backend(name, {}, SLUICE_BACKEND_FOLDER);
#endif
  return all.emplace(name, std::move(loaded)).first->second;
}

size_t cache_bytes(int64_t kv_heads, int64_t head_dim, int64_t capacity, quant::Type type) {
  return static_cast<size_t>(kv_heads * capacity) * quant::row_bytes(type, head_dim);
}

}  // namespace

DeviceMemory::DeviceMemory(const Backend& backend, size_t bytes)
    : backend_(&backend),
      start_(static_cast<uint8_t*>(backend->allocate(backend.get(), bytes + 2 * kGuard))),
      bytes_(bytes) {
  if (!start_) {
    ADD_FAILURE() << "no memory for " << bytes << " bytes";
    std::abort();
  }
  std::vector<uint8_t> content(bytes + 2 * kGuard, kPattern);
  std::memset(content.data() + kGuard, 0xff, bytes);  // NaN as floats
  EXPECT_EQ(backend->upload(backend.get(), start_, content.data(), content.size()), 0);
}

DeviceMemory::~DeviceMemory() {
  if (start_) (*backend_)->release(backend_->get(), start_);
}

void DeviceMemory::write(const void* from, size_t bytes, size_t offset) {
  EXPECT_LE(offset + bytes, bytes_);
  EXPECT_EQ((*backend_)->upload(backend_->get(), data() + offset, from, bytes), 0);
}

void DeviceMemory::read_bytes(void* to, size_t bytes) const {
  std::vector<uint8_t> content(bytes_ + 2 * kGuard);
  EXPECT_EQ((*backend_)->download(backend_->get(), content.data(), start_, content.size()), 0)
      << (*backend_)->last_error(backend_->get());
  for (size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(content[i], kPattern) << "written before the beginning";
    EXPECT_EQ(content[kGuard + bytes_ + i], kPattern) << "written behind the end";
  }
  std::memcpy(to, content.data() + kGuard, bytes);
}

void BackendTest::SetUp() {
  Result<Backend>& result = opened(GetParam());
  if (result) {
    backend_ = &*result;
    return;
  }
  if (std::getenv("SLUICE_REQUIRE_CUDA")) FAIL() << result.error().message;
  GTEST_SKIP() << result.error().message;
}

DeviceWeight::DeviceWeight(const Backend& backend, const Weight& weight)
    : memory_(backend, weight.bytes->size()), matrix_(weight.matrix) {
  memory_.write(weight.blocks(), weight.bytes->size() - 1, 1);
  matrix_.data = memory_.data() + 1;
}

DeviceCache::DeviceCache(const Backend& backend, int64_t kv_heads, int64_t head_dim,
                         int64_t capacity, quant::Type key, quant::Type value)
    : keys_(backend, cache_bytes(kv_heads, head_dim, capacity, key)),
      values_(backend, cache_bytes(kv_heads, head_dim, capacity, value)),
      kv_{keys_.data(),
          values_.data(),
          static_cast<uint32_t>(key),
          static_cast<uint32_t>(value),
          capacity,
          static_cast<int32_t>(kv_heads),
          static_cast<int32_t>(head_dim)} {}

std::vector<float> DeviceCache::decoded(const DeviceMemory& memory, uint32_t type) const {
  const auto bytes = memory.read<uint8_t>();
  const int64_t count = int64_t{kv_.kv_heads} * kv_.capacity * kv_.head_dim;
  std::vector<float> out(static_cast<size_t>(count));
  quant::traits(static_cast<quant::Type>(type)).decode(bytes.data(), count, out.data());
  return out;
}

}  // namespace sluice::compute
