// SPDX-License-Identifier: Apache-2.0
#include "storage/uring_queue.h"

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace sluice::storage {
namespace {

// The largest buffer that can be registered as one.
constexpr size_t kRegion = size_t{1} << 30;

// How long a busy kernel is left alone.
constexpr int kRetryMilliseconds = 5;

std::string system_message(int error) {
  return std::error_code(error, std::generic_category()).message();
}

class UringQueue final : public ReadQueue {
 public:
  UringQueue(io_uring ring, int wake_descriptor, int depth, ReadFiles files)
      : ring_(ring), wake_descriptor_(wake_descriptor), files_(std::move(files)), slots_(depth) {
    for (int i = depth - 1; i >= 0; --i) free_.push_back(i);
    // Reading needs no more memory.
    waiting_.reserve(slots_.size());
    finished_.reserve(slots_.size());
  }

  ~UringQueue() override {
    // What the kernel has taken it writes to memory; what it has not taken it never will.
    size_t taken = slots_.size() - free_.size() - waiting_.size();
    while (taken > 0) {
      io_uring_cqe* entry = nullptr;
      const int result = io_uring_wait_cqe(&ring_, &entry);
      if (result < 0) {
        if (result == -EINTR) continue;
        break;
      }
      io_uring_cqe_seen(&ring_, entry);
      --taken;
    }
    io_uring_queue_exit(&ring_);
    ::close(wake_descriptor_);
  }

  UringQueue(const UringQueue&) = delete;
  UringQueue& operator=(const UringQueue&) = delete;

  size_t submit(std::span<const Read> reads) override {
    size_t taken = 0;
    for (const Read& read : reads) {
      if (in_flight() == depth()) break;
      ++taken;
      if (Status known = files_.check(read); !known) {
        finished_.push_back({read.id, std::move(known)});
        continue;
      }
      const int slot = free_.back();
      free_.pop_back();
      slots_[slot] = {.read = read};
      request(slot);
    }
    hand_over();
    return taken;
  }

  int in_flight() const override {
    return static_cast<int>(slots_.size() - free_.size() + finished_.size());
  }
  int depth() const override { return static_cast<int>(slots_.size()); }

  void wait(std::vector<Completion>& out, std::chrono::milliseconds timeout) override {
    using Clock = std::chrono::steady_clock;
    // Far enough for every caller, near enough for poll() and for no sum to wrap.
    timeout = std::clamp(timeout, std::chrono::milliseconds(0), std::chrono::milliseconds(1 << 30));
    const Clock::time_point deadline = Clock::now() + timeout;
    for (;;) {
      hand_over();
      collect();
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      int patience = finished_.empty() ? static_cast<int>(std::max<int64_t>(left.count(), 0)) : 0;
      if (!waiting_.empty()) patience = std::min(patience, kRetryMilliseconds);
      pollfd events[2] = {{.fd = ring_.ring_fd, .events = POLLIN},
                          {.fd = wake_descriptor_, .events = POLLIN}};
      const int ready = ::poll(events, 2, patience);
      if (ready > 0 && events[0].revents != 0) collect();
      bool woken = false;
      if (ready > 0 && events[1].revents != 0) {
        eventfd_t count;
        woken = eventfd_read(wake_descriptor_, &count) == 0;
      }
      if (!finished_.empty() || woken || Clock::now() >= deadline) break;
    }
    std::move(finished_.begin(), finished_.end(), std::back_inserter(out));
    finished_.clear();
  }

  void wake() override { eventfd_write(wake_descriptor_, 1); }

  bool register_memory(std::span<uint8_t> memory) override {
    SLUICE_CHECK(free_.size() == slots_.size(), "no reads in flight while memory is registered");
    if (!registered_.empty()) io_uring_unregister_buffers(&ring_);
    registered_ = {};
    std::vector<iovec> regions;
    for (size_t start = 0; start < memory.size(); start += kRegion) {
      regions.push_back({memory.data() + start, std::min(kRegion, memory.size() - start)});
    }
    if (regions.empty()) return false;
    if (io_uring_register_buffers(&ring_, regions.data(), regions.size()) != 0) return false;
    registered_ = memory;
    return true;
  }

  uint32_t alignment() const override { return files_.alignment(); }
  bool direct() const override { return files_.direct(); }
  std::string_view name() const override { return "io_uring"; }

 private:
  // Puts the slot's next request into the ring.
  void request(int slot) {
    if (refused_ != 0) {
      finish(slot, ReadProgress::Step::kFailed, -refused_);
      return;
    }
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    SLUICE_CHECK(entry != nullptr, "the ring has an entry for every slot");
    const ReadProgress& progress = slots_[slot];
    const int descriptor = files_.descriptor(progress.read.file);
    if (const int region = registered_region(progress); region >= 0) {
      io_uring_prep_read_fixed(entry, descriptor, progress.to(), progress.bytes(),
                               progress.offset(), region);
    } else {
      io_uring_prep_read(entry, descriptor, progress.to(), progress.bytes(), progress.offset());
    }
    io_uring_sqe_set_data(entry, reinterpret_cast<void*>(static_cast<uintptr_t>(slot)));
    waiting_.push_back(slot);
  }

  // The registered region that holds the whole target, or -1.
  int registered_region(const ReadProgress& progress) const {
    const auto start = reinterpret_cast<uintptr_t>(progress.to());
    const auto base = reinterpret_cast<uintptr_t>(registered_.data());
    if (registered_.empty() || start < base || start - base >= registered_.size() ||
        progress.bytes() > registered_.size() - (start - base)) {
      return -1;
    }
    const size_t first = (start - base) / kRegion;
    const size_t last = (start - base + progress.bytes() - 1) / kRegion;
    return first == last ? static_cast<int>(first) : -1;
  }

  // Gives the waiting requests to the kernel. When it refuses for good, they and all later ones
  // fail; it is never asked to look at the ring again, so nothing is written to their memory.
  void hand_over() {
    if (waiting_.empty() || refused_ != 0) return;
    const int result = io_uring_submit(&ring_);
    if (result >= 0) {
      waiting_.erase(waiting_.begin(), waiting_.begin() + result);
    } else if (result != -EINTR && result != -EAGAIN && result != -EBUSY) {
      refused_ = -result;
      for (const int slot : waiting_) finish(slot, ReadProgress::Step::kFailed, result);
      waiting_.clear();
    }
  }

  void collect() {
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
      const auto slot = static_cast<int>(entry->user_data);
      const int64_t answer = entry->res;
      io_uring_cqe_seen(&ring_, entry);
      const ReadProgress::Step step = slots_[slot].advance(answer, files_.alignment());
      if (step == ReadProgress::Step::kAgain) {
        request(slot);
      } else {
        finish(slot, step, answer);
      }
    }
    hand_over();
  }

  void finish(int slot, ReadProgress::Step step, int64_t answer) {
    const ReadProgress& progress = slots_[slot];
    finished_.push_back({progress.read.id, files_.outcome(progress, step, answer)});
    free_.push_back(slot);
  }

  io_uring ring_;
  int wake_descriptor_;
  ReadFiles files_;
  std::vector<ReadProgress> slots_;
  std::vector<int> free_;
  std::vector<int> waiting_;  // slots in the ring that the kernel has not taken, in its order
  std::vector<Completion> finished_;  // not given out yet
  std::span<uint8_t> registered_;
  int refused_ = 0;  // errno of the submission that failed for good
};

}  // namespace

Result<std::unique_ptr<ReadQueue>> make_uring_queue(ReadFiles& files, int depth) {
  io_uring ring = {};
  int result = io_uring_queue_init(depth, &ring, 0);
  if (result == 0) {
    io_uring_probe* probe = io_uring_get_probe_ring(&ring);
    const bool reads = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    io_uring_free_probe(probe);
    if (!reads) {
      io_uring_queue_exit(&ring);
      result = -ENOSYS;
    }
  }
  if (result < 0) {
    return fail(ErrorKind::kUnsupported,
                "this system has no io_uring or forbids it ({}): use pread",
                system_message(-result));
  }
  const int wake_descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_descriptor < 0) {
    const int error = errno;
    io_uring_queue_exit(&ring);
    return fail(ErrorKind::kIo,
                "cannot make an event descriptor: {}: raise the limit of open files",
                system_message(error));
  }
  return std::make_unique<UringQueue>(ring, wake_descriptor, depth, std::move(files));
}

}  // namespace sluice::storage
