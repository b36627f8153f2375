// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <new>
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
  // Where the system gives fewer threads, the pool has fewer. Nothing may fail once one runs.
  shares_ = std::vector<Share>(static_cast<size_t>(std::max(threads, 1)));
  workers_.reserve(shares_.size());
  try {
    for (int i = 1; i < std::max(threads, 1); ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
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

void ThreadPool::drain(int thread, uint32_t generation) {
  const int threads = size();
  // Read before a chunk is taken: while one of this generation is unfinished they stay as they are.
  const Call call = call_.load(std::memory_order_relaxed);
  const void* context = context_.load(std::memory_order_relaxed);
  int64_t finished = 0;
  for (int i = 0; i < threads; ++i) {
    Share& share = shares_[static_cast<size_t>((thread + i) % threads)];
    const uint32_t end = share.end.load(std::memory_order_acquire);
    uint64_t next = share.next.load(std::memory_order_acquire);
    while (next >> 32 == generation && static_cast<uint32_t>(next) < end) {
      if (!share.next.compare_exchange_weak(next, next + 1, std::memory_order_acquire)) continue;
      try {
        call(context, thread, static_cast<int64_t>(static_cast<uint32_t>(next)));
      } catch (const std::bad_alloc&) {
        out_of_memory_.store(true, std::memory_order_relaxed);
      }
      ++finished;
      next = share.next.load(std::memory_order_acquire);
    }
  }
  if (finished > 0) unfinished_.fetch_sub(finished, std::memory_order_release);
}

void ThreadPool::dispatch(int64_t chunks, Call call, const void* context) {
  if (chunks <= 0) return;
  if (workers_.empty() || chunks == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) call(context, 0, chunk);
    return;
  }
  const int threads = size();
  const uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
  call_.store(call, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  unfinished_.store(chunks, std::memory_order_relaxed);
  for (int t = 0; t < threads; ++t) {
    Share& share = shares_[static_cast<size_t>(t)];
    // Closed first: who sees the new end no longer sees the old generation.
    const uint64_t tag = uint64_t{generation} << 32;
    share.next.store(tag | UINT32_MAX, std::memory_order_relaxed);
    share.end.store(static_cast<uint32_t>(chunks * (t + 1) / threads), std::memory_order_release);
    share.next.store(tag | static_cast<uint64_t>(chunks * t / threads), std::memory_order_release);
  }
  generation_.store(generation);  // sequentially consistent with sleeping_: no wake-up is lost
  if (sleeping_.load() > 0) {
    // The empty critical section orders this notify after a worker's check of the generation.
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  drain(0, generation);
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) spin(spins);
  if (out_of_memory_.exchange(false, std::memory_order_relaxed)) throw std::bad_alloc();
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    int spins = 0;
    uint32_t generation;
    while ((generation = generation_.load(std::memory_order_acquire)) == seen) {
      if (++spins < kSpins) {
        spin(spins);
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    seen = generation;
    if (stop_.load(std::memory_order_relaxed)) return;
    drain(thread, generation);
  }
}

}  // namespace sluice
