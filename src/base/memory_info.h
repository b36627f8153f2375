// SPDX-License-Identifier: Apache-2.0
// How much memory this process may use, and whether memory is short, as Linux tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sluice {

// A bound on memory. `available`: what can still be taken without swapping or being killed; file
// pages that the system can drop count as free.
struct MemoryBound {
  uint64_t limit = 0;
  uint64_t available = 0;
  std::string source;  // what sets it, for messages: a file, or a limit's name
};

struct MemoryInfo {
  // The tightest, once by limit and once by what is available. They may be different ones: the
  // machine can be nearly full while the cgroup is not.
  MemoryBound least_limit;
  MemoryBound least_available;
  // The tightest by what is available, of those that count memory in use and not address space: of
  // the machine and the cgroups. limit 0: there is none.
  MemoryBound least_backed;
};

// Of the machine (/proc/meminfo), of the process's memory cgroup and all above it, versions 1 and
// 2, and of the limits on address space and data (ulimit -v, -d). What cannot be read or makes no
// sense bounds nothing; nullopt when nothing can be read. `root` is put before every path.
std::optional<MemoryInfo> memory_info(const std::string& root = "");

// memory_info()->least_available.available.
std::optional<uint64_t> available_bytes(const std::string& root = "");

// Of this process, what is in memory now.
std::optional<uint64_t> resident_bytes(const std::string& root = "");

// Pressure stall information: the percentage of the last ten seconds in which some thread waited
// for memory (0 to 100); of the process's cgroup where it has that, else of the machine. nullopt
// when the system has neither.
std::optional<double> memory_pressure(const std::string& root = "");

}  // namespace sluice
