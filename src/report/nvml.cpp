// SPDX-License-Identifier: Apache-2.0
#include "report/nvml.h"

#include <dlfcn.h>

#include "report/sample.h"

namespace sluice::report {
namespace {

// The few declarations that are needed, as the reference guide has them.
using Device = struct OpaqueDevice*;
using Return = int;
constexpr Return kSuccess = 0;
constexpr Return kInsufficientSize = 7;

struct Utilization {
  unsigned gpu, memory;
};
struct MemoryV1 {
  unsigned long long total, free, used;
};
struct MemoryV2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
struct ProcessInfo {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
constexpr unsigned kMemoryV2 = sizeof(MemoryV2) | (2u << 24);
constexpr unsigned kTemperatureGpu = 0;
constexpr unsigned kNameBytes = 96;

}  // namespace

struct Nvml::Library {
  void* handle = nullptr;
  Return (*init)() = nullptr;
  Return (*shutdown)() = nullptr;
  Return (*count)(unsigned*) = nullptr;
  Return (*by_index)(unsigned, Device*) = nullptr;
  Return (*device_name)(Device, char*, unsigned) = nullptr;
  Return (*driver_version)(char*, unsigned) = nullptr;
  Return (*utilization)(Device, Utilization*) = nullptr;
  Return (*memory)(Device, MemoryV1*) = nullptr;
  Return (*memory_v2)(Device, MemoryV2*) = nullptr;
  Return (*temperature)(Device, unsigned, unsigned*) = nullptr;
  Return (*power)(Device, unsigned*) = nullptr;
  Return (*processes)(Device, unsigned*, ProcessInfo*) = nullptr;
  bool started = false;
  std::vector<Device> devices;

  template <typename Function>
  bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    return function != nullptr;
  }
  ~Library() {
    if (started) shutdown();
    if (handle) dlclose(handle);
  }
};

Nvml::Nvml(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Nvml::~Nvml() = default;
Nvml::Nvml(Nvml&& other) noexcept = default;

Result<Nvml> Nvml::load(const std::string& library) {
  auto l = std::make_unique<Library>();
  l->handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!l->handle)
    return fail(ErrorKind::kUnsupported,
                "{}: not found, so nothing is told about a GPU; it comes with NVIDIA's driver",
                library);
  if (!l->find(l->init, "nvmlInit_v2") || !l->find(l->shutdown, "nvmlShutdown") ||
      !l->find(l->count, "nvmlDeviceGetCount_v2") ||
      !l->find(l->by_index, "nvmlDeviceGetHandleByIndex_v2"))
    return fail(ErrorKind::kUnsupported, "{}: too old: install a driver of 2013 or later", library);
  l->find(l->device_name, "nvmlDeviceGetName");
  l->find(l->driver_version, "nvmlSystemGetDriverVersion");
  l->find(l->utilization, "nvmlDeviceGetUtilizationRates");
  l->find(l->memory, "nvmlDeviceGetMemoryInfo");
  l->find(l->memory_v2, "nvmlDeviceGetMemoryInfo_v2");
  l->find(l->temperature, "nvmlDeviceGetTemperature");
  l->find(l->power, "nvmlDeviceGetPowerUsage");
  l->find(l->processes, "nvmlDeviceGetComputeRunningProcesses_v3");
  if (const Return error = l->init(); error != kSuccess)
    return fail(ErrorKind::kUnsupported,
                "{}: does not start (NVML error {}): is the driver's kernel module loaded?",
                library, error);
  l->started = true;
  unsigned count = 0;
  if (l->count(&count) != kSuccess || count == 0)
    return fail(ErrorKind::kUnsupported, "{}: knows no device", library);
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    if (l->by_index(i, &device) != kSuccess) device = nullptr;
    l->devices.push_back(device);
  }
  return Nvml(std::move(l));
}

int Nvml::devices() const {
  return static_cast<int>(library_->devices.size());
}

std::string Nvml::name(int device) const {
  char text[kNameBytes] = "";
  if (device < 0 || device >= devices() || !library_->device_name ||
      library_->device_name(library_->devices[static_cast<size_t>(device)], text, sizeof(text)) !=
          kSuccess)
    return "";
  return text;
}

std::string Nvml::driver() const {
  char text[kNameBytes] = "";
  if (!library_->driver_version || library_->driver_version(text, sizeof(text)) != kSuccess)
    return "";
  return text;
}

uint64_t Nvml::vram_total(int device) const {
  MemoryV1 memory{};
  if (device < 0 || device >= devices() || !library_->memory ||
      library_->memory(library_->devices[static_cast<size_t>(device)], &memory) != kSuccess)
    return 0;
  return memory.total;
}

GpuReading Nvml::read(int device, int64_t process) const {
  GpuReading reading{kUnknown, kUnknown, kUnknown, kUnknown, kUnknown};
  if (device < 0 || device >= devices()) return reading;
  const Library& l = *library_;
  const Device d = l.devices[static_cast<size_t>(device)];
  if (!d) return reading;
  if (Utilization u{}; l.utilization && l.utilization(d, &u) == kSuccess)
    reading.load_percent = u.gpu;
  MemoryV2 v2{};
  v2.version = kMemoryV2;
  if (l.memory_v2 && l.memory_v2(d, &v2) == kSuccess)
    reading.vram_used = static_cast<double>(v2.used);
  else if (MemoryV1 v1{}; l.memory && l.memory(d, &v1) == kSuccess)
    reading.vram_used = static_cast<double>(v1.used);
  if (unsigned degrees = 0;
      l.temperature && l.temperature(d, kTemperatureGpu, &degrees) == kSuccess)
    reading.temperature = degrees;
  if (unsigned milliwatts = 0; l.power && l.power(d, &milliwatts) == kSuccess)
    reading.power = milliwatts / 1000.0;
  if (process > 0 && l.processes) {
    std::vector<ProcessInfo> infos(32);
    auto count = static_cast<unsigned>(infos.size());
    Return done = l.processes(d, &count, infos.data());
    if (done == kInsufficientSize) {
      infos.resize(count + 8);
      count = static_cast<unsigned>(infos.size());
      done = l.processes(d, &count, infos.data());
    }
    if (done == kSuccess)
      for (unsigned i = 0; i < count && i < infos.size(); ++i)
        // All ones: the driver does not tell.
        if (infos[i].pid == process && infos[i].used != ~0ull)
          reading.vram_of_process = static_cast<double>(infos[i].used);
  }
  return reading;
}

}  // namespace sluice::report
