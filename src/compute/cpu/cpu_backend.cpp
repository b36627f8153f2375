// SPDX-License-Identifier: Apache-2.0
#include "compute/cpu/cpu_backend.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "compute/cpu/instance.h"

namespace sluice::cpu {
namespace {

thread_local std::string open_error;  // read right after a failed open(), by the same thread

sluice_backend* open(const sluice_backend_config* config) {
  const Kernels* table = select_kernels(config->isa);
  if (!table) {
    open_error = fmt::format("--isa {}: not a level of this machine; it has: {}", config->isa,
                             available_levels());
    return nullptr;
  }
  auto backend = std::make_unique<sluice_backend>(config->threads < 1 ? 1 : config->threads, table);
  backend->description = fmt::format("CPU, {}, {} thread{}", table->isa, backend->pool.size(),
                                     backend->pool.size() == 1 ? "" : "s");
  return backend.release();
}

void close(sluice_backend* backend) {
  delete backend;
}

const char* last_error(sluice_backend* backend) {
  return backend ? "no error" : open_error.c_str();
}

const char* describe(sluice_backend* backend) {
  return backend->description.c_str();
}

int32_t supports_weight(sluice_backend*, uint32_t type) {
  return quant::find_traits(type) != nullptr;
}

int32_t supports_cache(sluice_backend*, uint32_t type) {
  using quant::Type;
  for (Type allowed : {Type::kF32, Type::kF16, Type::kBF16, Type::kQ8_0, Type::kQ5_1, Type::kQ5_0,
                       Type::kQ4_1, Type::kQ4_0, Type::kIQ4_NL})
    if (type == static_cast<uint32_t>(allowed)) return 1;
  return 0;
}

// Memory comes from one header-prefixed mapping each, so that untouched cache pages cost nothing.
void* allocate(sluice_backend*, size_t bytes) {
  constexpr size_t kHeader = 64;
  if (bytes > SIZE_MAX - kHeader) return nullptr;
  AlignedBuffer memory = AlignedBuffer::allocate(bytes + kHeader);
  if (!memory) return nullptr;
  uint8_t* start = memory.data();
  new (start) AlignedBuffer(std::move(memory));
  return start + kHeader;
}

void release(sluice_backend*, void* memory) {
  if (!memory) return;
  auto* header = reinterpret_cast<AlignedBuffer*>(static_cast<uint8_t*>(memory) - 64);
  const AlignedBuffer owner = std::move(*header);
}

int32_t copy(sluice_backend*, void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  return 0;
}

int32_t synchronize(sluice_backend*) {
  return 0;
}

// Copies are done when the call returns, so that every ticket stands for something done.
int32_t transfer(sluice_backend*, void* to, const void* from, size_t bytes, int32_t,
                 uint64_t* ticket) {
  std::memcpy(to, from, bytes);
  *ticket = 0;
  return 0;
}

int32_t order_after(sluice_backend*, uint64_t) {
  return 0;
}

int32_t transferred(sluice_backend*, uint64_t, int32_t) {
  return 1;
}

int32_t mark(sluice_backend*, uint64_t* mark) {
  *mark = 0;
  return 0;
}

int32_t pin(sluice_backend*, void*, size_t) {
  return 0;
}

void unpin(sluice_backend*, void*) {}

int32_t memory_info(sluice_backend*, uint64_t* free_bytes, uint64_t* total_bytes) {
  *free_bytes = *total_bytes = 0;
  return 0;
}

}  // namespace

const sluice_backend_api* cpu_backend() {
  static const sluice_backend_api api = {
      SLUICE_BACKEND_ABI_VERSION,
      "CPU",
      1,
      open,
      close,
      last_error,
      describe,
      supports_weight,
      supports_cache,
      allocate,
      release,
      copy,
      copy,
      synchronize,
      transfer,
      order_after,
      transferred,
      mark,
      order_after,
      pin,
      unpin,
      memory_info,
      embed,
      rms_norm,
      multiply,
      norm_rope,
      kv_store,
      attention,
      route,
      experts,
      add_experts,
      gather,
      short_conv,
      delta_rule,
      gated_norm,
      sigmoid_gate,
      row_gate,
  };
  return &api;
}

}  // namespace sluice::cpu
