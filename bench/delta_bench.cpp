// SPDX-License-Identifier: Apache-2.0
// Operations of a gated delta net with the heads of the 80B model (16 key and 32 value heads of
// 128), per level and number of threads; rows: 1 is a decode step, 512 a prompt's batch. Reported:
//   us/row    time of the operation per row
//   GB/s      delta rule, one row: the state read and written
//   Gflop/s   delta rule: four multiply-adds per element of the state and row
//   fraction  of what the level's multiply-adds alone do on as many threads
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_topology.h"
#include "compute/backend.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/cpu/kernels.h"
#include "measure.h"

namespace sluice::bench {
namespace {

constexpr sluice_delta_heads kHeads{16, 32, 128, 128};
constexpr int64_t kTaps = 4;
constexpr int64_t kValues = 32 * 128;
constexpr int64_t kChannels = 2 * 16 * 128 + kValues;
// As many layers as fit no cache: in a model the other layers' states displace this one's.
constexpr int64_t kLayers = 36;

std::vector<float> ramp(int64_t count, float scale, float offset = 0) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = (static_cast<float>(i * 7919 % 1009) / 504.5f - 1.0f) * scale + offset;
  return values;
}

compute::Backend open(const std::string& level, int threads) {
  auto backend = compute::Backend::open(cpu::cpu_backend(), {threads, level});
  if (!backend) throw std::runtime_error(backend.error().message);
  return std::move(*backend);
}

// Calls op(layer) once per iteration and counts the smallest time: other work only ever adds.
template <class Op>
double best_iteration(benchmark::State& state, const Op& op) {
  double best = 1e30;
  int64_t layer = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    op(layer++ % kLayers);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = std::min(best, taken.count());
    state.SetIterationTime(taken.count());
  }
  return best;
}

void delta_rule(benchmark::State& state, const std::string& level, int threads, int64_t rows) {
  const double peak = float_peak(level, threads);
  const compute::Backend backend = open(level, threads);
  const std::vector<float> qkv = ramp(rows * kChannels, 1), ba = ramp(rows * 64, 2);
  const std::vector<float> a(32, -1.0f), bias(32, -3.0f);
  std::vector<float> out(static_cast<size_t>(rows * kValues));
  const auto floats = static_cast<size_t>(kValues * 128);
  AlignedBuffer memory = AlignedBuffer::allocate(floats * kLayers * sizeof(float));
  auto* states = reinterpret_cast<float*>(memory.data());
  std::fill_n(states, floats * kLayers, 0.0f);
  const double best = best_iteration(state, [&](int64_t layer) {
    const sluice_recurrent_span span{nullptr, states + static_cast<size_t>(layer) * floats, 0, rows,
                                     1};
    backend->delta_rule(backend.get(), &span, 1, &kHeads, qkv.data(), ba.data(), a.data(),
                        bias.data(), 1e-6f, out.data());
  });
  const double flops = 8.0 * static_cast<double>(rows) * static_cast<double>(floats);
  state.counters["us/row"] = best * 1e6 / static_cast<double>(rows);
  state.counters["Gflop/s"] = flops / best / 1e9;
  state.counters["fraction"] = peak > 0 ? flops / best / peak : 0;
  if (rows == 1) state.counters["GB/s"] = 8.0 * static_cast<double>(floats) / best / 1e9;
}

void short_conv(benchmark::State& state, const std::string& level, int threads, int64_t rows) {
  const compute::Backend backend = open(level, threads);
  const std::vector<float> x = ramp(rows * kChannels, 1), weight = ramp(kTaps * kChannels, 1);
  std::vector<float> out(x.size()), memory(static_cast<size_t>((kTaps - 1) * kChannels));
  const sluice_recurrent_span span{memory.data(), nullptr, 0, rows, 1};
  const double best = best_iteration(state, [&](int64_t) {
    backend->short_conv(backend.get(), &span, 1, x.data(), weight.data(), kTaps, kChannels,
                        out.data());
  });
  state.counters["us/row"] = best * 1e6 / static_cast<double>(rows);
}

void gated_norm(benchmark::State& state, const std::string& level, int threads, int64_t rows) {
  const compute::Backend backend = open(level, threads);
  const std::vector<float> x = ramp(rows * kValues, 1), weight = ramp(128, 1);
  std::vector<float> gate = ramp(rows * kValues, 2);
  const double best = best_iteration(state, [&](int64_t) {
    backend->gated_norm(backend.get(), x.data(), weight.data(), rows * 32, 128, 1e-6f, gate.data());
  });
  state.counters["us/row"] = best * 1e6 / static_cast<double>(rows);
}

}  // namespace

void register_delta() {
  using Body = void (*)(benchmark::State&, const std::string&, int, int64_t);
  struct Operation {
    const char* name;
    Body body;
  };
  const Operation operations[] = {
      {"delta_rule", delta_rule}, {"short_conv", short_conv}, {"gated_norm", gated_norm}};
  const int all = compute_cpus().threads;
  for (const std::string level : {"scalar", "avx2", "avx512"}) {
    if (!cpu::select_kernels(level.c_str())) continue;
    for (const Operation& operation : operations)
      for (const int64_t rows : {1, 512})
        for (const int threads : {1, all}) {
          benchmark::RegisterBenchmark(
              (std::string(operation.name) + "/" + level + "/rows:" + std::to_string(rows) +
               "/threads:" + std::to_string(threads))
                  .c_str(),
              operation.body, level, threads, rows)
              ->UseManualTime()
              ->MinTime(0.1)
              ->Unit(benchmark::kMicrosecond);
          if (all == 1) break;
        }
  }
}

}  // namespace sluice::bench
