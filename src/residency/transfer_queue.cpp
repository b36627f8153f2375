// SPDX-License-Identifier: Apache-2.0
#include "residency/transfer_queue.h"

#include <algorithm>
#include <new>

#include "base/check.h"

namespace sluice::residency {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kIdle{1000};

}  // namespace

TransferQueue::TransferQueue(std::unique_ptr<storage::ReadQueue> queue, uint32_t piece_bytes,
                             Arrived arrived, Idle idle)
    : queue_(std::move(queue)),
      alignment_(queue_->alignment()),
      piece_bytes_(piece_bytes),
      arrived_(std::move(arrived)),
      idle_(std::move(idle)) {
  SLUICE_CHECK(piece_bytes_ > 0 && piece_bytes_ % alignment_ == 0, "pieces are aligned");
  // The thread then needs no more memory, but for parts of very many pieces.
  const auto depth = static_cast<size_t>(queue_->depth());
  active_.reserve(2 * depth + 1);
  free_.reserve(2 * depth + 1);
  completions_.reserve(depth);
  unsent_.reserve(64);
  ahead_.reserve(16);
  thread_ = std::thread([this] { run(); });
}

TransferQueue::~TransferQueue() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    demanded_.clear();
  }
  queue_->wake();
  thread_.join();
}

void TransferQueue::add(std::span<const Transfer> transfers) {
  if (transfers.empty()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    demanded_.insert(demanded_.end(), transfers.begin(), transfers.end());
  }
  queue_->wake();
}

TransferQueue::Statistics TransferQueue::statistics() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return statistics_;
}

// Takes the most urgent transfer and cuts it into reads.
bool TransferQueue::next_transfer() {
  Transfer transfer;
  bool found = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!demanded_.empty()) {
      transfer = demanded_.front();
      demanded_.pop_front();
      found = true;
    } else if (stop_) {
      return false;
    }
  }
  if (!found) {
    if (first_ahead_ == ahead_.size()) {
      ahead_.clear();
      first_ahead_ = 0;
      idle_(queue_->in_flight(), ahead_);
      if (ahead_.empty()) return false;
    }
    transfer = ahead_[first_ahead_++];
  }
  cut(transfer);
  return true;
}

void TransferQueue::cut(const Transfer& transfer) {
  unsent_.clear();
  first_unsent_ = 0;
  const uint32_t pieces = storage::piece_count(transfer.window, piece_bytes_);
  try {
    unsent_.reserve(pieces);
  } catch (const std::bad_alloc&) {
    // So short a message needs no memory.
    arrived_(transfer, fail(Error{ErrorKind::kTooLarge, "no memory left"}));
    return;
  }
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(active_.size()));
    active_.emplace_back();
  }
  const uint32_t at = free_.back();
  free_.pop_back();
  active_[at] = {transfer, pieces, {}};
  for (uint32_t i = 0; i < pieces; ++i)
    unsent_.push_back(storage::read_window(storage::piece(transfer.window, i, piece_bytes_),
                                           transfer.file, transfer.to + size_t{i} * piece_bytes_,
                                           at));
}

void TransferQueue::start_reads() {
  while (queue_->in_flight() < queue_->depth()) {
    if (first_unsent_ == unsent_.size()) {
      if (!next_transfer()) return;
      continue;
    }
    const size_t taken =
        queue_->submit({unsent_.data() + first_unsent_, unsent_.size() - first_unsent_});
    first_unsent_ += taken;
    if (taken == 0) return;
  }
}

void TransferQueue::complete(const storage::Completion& completion) {
  Active& active = active_[completion.id];
  if (!completion.status && active.status) active.status = completion.status;
  if (--active.pieces_left > 0) return;
  if (active.status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    statistics_.bytes += active.transfer.window.bytes;
  }
  arrived_(active.transfer, std::move(active.status));
  active.status = {};
  free_.push_back(static_cast<uint32_t>(completion.id));
}

void TransferQueue::run() {
  Clock::time_point last = Clock::now();
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stop_ && first_unsent_ == unsent_.size() && queue_->in_flight() == 0) return;
    }
    start_reads();
    const bool busy = queue_->in_flight() > 0;
    const Clock::time_point before = busy ? last : Clock::now();
    completions_.clear();
    queue_->wait(completions_, kIdle);
    last = Clock::now();
    if (busy) {
      const std::lock_guard<std::mutex> lock(mutex_);
      statistics_.busy += last - before;
    }
    // Reads go on while what has arrived is looked at.
    if (!completions_.empty()) start_reads();
    for (const storage::Completion& completion : completions_) complete(completion);
  }
}

}  // namespace sluice::residency
