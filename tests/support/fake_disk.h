// SPDX-License-Identifier: Apache-2.0
// A read queue whose disk is memory and whose time is its own. Reads complete in an order and after
// delays that the seed decides; faults are planted at the k-th read (from 0, in order of
// submission). One thread drives it as a ReadQueue; everything else is for any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "storage/read_files.h"
#include "storage/read_queue.h"

namespace sluice::storage {

struct FakeDiskOptions {
  uint64_t seed = 1;
  int depth = 16;
  uint32_t alignment = 4096;  // 1: buffered
  std::chrono::nanoseconds fastest = std::chrono::microseconds(100);
  std::chrono::nanoseconds slowest = std::chrono::milliseconds(2);
};

class FakeDisk final : public ReadQueue {
 public:
  // What the target of a read holds until the read completes.
  static constexpr uint8_t kNotYet = 0xdb;

  struct File {
    std::string name;
    std::vector<uint8_t> content;
  };

  explicit FakeDisk(std::vector<File> files, const FakeDiskOptions& options = {});

  // Faults, to be planted before the read is submitted.
  void fail_read(uint64_t k, int error);
  // The first answer has `bytes` only; the rest comes with another delay.
  void shorten_read(uint64_t k, uint32_t bytes);
  void stall_read(uint64_t k, std::chrono::nanoseconds duration);
  // Never completes, until release().
  void hang_read(uint64_t k);

  // From now on nothing completes; the time stands still.
  void hold();
  // Ends hold() and the reads that hang.
  void release();

  // Of the files, while they are used.
  void truncate(int file, uint64_t bytes);
  void flip_bit(int file, uint64_t byte);

  // Since the disk was made. wait() moves it on to the next completion, or by its timeout.
  std::chrono::nanoseconds now() const;
  // All reads taken so far, in order.
  std::vector<Read> taken() const;

  // In wait(), real time passes only when nothing can complete: with nothing in flight, on hold, or
  // with hanging reads alone.
  size_t submit(std::span<const Read> reads) override;
  int in_flight() const override;
  int depth() const override { return options_.depth; }
  void wait(std::vector<Completion>& out, std::chrono::milliseconds timeout) override;
  void wake() override;
  bool register_memory(std::span<uint8_t>) override { return true; }
  uint32_t alignment() const override { return options_.alignment; }
  bool direct() const override { return options_.alignment > 1; }
  std::string_view name() const override { return "fake"; }

 private:
  struct Fault {
    int error = 0;
    uint32_t short_bytes = 0;
    std::chrono::nanoseconds stall{0};
    bool hang = false;
  };
  struct UnderWay {
    ReadProgress progress;
    Fault fault;
    std::chrono::nanoseconds due{0};
  };

  std::chrono::nanoseconds delay();
  // The read that completes next, or null.
  UnderWay* next();
  // The disk's answer to its request. True: it has completed, and `out` has it.
  bool answer(UnderWay& read, std::vector<Completion>& out);

  const FakeDiskOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<File> files_;
  std::vector<uint64_t> opened_bytes_;
  std::mt19937_64 random_;
  std::map<uint64_t, Fault> faults_;
  std::vector<Read> taken_;
  std::vector<UnderWay> under_way_;
  std::chrono::nanoseconds now_{0};
  bool held_ = false;
  bool woken_ = false;
};

}  // namespace sluice::storage
