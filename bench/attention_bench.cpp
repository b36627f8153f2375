// SPDX-License-Identifier: Apache-2.0
// Attention with the heads of the 30B model (32 query heads, 4 kv heads, 128 wide), per level, type
// of cache and depth.
//   attention/decode/...   one token: GB/s of cache, and as a fraction of plain reads by the same
//                          threads right before
//   attention/prefill/...  256 tokens: Gflop/s, and as a fraction of multiply-adds alone
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_topology.h"
#include "compute/backend.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/cpu/kernels.h"
#include "measure.h"
#include "peak.h"

namespace sluice::bench {

double float_peak(const std::string& level, int threads) {
#if defined(__x86_64__)
  int64_t (*run)(int64_t) = level == "scalar"   ? nullptr
                            : level == "avx512" ? float_products_avx512
                                                : float_products_avx2;
  if (run) {
    int64_t operations = 0;
    const double seconds = best_seconds(20, [&] { operations = run(20000); });
    return threads * static_cast<double>(operations) / seconds;
  }
#else
  static_cast<void>(level);
  static_cast<void>(threads);
#endif
  return 0;
}

namespace {

using quant::Type;

constexpr int64_t kHeads = 32, kKvHeads = 4, kHeadDim = 128;

void attention(benchmark::State& state, const std::string& level, Type type, int64_t rows,
               int64_t depth) {
  const int threads = compute_cpus().threads;
  auto backend = compute::Backend::open(cpu::cpu_backend(), {threads, level});
  if (!backend) {
    state.SkipWithError(backend.error().message.c_str());
    return;
  }
  ThreadPool pool(threads);
  const size_t row_bytes = quant::row_bytes(type, kHeadDim);
  const int64_t capacity = depth + rows;
  // Zeroed blocks: what the numbers are does not matter for the time.
  const size_t bytes = static_cast<size_t>(kKvHeads * capacity) * row_bytes;
  AlignedBuffer keys = AlignedBuffer::allocate(bytes), values = AlignedBuffer::allocate(bytes);
  std::memset(keys.data(), 0, bytes);
  std::memset(values.data(), 0, bytes);
  const sluice_kv kv{keys.data(),
                     values.data(),
                     static_cast<uint32_t>(type),
                     static_cast<uint32_t>(type),
                     capacity,
                     static_cast<int32_t>(kKvHeads),
                     static_cast<int32_t>(kHeadDim)};
  const sluice_span span{kv, 0, rows, depth};
  const std::vector<float> q(static_cast<size_t>(rows * kHeads * kHeadDim), 0.5f);
  std::vector<float> out(q.size());
  double best = 1e30;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    (*backend)->attention(backend->get(), &span, 1, q.data(), kHeads, 0.1f, out.data());
    const double seconds = seconds_since(start);
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
  }
  if (rows == 1) {
    const double rate = 2 * static_cast<double>(bytes) / best, most = read_bandwidth(pool);
    state.counters["GB/s"] = rate / 1e9;
    state.counters["read GB/s"] = most / 1e9;
    state.counters["fraction"] = most > 0 ? rate / most : 0;
  } else {
    const auto positions = static_cast<double>(rows) *
                           (static_cast<double>(depth) + static_cast<double>(rows + 1) / 2);
    const double rate = 4.0 * kHeads * kHeadDim * positions / best;
    const double peak = float_peak(level, threads);
    state.counters["Gflop/s"] = rate / 1e9;
    state.counters["peak Gflop/s"] = peak / 1e9;
    state.counters["fraction"] = peak > 0 ? rate / peak : 0;
  }
}

}  // namespace

void register_attention() {
  for (const std::string level : {"scalar", "avx2", "avx512"}) {
    if (!cpu::select_kernels(level.c_str())) continue;
    for (const Type type : {Type::kF16, Type::kQ8_0, Type::kQ4_0})
      for (const int64_t rows : {int64_t{1}, int64_t{256}})
        for (const int64_t depth : {int64_t{512}, int64_t{8192}}) {
          const std::string name =
              std::string("attention/") + (rows == 1 ? "decode/" : "prefill/") + level + "/" +
              std::string(quant::traits(type).name) + "/depth:" + std::to_string(depth);
          benchmark::RegisterBenchmark(
              name.c_str(),
              [=](benchmark::State& state) { attention(state, level, type, rows, depth); })
              ->UseManualTime()
              ->MinTime(0.1)
              ->Unit(benchmark::kMicrosecond);
        }
  }
}

}  // namespace sluice::bench
