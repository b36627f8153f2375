// SPDX-License-Identifier: Apache-2.0
// Opening and closing, memory, and the table of operations: the one symbol of libsluice_cuda.so.
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "compute/cuda/instance.h"
#include "compute/cuda/products.h"
#include "quant/codebooks.h"
#include "quant/quant.h"

int32_t sluice_backend::failed(const char* what, cudaError_t code) {
  return failed(std::string(what) + ": " + cudaGetErrorString(code) +
                (code == cudaErrorMemoryAllocation
                     ? ": give the device less to hold, or close what else uses it"
                     : ""));
}

int32_t sluice_backend::failed(const std::string& text) {
  error = text;
  return 1;
}

namespace sluice::cuda {
namespace {

// The oldest device that the build has code for: see SLUICE_CUDA_ARCHITECTURES.
constexpr int kOldestCapability = 75;

thread_local std::string open_error;  // read right after a failed open(), by the same thread

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why there is no device, and what to do about it.
std::string reason(cudaError_t code) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver: install the driver, or choose the CPU";
  if (code == cudaErrorInsufficientDriver || driver / 1000 < runtime / 1000)
    return "the NVIDIA driver is too old: it speaks CUDA " + version_text(driver) +
           ", this build needs " + version_text(runtime) + ": update the driver";
  if (code == cudaErrorNoDevice)
    return "no NVIDIA device: check nvidia-smi and CUDA_VISIBLE_DEVICES, or choose the CPU";
  return std::string("the NVIDIA device does not answer: ") + cudaGetErrorString(code) +
         ": check nvidia-smi";
}

cudaError_t copy_grids(sluice_backend* backend) {
  using namespace quant;
  auto grids = std::make_unique<Grids>();
  std::memcpy(grids->iq2_xxs, kGridIQ2_XXS.point, sizeof grids->iq2_xxs);
  std::memcpy(grids->iq2_xs, kGridIQ2_XS.point, sizeof grids->iq2_xs);
  std::memcpy(grids->iq2_s, kGridIQ2_S.point, sizeof grids->iq2_s);
  std::memcpy(grids->iq3_xxs, kGridIQ3_XXS.point, sizeof grids->iq3_xxs);
  std::memcpy(grids->iq3_s, kGridIQ3_S.point, sizeof grids->iq3_s);
  const cudaError_t error = cudaMalloc(&backend->grids, sizeof(Grids));
  if (error != cudaSuccess) return error;
  return cudaMemcpy(backend->grids, grids.get(), sizeof(Grids), cudaMemcpyHostToDevice);
}

cudaError_t open_streams(sluice_backend* backend) {
  Transfers& transfers = backend->transfers;
  cudaError_t error = cudaStreamCreateWithFlags(&backend->stream, cudaStreamNonBlocking);
  if (error == cudaSuccess)
    error = cudaStreamCreateWithFlags(&transfers.stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) error = transfers.tickets.open();
  if (error == cudaSuccess) error = transfers.marks.open();
  return error;
}

void close(sluice_backend* backend) {
  if (!backend) return;
  cudaSetDevice(backend->device);
  cudaDeviceSynchronize();
  cudaFree(backend->grids);
  cudaFree(backend->arrivals);
  if (backend->stream) cudaStreamDestroy(backend->stream);
  if (backend->transfers.stream) cudaStreamDestroy(backend->transfers.stream);
  delete backend;
}

sluice_backend* open(const sluice_backend_config* config) {
  int devices = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&devices); error != cudaSuccess) {
    open_error = reason(error);
    return nullptr;
  }
  if (config->device < 0 || config->device >= devices) {
    open_error = "device " + std::to_string(config->device) + ": this machine has devices 0 to " +
                 std::to_string(devices - 1) + ": choose one of them";
    return nullptr;
  }
  cudaDeviceProp properties;
  cudaError_t error = cudaSetDevice(config->device);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, config->device);
  if (error != cudaSuccess) {
    open_error = reason(error);
    return nullptr;
  }
  const int capability = 10 * properties.major + properties.minor;
  if (capability < kOldestCapability) {
    open_error = std::string(properties.name) + ": compute capability " +
                 std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                 " is too old, 7.5 is needed: choose the CPU";
    return nullptr;
  }
  std::unique_ptr<sluice_backend, void (*)(sluice_backend*)> backend(
      new (std::nothrow) sluice_backend, close);
  if (!backend) {
    open_error = "no memory left on the host: close other programs";
    return nullptr;
  }
  backend->device = config->device;
  backend->multiprocessors = properties.multiProcessorCount;
  backend->capability = capability;
  backend->shared_memory = static_cast<int>(properties.sharedMemPerBlockOptin);
  error = open_streams(backend.get());
  if (error == cudaSuccess) error = copy_grids(backend.get());
  constexpr size_t kArrivalBytes = sluice_backend::kArrivals * sizeof(int32_t);
  if (error == cudaSuccess) error = cudaMalloc(&backend->arrivals, kArrivalBytes);
  if (error == cudaSuccess) error = cudaMemset(backend->arrivals, 0, kArrivalBytes);
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error != cudaSuccess) {
    open_error = std::string(properties.name) + ": " + cudaGetErrorString(error) +
                 ": check nvidia-smi for what uses its memory";
    return nullptr;
  }
  char text[320];
  std::snprintf(text, sizeof text, "%s, compute capability %d.%d, %.1f GiB", properties.name,
                properties.major, properties.minor,
                static_cast<double>(properties.totalGlobalMem) / (1 << 30));
  backend->description = text;
  return backend.release();
}

const char* last_error(sluice_backend* backend) {
  return backend ? backend->error.c_str() : open_error.c_str();
}

const char* describe(sluice_backend* backend) {
  return backend->description.c_str();
}

void* allocate(sluice_backend* backend, size_t bytes) {
  if (cudaSetDevice(backend->device) != cudaSuccess || bytes > SIZE_MAX - kReadBeyond)
    return nullptr;
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes + kReadBeyond) == cudaSuccess) return memory;
  cudaGetLastError();  // not sticky: a smaller allocation may fit
  return nullptr;
}

void release(sluice_backend* backend, void* memory) {
  backend->remembered = {};
  if (cudaSetDevice(backend->device) == cudaSuccess) cudaFree(memory);
}

int32_t upload(sluice_backend* backend, void* to, const void* from_host, size_t bytes) {
  constexpr size_t kSmall = size_t{1} << 20;
  if (bytes <= kSmall) return backend->mailbox.copy(backend, to, from_host, bytes);
  SLUICE_CUDA(backend,
              cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, backend->stream));
  SLUICE_CUDA(backend, cudaStreamSynchronize(backend->stream));  // the source may go
  return 0;
}

int32_t download(sluice_backend* backend, void* to_host, const void* from, size_t bytes) {
  return backend->mailbox.fetch(backend, to_host, from, bytes);
}

int32_t synchronize(sluice_backend* backend) {
  SLUICE_CUDA(backend, cudaStreamSynchronize(backend->stream));
  return 0;
}

// Operations that write no rows of activations, or see to `remembered` themselves. What a transfer
// writes counts from order_after() on, which is none of them.
template <auto operation>
constexpr bool kKeepsRows = false;
template <>
constexpr bool kKeepsRows<multiply> = true;
template <>
constexpr bool kKeepsRows<experts> = true;
template <>
constexpr bool kKeepsRows<route> = true;
template <>
constexpr bool kKeepsRows<row_gate> = true;
template <>
constexpr bool kKeepsRows<download> = true;
template <>
constexpr bool kKeepsRows<synchronize> = true;
template <>
constexpr bool kKeepsRows<mark> = true;
template <>
constexpr bool kKeepsRows<pin> = true;
template <>
constexpr bool kKeepsRows<transfer> = true;
template <>
constexpr bool kKeepsRows<transfers_after> = true;
template <>
constexpr bool kKeepsRows<memory_info> = true;

// An operation as the table has it: on the instance's device, whatever thread calls.
template <auto operation>
struct Entry;
template <typename... Args, int32_t (*operation)(sluice_backend*, Args...)>
struct Entry<operation> {
  static int32_t call(sluice_backend* backend, Args... args) {
    SLUICE_CUDA(backend, cudaSetDevice(backend->device));
    if constexpr (!kKeepsRows<operation>) backend->remembered = {};
    return operation(backend, args...);
  }
};

const sluice_backend_api kApi = {
    .abi_version = SLUICE_BACKEND_ABI_VERSION,
    .name = "CUDA",
    .host_memory = 0,
    .open = open,
    .close = close,
    .last_error = last_error,
    .describe = describe,
    .supports_weight = supports_weight,
    .supports_cache = supports_cache,
    .allocate = allocate,
    .release = release,
    .upload = Entry<upload>::call,
    .download = Entry<download>::call,
    .synchronize = Entry<synchronize>::call,
    .transfer = Entry<transfer>::call,
    .order_after = Entry<order_after>::call,
    .transferred = transferred,
    .mark = Entry<mark>::call,
    .transfers_after = Entry<transfers_after>::call,
    .pin = Entry<pin>::call,
    .unpin = unpin,
    .memory_info = Entry<memory_info>::call,
    .embed = Entry<embed>::call,
    .rms_norm = Entry<norm_for_products>::call,
    .multiply = Entry<multiply>::call,
    .norm_rope = Entry<norm_rope>::call,
    .kv_store = Entry<kv_store>::call,
    .attention = Entry<attention>::call,
    .route = Entry<route>::call,
    .experts = Entry<experts>::call,
    .add_experts = Entry<add_experts>::call,
    .gather = Entry<gather>::call,
    .short_conv = Entry<short_conv>::call,
    .delta_rule = Entry<delta_rule>::call,
    .gated_norm = Entry<gated_norm>::call,
    .sigmoid_gate = Entry<sigmoid_gate>::call,
    .row_gate = Entry<row_gate>::call,
};

}  // namespace

int32_t supports_weight(sluice_backend*, uint32_t type) {
  return quant::find_traits(type) != nullptr;
}

}  // namespace sluice::cuda

extern "C" __attribute__((visibility("default"))) const sluice_backend_api* sluice_backend_v1() {
  return &sluice::cuda::kApi;
}
