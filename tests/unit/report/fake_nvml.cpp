// SPDX-License-Identifier: Apache-2.0
// A management library with two devices; the second tells nothing but its memory.
#include <cstring>

extern "C" {
struct Device {
  int number;
};
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

static Device devices[2] = {{0}, {1}};
constexpr unsigned long long kMiB = 1ull << 20;
constexpr int kNotSupported = 3, kInsufficientSize = 7;

int nvmlInit_v2() {
  return 0;
}
int nvmlShutdown() {
  return 0;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device** device) {
  *device = &devices[index];
  return 0;
}
int nvmlDeviceGetName(Device* device, char* name, unsigned) {
  std::strcpy(name, device->number == 0 ? "Fake 3060" : "Fake 3070");
  return 0;
}
int nvmlSystemGetDriverVersion(char* text, unsigned) {
  std::strcpy(text, "570.10");
  return 0;
}
int nvmlDeviceGetUtilizationRates(Device* device, Utilization* u) {
  if (device->number == 1) return kNotSupported;
  *u = {73, 20};
  return 0;
}
int nvmlDeviceGetMemoryInfo(Device*, MemoryV1* m) {
  *m = {6144 * kMiB, 2048 * kMiB, 4096 * kMiB};
  return 0;
}
int nvmlDeviceGetMemoryInfo_v2(Device* device, MemoryV2* m) {
  if (device->number == 1 || m->version != (sizeof(MemoryV2) | (2u << 24))) return kNotSupported;
  *m = {m->version, 6144 * kMiB, 300 * kMiB, 2048 * kMiB, 3796 * kMiB};
  return 0;
}
int nvmlDeviceGetTemperature(Device* device, unsigned, unsigned* degrees) {
  *degrees = 61;
  return device->number == 1 ? kNotSupported : 0;
}
int nvmlDeviceGetPowerUsage(Device* device, unsigned* milliwatts) {
  *milliwatts = 80500;
  return device->number == 1 ? kNotSupported : 0;
}
// More processes than anybody expects.
int nvmlDeviceGetComputeRunningProcesses_v3(Device* device, unsigned* count, ProcessInfo* infos) {
  constexpr unsigned kProcesses = 40;
  if (device->number == 1) return kNotSupported;
  if (*count < kProcesses) {
    *count = kProcesses;
    return kInsufficientSize;
  }
  *count = kProcesses;
  for (unsigned i = 0; i < kProcesses; ++i) infos[i] = {100 + i, (i + 1) * kMiB, 0, 0};
  infos[1].used = ~0ull;
  return 0;
}
}
