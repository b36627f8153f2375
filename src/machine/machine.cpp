// SPDX-License-Identifier: Apache-2.0
#include "machine/machine.h"

namespace sluice::machine {

double DiskTimes::bytes_per_second() const {
  if (times.empty() || times.back().seconds <= 0) return 0;
  return static_cast<double>(bytes) * times.back().reads / times.back().seconds;
}

std::string describe(const Machine& machine) {
  const Processor& p = machine.processor;
  constexpr double kGibibyte = 1 << 30;
  std::string text = fmt::format("{}, {} threads ({})", p.name, p.threads, p.isa);
  if (!p.memory_read.empty())
    text +=
        fmt::format(", reads memory at {:.0f} GB/s", p.memory_read.back().bytes_per_second / 1e9);
  text += fmt::format("; memory {:.1f} GiB, {:.1f} free",
                      static_cast<double>(machine.memory_bytes) / kGibibyte,
                      static_cast<double>(machine.available_bytes) / kGibibyte);
  if (!machine.disks.empty())
    text += fmt::format("; disk {:.2f} GB/s", machine.disks.front().bytes_per_second() / 1e9);
  if (const auto& gpu = machine.accelerator)
    text += fmt::format("; {} {:.1f} GiB, {:.1f} free, copies at {:.1f} GB/s", gpu->name,
                        static_cast<double>(gpu->memory_bytes) / kGibibyte,
                        static_cast<double>(gpu->free_bytes) / kGibibyte, gpu->to_device / 1e9);
  else
    text += "; no GPU";
  return text;
}

}  // namespace sluice::machine
