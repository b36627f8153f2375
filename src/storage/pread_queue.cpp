// SPDX-License-Identifier: Apache-2.0
#include "storage/pread_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace sluice::storage {
namespace {

class PreadQueue final : public ReadQueue {
 public:
  explicit PreadQueue(ReadFiles files) : files_(std::move(files)) {}

  // Returns how many threads the system gave.
  size_t start(int threads) {
    // Reading needs no more memory.
    readers_.reserve(static_cast<size_t>(threads));
    queued_.reserve(static_cast<size_t>(threads));
    finished_.reserve(static_cast<size_t>(threads));
    try {
      while (readers_.size() < static_cast<size_t>(threads)) {
        readers_.emplace_back([this] { serve(); });
      }
    } catch (const std::system_error&) {
      // The limit of threads: go on with those that there are.
    }
    return readers_.size();
  }

  ~PreadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& reader : readers_) reader.join();
  }

  size_t submit(std::span<const Read> reads) override {
    const size_t taken = std::min(reads.size(), static_cast<size_t>(depth() - in_flight_));
    if (taken == 0) return 0;
    {
      const std::lock_guard lock(mutex_);
      for (const Read& read : reads.first(taken)) {
        if (Status known = files_.check(read); known) {
          queued_.push_back(read);
        } else {
          finished_.push_back({read.id, std::move(known)});
        }
      }
    }
    in_flight_ += static_cast<int>(taken);
    if (taken == 1) {
      work_.notify_one();
    } else {
      work_.notify_all();
    }
    return taken;
  }

  int in_flight() const override { return in_flight_; }
  int depth() const override { return static_cast<int>(readers_.size()); }

  void wait(std::vector<Completion>& out, std::chrono::milliseconds timeout) override {
    // No sum with a time of day may wrap.
    timeout = std::min(timeout, std::chrono::milliseconds(1 << 30));
    std::unique_lock lock(mutex_);
    something_.wait_for(lock, timeout, [this] { return !finished_.empty() || woken_; });
    woken_ = false;
    in_flight_ -= static_cast<int>(finished_.size());
    std::move(finished_.begin(), finished_.end(), std::back_inserter(out));
    finished_.clear();
  }

  void wake() override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    something_.notify_one();
  }

  bool register_memory(std::span<uint8_t>) override { return false; }

  uint32_t alignment() const override { return files_.alignment(); }
  bool direct() const override { return files_.direct(); }
  std::string_view name() const override { return "pread"; }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
      if (stopping_) return;
      const Read read = queued_.front();
      queued_.erase(queued_.begin());  // there are at most as many as threads
      lock.unlock();
      Status status = perform(read);
      lock.lock();
      finished_.push_back({read.id, std::move(status)});
      something_.notify_one();
    }
  }

  Status perform(const Read& read) const {
    ReadProgress progress{.read = read};
    for (;;) {
      const ssize_t got = ::pread(files_.descriptor(read.file), progress.to(), progress.bytes(),
                                  static_cast<off_t>(progress.offset()));
      const int64_t answer = got < 0 ? -errno : got;
      const ReadProgress::Step step = progress.advance(answer, files_.alignment());
      if (step != ReadProgress::Step::kAgain) return files_.outcome(progress, step, answer);
    }
  }

  const ReadFiles files_;
  std::vector<std::thread> readers_;
  int in_flight_ = 0;  // the owner's

  std::mutex mutex_;
  std::condition_variable work_;       // queued_ or stopping_ changed
  std::condition_variable something_;  // finished_ or woken_ changed
  std::vector<Read> queued_;
  std::vector<Completion> finished_;
  bool woken_ = false;
  bool stopping_ = false;
};

}  // namespace

Result<std::unique_ptr<ReadQueue>> make_pread_queue(ReadFiles files, int depth) {
  auto queue = std::make_unique<PreadQueue>(std::move(files));
  if (queue->start(std::min(depth, kMaxReaders)) == 0) {
    return fail(ErrorKind::kIo, "cannot start a thread to read with: raise the limit of processes");
  }
  return queue;
}

}  // namespace sluice::storage
