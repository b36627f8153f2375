// SPDX-License-Identifier: Apache-2.0
#include "late_device.h"

#include <cstring>
#include <deque>
#include <map>
#include <string>

#include "compute/cpu/cpu_backend.h"

namespace sluice::test {
namespace {

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

const sluice_backend_api* host = cpu::cpu_backend();
std::map<const uint8_t*, size_t> memory;
std::deque<Copy> waiting;
uint64_t issued = 0, done = 0;
int polls = 0;
std::string error;

bool on_device(const void* data) {
  auto at = memory.upper_bound(static_cast<const uint8_t*>(data));
  if (at == memory.begin()) return false;
  --at;
  return static_cast<const uint8_t*>(data) < at->first + at->second;
}

int32_t require(const char* operation, std::initializer_list<const void*> addresses) {
  for (const void* address : addresses)
    if (address && !on_device(address)) {
      error = std::string(operation) + ": an address that is not the device's";
      return 1;
    }
  return 0;
}

void copy_up_to(uint64_t ticket) {
  while (done < ticket) {
    const Copy& copy = waiting.front();
    std::memcpy(copy.to, copy.from, copy.bytes);
    waiting.pop_front();
    ++done;
  }
}

void* allocate(sluice_backend* backend, size_t bytes) {
  void* address = host->allocate(backend, bytes);
  if (address) memory[static_cast<const uint8_t*>(address)] = bytes;
  return address;
}

void release(sluice_backend* backend, void* address) {
  if (!address) return;
  copy_up_to(issued);
  memory.erase(static_cast<const uint8_t*>(address));
  host->release(backend, address);
}

const char* last_error(sluice_backend* backend) {
  return backend ? error.c_str() : host->last_error(backend);
}

int32_t transfer(sluice_backend*, void* to, const void* from, size_t bytes, int32_t to_device,
                 uint64_t* ticket) {
  if (const int32_t code = require("transfer", {to_device ? to : from})) return code;
  waiting.push_back({to, from, bytes});
  *ticket = ++issued;
  polls = 0;
  return 0;
}

int32_t order_after(sluice_backend*, uint64_t ticket) {
  copy_up_to(ticket);
  return 0;
}

int32_t transferred(sluice_backend*, uint64_t ticket, int32_t wait) {
  if (wait || ++polls > 40) copy_up_to(ticket);
  return done >= ticket;
}

int32_t memory_info(sluice_backend*, uint64_t* free_bytes, uint64_t* total_bytes) {
  *free_bytes = *total_bytes = uint64_t{8} << 30;
  return 0;
}

int32_t rms_norm(sluice_backend* b, const float* x, const float* w, int64_t rows, int64_t dim,
                 float eps, float* out) {
  const int32_t code = require("rms_norm", {x, w, out});
  return code ? code : host->rms_norm(b, x, w, rows, dim, eps, out);
}

int32_t multiply(sluice_backend* b, const float* x, int64_t rows, int64_t dim,
                 const sluice_product* products, int32_t count) {
  for (int32_t i = 0; i < count; ++i)
    if (const int32_t code = require("multiply", {x, products[i].weight.data, products[i].out}))
      return code;
  return host->multiply(b, x, rows, dim, products, count);
}

int32_t attention(sluice_backend* b, const sluice_span* spans, int32_t count, const float* q,
                  int64_t heads, float scale, float* out) {
  const int32_t code = require("attention", {q, out, spans->kv.keys, spans->kv.values});
  return code ? code : host->attention(b, spans, count, q, heads, scale, out);
}

int32_t experts(sluice_backend* b, const float* x, int64_t rows, int64_t dim,
                const sluice_expert* list, int32_t count, float* out) {
  for (int32_t i = 0; i < count; ++i)
    if (const int32_t code = require("experts", {x, out, list[i].gate.data, list[i].up.data,
                                                 list[i].down.data, list[i].apart}))
      return code;
  return host->experts(b, x, rows, dim, list, count, out);
}

int32_t add_experts(sluice_backend* b, const sluice_expert* list, int32_t count, int64_t dim,
                    float* out) {
  for (int32_t i = 0; i < count; ++i)
    if (const int32_t code = require("add_experts", {list[i].apart, out})) return code;
  return host->add_experts(b, list, count, dim, out);
}

}  // namespace

const sluice_backend_api* late_device() {
  static const sluice_backend_api api = [] {
    sluice_backend_api a = *host;
    a.name = "late device";
    a.host_memory = 0;
    a.last_error = last_error;
    a.allocate = allocate;
    a.release = release;
    a.transfer = transfer;
    a.order_after = order_after;
    a.transferred = transferred;
    a.memory_info = memory_info;
    a.rms_norm = rms_norm;
    a.multiply = multiply;
    a.attention = attention;
    a.experts = experts;
    a.add_experts = add_experts;
    return a;
  }();
  return &api;
}

}  // namespace sluice::test
