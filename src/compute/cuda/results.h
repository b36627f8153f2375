// SPDX-License-Identifier: Apache-2.0
// Small results that the host waits for, and counters by which the last block of a kernel knows
// that it is the last. Included by instance.h.
#pragma once

#include <cstddef>
#include <cstdint>

struct sluice_backend;

namespace sluice::cuda {

// Host memory that kernels write themselves: no copy, and the host sees a number change instead of
// waiting for the whole stream.
class HostResults {
 public:
  HostResults() = default;
  ~HostResults();
  HostResults(const HostResults&) = delete;
  HostResults& operator=(const HostResults&) = delete;

  // Ready for one kernel's results; false with the error text set. The kernel writes `data`, makes
  // that visible to the system, and then writes `ticket` to *flag.
  bool begin(sluice_backend* backend);
  static constexpr size_t kBytes = size_t{16} << 10;
  uint8_t* data() const { return memory_ + kHeader; }
  uint32_t* flag() const { return reinterpret_cast<uint32_t*>(memory_); }
  uint32_t ticket() const { return ticket_; }
  // Until the ticket has come. `what` names the operation in an error.
  int32_t wait(sluice_backend* backend, const char* what) const;

 private:
  static constexpr size_t kHeader = 128;  // the flag has a cache line of its own
  uint8_t* memory_ = nullptr;
  uint32_t ticket_ = 0;
};

// Device counters that are zero between kernels: who counts to the end sets them back.
class Counters {
 public:
  Counters() = default;
  ~Counters();
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;

  // nullptr with the error text set.
  uint32_t* reserve(sluice_backend* backend, int64_t count);

 private:
  uint32_t* data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace sluice::cuda
