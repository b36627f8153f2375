// SPDX-License-Identifier: Apache-2.0
// The operations of a layer that are no products of matrices, on a backend (`layers_bench cuda`, or
// `cpu [threads]`), with the shapes of the 30B and the 80B model. One line each: microseconds, and
// what they mean:
//   GB/s      of the cache or state that has to be read (and written), and its share of what a
//             copy of rows reads and writes on this device in the same run
//   Tflop/s   of the two products of attention over the positions that are seen
// Operations are issued many times between two waits; memory rotates so that no cache holds it.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "compute/backend.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/load_backend.h"
#include "quant/quant.h"

namespace sluice::bench {
namespace {

using compute::Backend;
using quant::Type;

struct Heads {
  const char* name;
  int64_t heads, kv_heads, dim;
};
constexpr Heads k30{"30B", 32, 4, 128}, k80{"80B", 16, 2, 256};
constexpr sluice_delta_heads kDelta{16, 32, 128, 128};
constexpr int64_t kDim = 2048;

class Bench {
 public:
  explicit Bench(Backend backend) : backend_(std::move(backend)) {}

  void run() {
    std::printf("%s\n%-44s %10s %9s %9s\n", backend_.describe().c_str(), "", "us", "GB/s", "share");
    copy_rate();
    rows();
    for (const Heads& heads : {k30, k80}) attention(heads);
    recurrent();
    router();
  }

 private:
  void check(int32_t code) {
    if (code == 0) return;
    std::fprintf(stderr, "%s\n", backend_->last_error(backend_.get()));
    std::exit(1);
  }

  // Memory that is not given back: a benchmark runs once.
  uint8_t* bytes(size_t count) {
    void* memory = backend_->allocate(backend_.get(), count);
    if (!memory) {
      std::fprintf(stderr, "no memory left for %zu bytes\n", count);
      std::exit(1);
    }
    return static_cast<uint8_t*>(memory);
  }
  float* floats(int64_t count, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(static_cast<size_t>(std::min<int64_t>(count, 1 << 20)));
    for (float& value : values) value = normal(random_);
    auto* memory = reinterpret_cast<float*>(bytes(static_cast<size_t>(count) * sizeof(float)));
    for (int64_t at = 0; at < count; at += 1 << 20)
      check(backend_->upload(
          backend_.get(), memory + at, values.data(),
          static_cast<size_t>(std::min<int64_t>(count - at, 1 << 20)) * sizeof(float)));
    return memory;
  }

  // Median of several runs, microseconds per call.
  double time(const std::function<int32_t(int64_t)>& op) {
    for (int64_t i = 0; i < 4; ++i) check(op(i));
    check(backend_->synchronize(backend_.get()));
    const auto seconds = [&](int64_t calls) {
      const auto start = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < calls; ++i) check(op(i));
      check(backend_->synchronize(backend_.get()));
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    const auto calls = std::clamp<int64_t>(static_cast<int64_t>(0.01 / seconds(4) * 4), 4, 500);
    std::vector<double> runs;
    for (int i = 0; i < 7; ++i) runs.push_back(seconds(calls) / static_cast<double>(calls));
    std::sort(runs.begin(), runs.end());
    return runs[3] * 1e6;
  }

  void line(const std::string& what, double us) { std::printf("%-44s %10.2f\n", what.c_str(), us); }
  void line_of_bytes(const std::string& what, double us, double moved) {
    const double rate = moved / us * 1e-3;
    std::printf("%-44s %10.2f %9.1f %9.2f\n", what.c_str(), us, rate, rate / copy_rate_);
  }
  void line_of_work(const std::string& what, double us, double operations) {
    std::printf("%-44s %10.2f %9.2f Tflop/s\n", what.c_str(), us, operations / us * 1e-6);
  }

  void copy_rate() {
    const int64_t count = 16384, dim = 8192;
    const float* from = floats(count * dim);
    float* to = floats(count * dim);
    std::vector<int32_t> ids(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i)
      ids[static_cast<size_t>(i)] = static_cast<int32_t>(count - 1 - i);
    const double us = time([&](int64_t) {
      return backend_->gather(backend_.get(), from, ids.data(), count, dim, to);
    });
    const double moved = 2.0 * count * dim * sizeof(float);
    copy_rate_ = moved / us * 1e-3;
    line_of_bytes("copy of rows, 1 GiB", us, moved);
  }

  void rows() {
    float* x = floats(512 * 4096);
    float* out = floats(512 * 4096);
    const float* weight = floats(4096);
    for (const int64_t n : {1, 512}) {
      const std::string count = std::to_string(n) + " rows";
      line("rms_norm " + count, time([&](int64_t) {
             return backend_->rms_norm(backend_.get(), x, weight, n, kDim, 1e-6f, out);
           }));
      line("norm_rope 32 heads " + count, time([&](int64_t) {
             return backend_->norm_rope(backend_.get(), out, n, 32, 128, 4096, weight, 1e-6f, x, x,
                                        128);
           }));
      line("gated_norm 32 heads " + count, time([&](int64_t) {
             return backend_->gated_norm(backend_.get(), x, weight, n * 32, 128, 1e-6f, out);
           }));
      line("sigmoid_gate 4096 " + count,
           time([&](int64_t) { return backend_->sigmoid_gate(backend_.get(), x, n * 4096, out); }));
    }
  }

  void attention(const Heads& h) {
    const int64_t capacity = 32768, most_rows = 512;
    float* q = floats(most_rows * h.heads * h.dim, 1.5f);
    float* out = floats(most_rows * h.heads * h.dim);
    const float* k = floats(most_rows * h.kv_heads * h.dim);
    const float* v = floats(most_rows * h.kv_heads * h.dim);
    const float scale = 1 / std::sqrt(static_cast<float>(h.dim));
    for (const Type type : {Type::kF16, Type::kQ8_0}) {
      const size_t row_bytes = quant::row_bytes(type, h.dim);
      const size_t cache = row_bytes * static_cast<size_t>(h.kv_heads * capacity);
      // As many layers as fit no cache of the device.
      const int64_t layers = 4;
      std::vector<sluice_kv> all;
      for (int64_t l = 0; l < layers; ++l) {
        all.push_back({bytes(cache), bytes(cache), static_cast<uint32_t>(type),
                       static_cast<uint32_t>(type), capacity, static_cast<int32_t>(h.kv_heads),
                       static_cast<int32_t>(h.dim)});
        for (int64_t p = 0; p < capacity; p += most_rows) {
          const sluice_span span{all.back(), 0, most_rows, p};
          check(backend_->kv_store(backend_.get(), &span, 1, k, v));
        }
      }
      const std::string what =
          std::string(h.name) + " " + std::string(quant::traits(type).name) + " ";
      line(what + "kv_store 512 rows", time([&](int64_t i) {
             const sluice_span span{all[static_cast<size_t>(i % layers)], 0, most_rows, 0};
             return backend_->kv_store(backend_.get(), &span, 1, k, v);
           }));
      for (const int64_t context : {512, 4096, 32768})
        for (const int64_t n : {1, 8}) {
          const double us = time([&](int64_t i) {
            const sluice_span span{all[static_cast<size_t>(i % layers)], 0, n, context - n};
            return backend_->attention(backend_.get(), &span, 1, q, h.heads, scale, out);
          });
          line_of_bytes(
              what + "attention " + std::to_string(n) + " rows at " + std::to_string(context), us,
              2.0 * static_cast<double>(row_bytes) * static_cast<double>(h.kv_heads * context));
        }
      for (const int64_t position : {0, 4096, 32256})
        for (const int64_t n : {64, 512}) {
          const double us = time([&](int64_t i) {
            const sluice_span span{all[static_cast<size_t>(i % layers)], 0, n, position};
            return backend_->attention(backend_.get(), &span, 1, q, h.heads, scale, out);
          });
          const double seen =
              static_cast<double>(n) * (static_cast<double>(position) + (n + 1) / 2.0);
          line_of_work(
              what + "attention " + std::to_string(n) + " rows from " + std::to_string(position),
              us, 4.0 * seen * static_cast<double>(h.heads * h.dim));
        }
    }
  }

  void recurrent() {
    const int64_t values = 32 * 128, channels = 2 * 16 * 128 + values, layers = 36, most = 512;
    const float* qkv = floats(most * channels);
    float* mixed = floats(most * channels);
    const float* ba = floats(most * 64);
    const float* weight = floats(4 * channels, 0.3f);
    std::vector<float> decays(32, -0.05f);
    float* a = floats(32);
    check(backend_->upload(backend_.get(), a, decays.data(), 32 * sizeof(float)));
    std::vector<sluice_recurrent_span> spans;
    for (int64_t l = 0; l < layers; ++l)
      spans.push_back({floats(3 * channels), floats(values * 128, 0.01f), 0, 1, 100, 0});
    for (const int64_t n : {1, 8, 512}) {
      const std::string count = std::to_string(n) + " rows";
      const auto span = [&](int64_t i) {
        sluice_recurrent_span s = spans[static_cast<size_t>(i % layers)];
        s.rows = n;
        return s;
      };
      line("80B short_conv " + count, time([&](int64_t i) {
             const sluice_recurrent_span s = span(i);
             return backend_->short_conv(backend_.get(), &s, 1, qkv, weight, 4, channels, mixed);
           }));
      const double us = time([&](int64_t i) {
        const sluice_recurrent_span s = span(i);
        return backend_->delta_rule(backend_.get(), &s, 1, &kDelta, qkv, ba, a, a, 1e-6f, mixed);
      });
      line_of_bytes("80B delta_rule " + count, us, 2.0 * static_cast<double>(values * 128) * 4);
    }
  }

  void router() {
    const float* x = floats(512 * kDim);
    for (const auto& [experts, k] : {std::pair<int64_t, int64_t>{128, 8}, {512, 10}}) {
      const float* weight = floats(experts * kDim, 0.02f);
      const sluice_matrix router{weight, static_cast<uint32_t>(Type::kF32), kDim, experts};
      for (const int64_t n : {1, 512}) {
        std::vector<int32_t> ids(static_cast<size_t>(n * k));
        std::vector<float> weights(ids.size());
        line("route " + std::to_string(k) + " of " + std::to_string(experts) + ", " +
                 std::to_string(n) + " rows, to the host",
             time([&](int64_t) {
               return backend_->route(backend_.get(), x, n, kDim, &router, k, ids.data(),
                                      weights.data());
             }));
      }
    }
    const float* weight = floats(kDim, 0.02f);
    std::vector<float> gates(512);
    for (const int64_t n : {1, 512})
      line("row_gate " + std::to_string(n) + " rows, to the host", time([&](int64_t) {
             return backend_->row_gate(backend_.get(), x, n, kDim, weight, gates.data());
           }));
  }

  Backend backend_;
  std::mt19937 random_{3};
  double copy_rate_ = 1;
};

int run(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "cuda";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  Result<Backend> backend = name == "cpu" ? Backend::open(cpu::cpu_backend(), {threads, {}})
                                          : compute::load_backend(name, {});
  if (!backend) {
    std::fprintf(stderr, "%s\n", backend.error().message.c_str());
    return 1;
  }
  Bench(std::move(*backend)).run();
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc, argv);
}
