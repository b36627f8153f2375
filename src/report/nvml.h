// SPDX-License-Identifier: Apache-2.0
// What NVIDIA's driver tells about a GPU, through its management library, which is looked for when
// the program runs. Source of the interface: NVML API Reference Guide.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::report {

// What is not told stays unknown (NaN).
struct GpuReading {
  double load_percent;
  double vram_used;  // by all processes, without what the driver keeps for itself
  double vram_of_process;
  double temperature;
  double power;
};

class Nvml {
 public:
  // kUnsupported where the library or a device is missing.
  static Result<Nvml> load(const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(Nvml&& other) noexcept;
  Nvml& operator=(Nvml&&) = delete;

  int devices() const;
  // Of one of the devices; "" or 0 where it is not told.
  std::string name(int device) const;
  uint64_t vram_total(int device) const;
  std::string driver() const;
  // `process`: whose part of the memory is wanted; the driver may not see processes of containers.
  GpuReading read(int device, int64_t process) const;

 private:
  struct Library;
  explicit Nvml(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace sluice::report
