// SPDX-License-Identifier: Apache-2.0
// Moves parts of experts from the files to their slots, on a thread of its own, in the order in
// which they were asked for. When there is nothing left to start it asks what could be read ahead.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"
#include "storage/read_queue.h"

namespace sluice::residency {

// One part of one expert.
struct Transfer {
  int32_t key = 0;  // of the expert
  int part = 0;
  int file = 0;
  storage::Window window;
  uint8_t* to = nullptr;  // aligned: the part's bytes will lie at to + window.phase
};

class TransferQueue {
 public:
  // Called on the queue's thread, once for every transfer that was started. What it does delays the
  // next reads.
  using Arrived = std::function<void(const Transfer& transfer, Status status)>;
  // Called on the queue's thread when everything has been started and the disk could do more:
  // appends what may be of use (nothing: nothing is). What a computation comes to wait for will be
  // behind it and behind the `in_flight` reads that are under way.
  using Idle = std::function<void(int in_flight, std::vector<Transfer>& ahead)>;

  // Reads in pieces of at most `piece_bytes`, a multiple of the queue's alignment.
  TransferQueue(std::unique_ptr<storage::ReadQueue> queue, uint32_t piece_bytes, Arrived arrived,
                Idle idle);
  // Waits for what has been started; the rest is dropped.
  ~TransferQueue();
  TransferQueue(const TransferQueue&) = delete;
  TransferQueue& operator=(const TransferQueue&) = delete;

  uint32_t alignment() const { return alignment_; }

  // In the order given, behind what was added before and ahead of what idle() answers.
  void add(std::span<const Transfer> transfers);
  // idle() may have another answer now.
  void wake() { queue_->wake(); }

  struct Statistics {
    uint64_t bytes = 0;                // read
    std::chrono::nanoseconds busy{0};  // time with at least one read under way
  };
  Statistics statistics() const;

 private:
  struct Active {
    Transfer transfer;
    uint32_t pieces_left = 0;  // not completed
    Status status;
  };
  void run();
  void start_reads();
  bool next_transfer();
  void cut(const Transfer& transfer);
  void complete(const storage::Completion& completion);

  std::unique_ptr<storage::ReadQueue> queue_;
  const uint32_t alignment_;
  const uint32_t piece_bytes_;
  const Arrived arrived_;
  const Idle idle_;

  mutable std::mutex mutex_;
  std::deque<Transfer> demanded_;
  Statistics statistics_;
  bool stop_ = false;

  // Of the thread alone. A read's id is its place in active_.
  std::vector<Active> active_;
  std::vector<uint32_t> free_;
  std::vector<storage::Read> unsent_;  // pieces of started transfers that found no room
  size_t first_unsent_ = 0;
  std::vector<Transfer> ahead_;  // what idle() answered
  size_t first_ahead_ = 0;
  std::vector<storage::Completion> completions_;

  std::thread thread_;
};

}  // namespace sluice::residency
