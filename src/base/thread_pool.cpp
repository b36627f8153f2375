// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <system_error>

namespace sluice {
namespace {

constexpr int kSpins = 20000;  // about 100 us: longer than the gap between two stages of a token

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Who waits lets others run now and then: where fewer CPUs are free than the pool has threads, the
// one that is waited for may be waiting for a CPU itself.
inline void spin(int spins) {
  if (spins % 64 == 63)
    std::this_thread::yield();
  else
    relax();
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  // Where the system gives fewer threads, the pool has fewer.
  try {
    for (int i = 1; i < std::max(threads, 1); ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error&) {
  }
  shares_ = std::vector<Share>(static_cast<size_t>(size()));
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::drain(int thread) {
  const int threads = size();
  for (int i = 0; i < threads; ++i) {
    Share& share = shares_[static_cast<size_t>((thread + i) % threads)];
    for (;;) {
      // Looked at first: a finished share is not written to again.
      if (share.next.load(std::memory_order_relaxed) >= share.end) break;
      const int64_t chunk = share.next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= share.end) break;
      call_(context_, thread, chunk);
    }
  }
}

void ThreadPool::dispatch(int64_t chunks, Call call, const void* context) {
  if (chunks <= 0) return;
  if (workers_.empty() || chunks == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) call(context, 0, chunk);
    return;
  }
  const int threads = size();
  for (int t = 0; t < threads; ++t) {
    Share& share = shares_[static_cast<size_t>(t)];
    share.next.store(chunks * t / threads, std::memory_order_relaxed);
    share.end = chunks * (t + 1) / threads;
  }
  call_ = call;
  context_ = context;
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);  // sequentially consistent with sleeping_: no wake-up is lost
  if (sleeping_.load() > 0) {
    // The empty critical section orders this notify after a worker's check of the generation.
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  drain(0);
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) spin(spins);
}

void ThreadPool::work(int thread) {
  uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (generation_.load(std::memory_order_acquire) == seen) {
      if (++spins < kSpins) {
        spin(spins);
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    drain(thread);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace sluice
