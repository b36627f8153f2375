// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <numeric>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {
 protected:
  ThreadPool pool_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 5));

TEST_P(ThreadPoolTest, HasAsManyThreadsAsAskedFor) {
  EXPECT_EQ(pool_.size(), GetParam());
}

TEST_P(ThreadPoolTest, RunsEveryChunkOnce) {
  for (const int64_t chunks : {0, 1, 2, 3, 4, 5, 7, 16, 63, 1000, 20000}) {
    SCOPED_TRACE(chunks);
    // Not atomic: two runs of one chunk at once would be a race that the sanitizer sees.
    std::vector<int> times(static_cast<size_t>(chunks));
    std::vector<int> thread_of(static_cast<size_t>(chunks), -1);
    pool_.run(chunks, [&](int thread, int64_t chunk) {
      ++times[static_cast<size_t>(chunk)];
      thread_of[static_cast<size_t>(chunk)] = thread;
    });
    EXPECT_EQ(times, std::vector<int>(static_cast<size_t>(chunks), 1));
    for (const int thread : thread_of) {
      ASSERT_GE(thread, 0);
      ASSERT_LT(thread, pool_.size());
    }
  }
}

TEST_P(ThreadPoolTest, NegativeChunksAreNone) {
  int64_t calls = 0;
  pool_.run(-3, [&](int, int64_t) { ++calls; });
  EXPECT_EQ(calls, 0);
}

// The thread number is what callers index per-thread scratch with.
TEST_P(ThreadPoolTest, ThreadNumbersAreNotShared) {
  std::vector<int64_t> sum(static_cast<size_t>(pool_.size()));
  pool_.run(5000, [&](int thread, int64_t chunk) { sum[static_cast<size_t>(thread)] += chunk; });
  EXPECT_EQ(std::accumulate(sum.begin(), sum.end(), int64_t{0}), int64_t{5000} * 4999 / 2);
}

// What one run wrote, the next one and the caller see, without further synchronisation.
TEST_P(ThreadPoolTest, TenThousandRunsFollowOneAnother) {
  std::vector<int64_t> values(8);
  for (int run = 0; run < 10000; ++run)
    pool_.run(8, [&](int, int64_t chunk) {
      const auto i = static_cast<size_t>(chunk);
      // Reads what another thread may have written in the run before.
      values[i] = values[i] + 1;
    });
  EXPECT_EQ(values, std::vector<int64_t>(8, 10000));
}

// More threads than CPUs: workers often come when their run is long over.
TEST(ThreadPool, LateWorkersTakeNothingOfTheNextRun) {
  ThreadPool pool(16);
  std::vector<int> times(64);
  for (int64_t run = 0; run < 3000; ++run) {
    const int64_t chunks = 1 + run * 7 % 61;
    pool.run(chunks, [&](int, int64_t chunk) { ++times[static_cast<size_t>(chunk)]; });
    for (int64_t i = 0; i < chunks; ++i)
      ASSERT_EQ(std::exchange(times[static_cast<size_t>(i)], 0), 1) << run << ", chunk " << i;
  }
}

TEST_P(ThreadPoolTest, WorkersWakeUpAfterAPause) {
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // far beyond the spinning
    // Every chunk waits for the others: only with all threads at work does this end.
    std::atomic<int> started{0};
    pool_.run(pool_.size(), [&](int, int64_t) {
      started.fetch_add(1);
      while (started.load() < pool_.size()) std::this_thread::yield();
    });
    EXPECT_EQ(started.load(), pool_.size());
  }
}

TEST_P(ThreadPoolTest, RangesCoverAllOnce) {
  for (const int64_t count : {0, 1, 2, 15, 16, 17, 100, 1023, 4096})
    for (const int64_t grain : {1, 3, 16, 100, 5000}) {
      SCOPED_TRACE(testing::Message() << count << " by " << grain);
      std::vector<int> times(static_cast<size_t>(count));
      pool_.for_ranges(count, grain, [&](int thread, int64_t begin, int64_t end) {
        EXPECT_LT(thread, pool_.size());
        EXPECT_LT(begin, end);
        EXPECT_LE(end, count);
        EXPECT_EQ(begin % grain, 0);
        EXPECT_TRUE(end == count || end - begin >= grain);
        for (int64_t i = begin; i < end; ++i) ++times[static_cast<size_t>(i)];
      });
      EXPECT_EQ(times, std::vector<int>(static_cast<size_t>(count), 1));
    }
}

TEST(ThreadPool, LessThanOneThreadIsOne) {
  for (const int threads : {0, -1}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), 1);
    int64_t sum = 0;
    pool.run(10, [&](int, int64_t chunk) { sum += chunk; });
    EXPECT_EQ(sum, 45);
  }
}

TEST(ThreadPool, OneThreadWorksInOrderOnTheCaller) {
  ThreadPool pool(1);
  std::vector<int64_t> order;
  pool.run(100, [&](int thread, int64_t chunk) {
    EXPECT_EQ(thread, 0);
    order.push_back(chunk);
  });
  std::vector<int64_t> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(ThreadPool, SpreadsWorkOverItsThreads) {
  ThreadPool pool(3);
  std::vector<std::thread::id> ids(3);
  std::atomic<int> started{0};
  pool.run(3, [&](int thread, int64_t) {
    ids[static_cast<size_t>(thread)] = std::this_thread::get_id();
    started.fetch_add(1);
    while (started.load() < 3) std::this_thread::yield();
  });
  EXPECT_EQ(std::set<std::thread::id>(ids.begin(), ids.end()).size(), 3u);
  EXPECT_EQ(ids[0], std::this_thread::get_id());
}

// Sanitizers reserve address space that a limit would take from them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLUICE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLUICE_SANITIZED 1
#endif
#endif
#ifndef SLUICE_SANITIZED
// A process that may have 64 MiB more of address space: too little for a thousand stacks.
[[noreturn]] void run_with_little_memory() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * 4096 + (64 << 20);
  const rlimit limit{bytes, bytes};
  if (setrlimit(RLIMIT_AS, &limit) != 0) std::_Exit(2);
  ThreadPool pool(1000);
  std::atomic<int64_t> sum{0};
  pool.run(1000, [&](int, int64_t chunk) { sum.fetch_add(chunk); });
  std::_Exit(pool.size() < 1000 && sum.load() == 499500 ? 0 : 1);
}

TEST(ThreadPool, MakesDoWithTheThreadsThatThereAre) {
  EXPECT_EXIT(run_with_little_memory(), testing::ExitedWithCode(0), "");
}
#endif

TEST(ThreadPool, EndsWhileWorkersSpinOrSleep) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(4);
    if (i % 2) pool.run(4, [](int, int64_t) {});
    if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST(ThreadPool, ABodyWithoutMemoryIsTheCallersException) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (int run = 0; run < 200; ++run) {
      std::atomic<int> done{0};
      EXPECT_THROW(pool.run(12,
                            [&](int, int64_t chunk) {
                              if (chunk == run % 12) throw std::bad_alloc();
                              ++done;
                            }),
                   std::bad_alloc);
      if (threads > 1) {
        EXPECT_EQ(done, 11) << "the other chunks are done";
      }
      done = 0;
      pool.run(12, [&](int, int64_t) { ++done; });
      EXPECT_EQ(done, 12);
    }
  }
}

TEST(ThreadPool, TwoPoolsWorkSideBySide) {
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int c = 0; c < 2; ++c)
    callers.emplace_back([&] {
      ThreadPool pool(2);
      for (int run = 0; run < 200; ++run)
        pool.run(10, [&](int, int64_t chunk) { sum.fetch_add(chunk); });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 2 * 200 * 45);
}

}  // namespace
}  // namespace sluice
