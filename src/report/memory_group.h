// SPDX-License-Identifier: Apache-2.0
// A control group with a limit on memory, for one process at a time.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace sluice::report {

class MemoryGroup {
 public:
  // Below this process's own group, versions 1 and 2; without swap. kUnsupported, with what to do,
  // when the system does not permit it.
  static Result<MemoryGroup> create(uint64_t limit);
  // Removes the group; processes in it must have ended.
  ~MemoryGroup();
  MemoryGroup(MemoryGroup&& other) noexcept;
  MemoryGroup& operator=(MemoryGroup&&) = delete;

  uint64_t limit() const { return limit_; }
  // Whoever writes "0" to this file is in the group.
  std::string members() const { return folder_ + "/cgroup.procs"; }
  // Processes of the group that the kernel killed for want of memory.
  uint64_t kills() const;

 private:
  MemoryGroup(std::string folder, int version, uint64_t limit)
      : folder_(std::move(folder)), version_(version), limit_(limit) {}
  std::string folder_;
  int version_;
  uint64_t limit_;
};

}  // namespace sluice::report
