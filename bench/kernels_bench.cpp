// SPDX-License-Identifier: Apache-2.0
// Products of quantised rows, per level, format and number of threads.
//   decode/...   one activation, weights larger than the caches: GB/s of weights, and as a fraction
//                of plain reads of the same memory by the same threads right before
//   cached/...   the same from the second-level cache on one thread: what memory does not bind
//   prefill/...  32 activations, weights in the cache: Gop/s, and as a fraction of the level's
//                integer product instructions alone, on one thread right before
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_topology.h"
#include "base/thread_pool.h"
#include "compute/cpu/kernels.h"
#include "measure.h"
#include "peak.h"

namespace sluice::bench {
namespace {

using cpu::Kernels;
using quant::ActBlock;
using quant::Traits;

constexpr int64_t kColumns = 2048;
constexpr size_t kWeightBytes = size_t{192} << 20;
constexpr int64_t kRowsPerChunk = 32;

// Random bytes, but no block has a large scale or a NaN: bit 6 of every byte is clear.
const uint8_t* weights() {
  static const AlignedBuffer buffer = [] {
    AlignedBuffer b = AlignedBuffer::allocate(kWeightBytes);
    uint64_t state = 1;
    for (size_t i = 0; i + 8 <= b.size(); i += 8) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const uint64_t value = (state ^ state >> 29) & 0xbfbfbfbfbfbfbfbfu;
      std::copy_n(reinterpret_cast<const uint8_t*>(&value), 8, b.data() + i);
    }
    return b;
  }();
  return buffer.data();
}

struct Activations {
  AlignedBuffer data;
  std::vector<const uint8_t*> rows;
};

Activations activations(const Kernels& kernels, int64_t count) {
  std::vector<float> x(kColumns);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 31) - 15.0f;
  std::vector<ActBlock> blocks(static_cast<size_t>(quant::act_blocks(kColumns)));
  quant::quantize_activations(x.data(), kColumns, blocks.data());
  const size_t row_bytes = blocks.size() * kernels.packed_block_bytes;
  Activations result;
  result.data = AlignedBuffer::allocate(static_cast<size_t>(count) * row_bytes);
  for (size_t a = 0; a < static_cast<size_t>(count); ++a) {
    uint8_t* row = result.data.data() + a * row_bytes;
    kernels.pack(blocks.data(), static_cast<int64_t>(blocks.size()), row);
    result.rows.push_back(row);
  }
  return result;
}

}  // namespace

double read_bandwidth(ThreadPool& pool) {
#if defined(__x86_64__)
  constexpr size_t kPiece = size_t{1} << 20;
  const double seconds = best_seconds(5, [&] {
    pool.run(kWeightBytes / kPiece, [&](int, int64_t piece) {
      read_avx2(weights() + static_cast<size_t>(piece) * kPiece, kPiece);
    });
  });
  return static_cast<double>(kWeightBytes) / seconds;
#else
  static_cast<void>(pool);
  return 0;
#endif
}

namespace {

double int8_peak(const std::string& level) {
#if defined(__x86_64__)
  int64_t (*run)(int64_t) = level == "avx2"       ? int8_products_avx2
                            : level == "avx-vnni" ? int8_products_avx_vnni
                            : level == "avx512"   ? int8_products_avx512
                                                  : nullptr;
  if (run) {
    int64_t operations = 0;
    const double seconds = best_seconds(20, [&] { operations = run(20000); });
    return static_cast<double>(operations) / seconds;
  }
#endif
  static_cast<void>(level);
  return 0;
}

void decode(benchmark::State& state, const Kernels* kernels, const Traits* type, int threads) {
  ThreadPool pool(threads);
  const double bandwidth = read_bandwidth(pool);
  const size_t row_bytes = quant::row_bytes(type->type, kColumns);
  const int64_t chunks = static_cast<int64_t>(kWeightBytes / row_bytes) / kRowsPerChunk;
  const Activations x = activations(*kernels, 1);
  std::vector<float> out(static_cast<size_t>(chunks * kRowsPerChunk));
  const auto product = kernels->dot_rows[static_cast<uint32_t>(type->type)];
  double best = 1e30;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(chunks, [&](int, int64_t chunk) {
      const int64_t first = chunk * kRowsPerChunk;
      product(weights() + static_cast<size_t>(first) * row_bytes, row_bytes, kRowsPerChunk,
              kColumns, x.rows.data(), 1, out.data() + first, 0, nullptr);
    });
    const double seconds = seconds_since(start);
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
    benchmark::DoNotOptimize(out.data());
  }
  const double bytes = static_cast<double>(chunks * kRowsPerChunk) * static_cast<double>(row_bytes);
  state.counters["GB/s"] = bytes / best / 1e9;
  state.counters["read GB/s"] = bandwidth / 1e9;
  state.counters["fraction"] = bandwidth > 0 ? bytes / best / bandwidth : 0;
}

void cached(benchmark::State& state, const Kernels* kernels, const Traits* type) {
  constexpr int64_t kRows = 128;
  const size_t row_bytes = quant::row_bytes(type->type, kColumns);
  const Activations x = activations(*kernels, 1);
  std::vector<float> out(kRows);
  const auto product = kernels->dot_rows[static_cast<uint32_t>(type->type)];
  for (auto _ : state) {
    product(weights(), row_bytes, kRows, kColumns, x.rows.data(), 1, out.data(), kRows, nullptr);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(state.iterations() * kRows * static_cast<int64_t>(row_bytes));
}

void prefill(benchmark::State& state, const Kernels* kernels, const Traits* type) {
  constexpr int64_t kActs = 32, kRows = 128;
  const double peak = int8_peak(kernels->isa);
  const size_t row_bytes = quant::row_bytes(type->type, kColumns);
  const Activations x = activations(*kernels, kActs);
  std::vector<float> out(kActs * kRows);
  const auto product = kernels->dot_rows[static_cast<uint32_t>(type->type)];
  double best = 1e30;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    product(weights(), row_bytes, kRows, kColumns, x.rows.data(), kActs, out.data(), kRows,
            nullptr);
    const double seconds = seconds_since(start);
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
    benchmark::DoNotOptimize(out.data());
  }
  const double operations = 2.0 * kActs * kRows * kColumns;
  state.counters["Gop/s"] = operations / best / 1e9;
  state.counters["peak Gop/s"] = peak / 1e9;
  state.counters["fraction"] = peak > 0 ? operations / best / peak : 0;
}

void register_products() {
  const int all = available_cpus();
  for (const char* level : {"scalar", "avx2", "avx-vnni", "avx512"}) {
    const Kernels* kernels = cpu::select_kernels(level);
    if (!kernels) continue;
    for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id) {
      const Traits* type = quant::find_traits(id);
      if (!type || type->is_float) continue;
      const std::string name = std::string(level) + "/" + std::string(type->name);
      for (const int threads : {1, all}) {
        benchmark::RegisterBenchmark(
            ("decode/" + name + "/threads:" + std::to_string(threads)).c_str(), decode, kernels,
            type, threads)
            ->UseManualTime()
            ->MinTime(0.1)
            ->Unit(benchmark::kMillisecond);
        if (all == 1) break;
      }
      benchmark::RegisterBenchmark(("cached/" + name).c_str(), cached, kernels, type)
          ->MinTime(0.05)
          ->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark(("prefill/" + name).c_str(), prefill, kernels, type)
          ->UseManualTime()
          ->MinTime(0.05)
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  sluice::bench::weights();  // made before anything is timed
  sluice::bench::register_products();
  sluice::bench::register_attention();
  sluice::bench::register_delta();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
