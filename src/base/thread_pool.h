// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {

// Fork-join pool for compute. The calling thread works too, so a pool of n threads owns n - 1
// workers. run() is not reentrant and is called by one thread at a time. Waiting workers spin for a
// short while (a token's stages follow one another within microseconds), then sleep.
class ThreadPool {
 public:
  // At least 1; fewer than asked for when the system has no more to give.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(thread, chunk) once for every chunk in [0, chunks), thread in [0, size()); returns
  // when all are done. Every thread starts with an equal share of consecutive chunks (what it reads
  // ahead is its own) and takes from the others' shares when it is through: a slow core does fewer,
  // and one that is busy with something else is not waited for. At most 2^32 - 1 chunks. No
  // allocation. A body that throws std::bad_alloc, on whichever thread, makes run() throw it when
  // all chunks are done; nothing else may be thrown.
  template <typename Body>
  void run(int64_t chunks, const Body& body) {
    dispatch(
        chunks,
        [](const void* context, int thread, int64_t chunk) {
          (*static_cast<const Body*>(context))(thread, chunk);
        },
        &body);
  }

  // Splits [0, count) into ranges of at least `grain` and calls body(thread, begin, end) for each.
  template <typename Body>
  void for_ranges(int64_t count, int64_t grain, const Body& body) {
    if (count <= 0) return;
    const int64_t wanted = int64_t{size()} * 4;
    int64_t step = (count + wanted - 1) / wanted;
    if (step < grain) step = grain;
    step = (step + grain - 1) / grain * grain;
    run((count + step - 1) / step, [&](int thread, int64_t chunk) {
      const int64_t begin = chunk * step;
      body(thread, begin, begin + step < count ? begin + step : count);
    });
  }

 private:
  using Call = void (*)(const void*, int, int64_t);
  void dispatch(int64_t chunks, Call call, const void* context);
  void work(int thread);
  void drain(int thread, uint32_t generation);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint32_t> generation_{0};  // of run()
  // A thread's chunks. The generation in the upper half of `next` keeps a worker that comes late,
  // when its run() is over, from taking a chunk of the one after it.
  struct alignas(64) Share {
    std::atomic<uint64_t> next{0};
    std::atomic<uint32_t> end{0};
  };
  std::vector<Share> shares_;                       // one per thread
  alignas(64) std::atomic<int64_t> unfinished_{0};  // chunks
  alignas(64) std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> out_of_memory_{false};  // a chunk of this run()
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> context_{nullptr};
};

}  // namespace sluice
