// SPDX-License-Identifier: Apache-2.0
// Products of the CUDA backend, through its contract. Weights rotate through more memory than the
// second-level cache holds.
//   decode   few activations: GB/s of weights, and as a fraction of what a copy on the device moves
//            (read and written bytes) in the same run
//   prefill  many activations: Tflop/s of the product
//   experts  the same for the routed experts of one layer of the 30B and the 80B model
//   layer    all operations of a token in one layer of the 30B model, as the engine issues them
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "compute/load_backend.h"
#include "quant/quant.h"

namespace sluice::bench {
namespace {

using compute::Backend;
using quant::Traits;
using quant::Type;

class Bench {
 public:
  explicit Bench(Backend backend) : backend_(std::move(backend)) {}

  void run() {
    std::printf("%s\n", backend_.describe().c_str());
    weights_ = bytes(kWeightBytes);
    fill();
    x_ = floats(kMostRows * kMostDim);
    out_ = floats(kMostRows * kMostDim * 4);
    copy_rate();
    layer();
    for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id)
      if (const Traits* t = quant::find_traits(id)) product(*t, 1, false);
    for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kBF16})
      for (const int64_t rows : {2, 4, 8}) product(quant::traits(type), rows, false);
    product(quant::traits(Type::kQ4_K), 1, true);
    for (const Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kIQ4_XS, Type::kIQ2_XS,
                            Type::kBF16, Type::kF16})
      for (const int64_t rows : {16, 64, 512, 2048}) product(quant::traits(type), rows, false);
    for (const auto& [name, dim, hidden, count, chosen] :
         {Shape{"30B", 2048, 768, 128, 8}, Shape{"80B", 2048, 512, 512, 10}})
      for (const int64_t rows : {1, 4, 512, 2048}) experts(name, dim, hidden, count, chosen, rows);
  }

 private:
  struct Shape {
    const char* name;
    int64_t dim, hidden, experts, chosen;
  };
  static constexpr size_t kWeightBytes = size_t{1} << 30;
  static constexpr int64_t kMostRows = 2048, kMostDim = 4096;

  void check(int32_t code) {
    if (code == 0) return;
    std::fprintf(stderr, "%s\n", backend_->last_error(backend_.get()));
    std::exit(1);
  }

  uint8_t* bytes(size_t count) {
    void* memory = backend_->allocate(backend_.get(), count);
    if (!memory) {
      std::fprintf(stderr, "no device memory left for %zu bytes\n", count);
      std::exit(1);
    }
    return static_cast<uint8_t*>(memory);
  }

  float* floats(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(1 << 20);
    for (float& v : values) v = normal(random_);
    auto* memory = reinterpret_cast<float*>(bytes(static_cast<size_t>(count) * 4));
    for (int64_t at = 0; at < count; at += 1 << 20)
      check(backend_->upload(backend_.get(), memory + at, values.data(),
                             static_cast<size_t>(std::min<int64_t>(count - at, 1 << 20)) * 4));
    return memory;
  }

  // Random bytes of which no two make a large scale or no number: bit 6 of every byte is clear.
  void fill() {
    std::vector<uint64_t> values(1 << 20);
    for (uint64_t& v : values) v = (uint64_t{random_()} << 32 | random_()) & 0xbfbfbfbfbfbfbfbfu;
    for (size_t at = 0; at < kWeightBytes; at += values.size() * 8)
      check(backend_->upload(backend_.get(), weights_ + at, values.data(), values.size() * 8));
  }

  // Median of a few runs, in seconds per call.
  double time(const std::function<int32_t(int64_t)>& op) {
    int64_t turn = 0;
    const auto seconds = [&](int64_t calls) {
      const auto start = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < calls; ++i) check(op(turn++));
      check(backend_->synchronize(backend_.get()));
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    seconds(3);
    const auto calls = std::clamp<int64_t>(static_cast<int64_t>(0.01 / seconds(4) * 4), 3, 400);
    std::vector<double> runs;
    for (int i = 0; i < 5; ++i) runs.push_back(seconds(calls) / static_cast<double>(calls));
    std::sort(runs.begin(), runs.end());
    return runs[2];
  }

  void copy_rate() {
    const size_t half = kWeightBytes / 2;
    cudaStream_t stream;
    if (cudaStreamCreate(&stream) != cudaSuccess) std::exit(1);
    uint8_t* to = bytes(half);
    const double s = time([&](int64_t) {
      const cudaError_t error =
          cudaMemcpyAsync(to, weights_, half, cudaMemcpyDeviceToDevice, stream);
      return error == cudaSuccess && cudaStreamSynchronize(stream) == cudaSuccess ? 0 : 1;
    });
    copy_ = 2.0 * half / s;
    std::printf("copy on the device: %.0f GB/s\n", copy_ * 1e-9);
    backend_->release(backend_.get(), to);
    cudaStreamDestroy(stream);
  }

  void product(const Traits& t, int64_t rows, bool fine) {
    constexpr int64_t kCols = 4096;
    const size_t row_bytes = quant::row_bytes(t.type, kCols);
    // A large matrix for bandwidth, one of a model for arithmetic.
    const bool decode = rows <= 8;
    const int64_t outputs = decode ? static_cast<int64_t>((size_t{96} << 20) / row_bytes) : 4096;
    const size_t matrix = static_cast<size_t>(outputs) * row_bytes / 256 * 256;
    const size_t places = kWeightBytes / (matrix + 256);
    const double s = time([&](int64_t turn) {
      const auto place = static_cast<size_t>(turn) % places;
      const sluice_product p{
          {weights_ + place * matrix, static_cast<uint32_t>(t.type), kCols, outputs},
          out_,
          0,
          fine};
      return backend_->multiply(backend_.get(), x_, rows, kCols, &p, 1);
    });
    const double moved = static_cast<double>(outputs) * static_cast<double>(row_bytes);
    const double work = 2.0 * static_cast<double>(rows * outputs * kCols);
    if (decode)
      std::printf("decode  %-8s %4ld rows%s %9.1f us %7.0f GB/s %5.2f of a copy\n", t.name.data(),
                  static_cast<long>(rows), fine ? " fine" : "     ", s * 1e6, moved / s * 1e-9,
                  moved / s / copy_);
    else
      std::printf("prefill %-8s %4ld rows      %9.1f us %7.1f Tflop/s\n", t.name.data(),
                  static_cast<long>(rows), s * 1e6, work / s * 1e-12);
  }

  void experts(const char* name, int64_t dim, int64_t hidden, int64_t count, int64_t chosen,
               int64_t rows) {
    const auto type = static_cast<uint32_t>(Type::kQ4_K),
               down_type = static_cast<uint32_t>(Type::kQ6_K);
    const size_t gate = static_cast<size_t>(hidden) * quant::row_bytes(Type::kQ4_K, dim);
    const size_t down =
        static_cast<size_t>(dim) * quant::row_bytes(Type::kQ6_K, hidden / 256 * 256);
    const size_t each = (2 * gate + down + 255) / 256 * 256;
    const size_t layers = std::max<size_t>(1, kWeightBytes / (each * static_cast<size_t>(count)));
    std::vector<std::vector<int32_t>> chosen_rows(static_cast<size_t>(count));
    for (int32_t r = 0; r < rows; ++r) {
      std::vector<int32_t> ids(static_cast<size_t>(count));
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
      std::shuffle(ids.begin(), ids.end(), random_);
      for (int64_t k = 0; k < chosen; ++k)
        chosen_rows[static_cast<size_t>(ids[static_cast<size_t>(k)])].push_back(r);
    }
    const std::vector<float> ones(static_cast<size_t>(rows), 1.0f);
    size_t active = 0;
    for (const auto& list : chosen_rows) active += list.empty() ? 0 : 1;
    const double s = time([&](int64_t turn) {
      std::vector<sluice_expert> list;
      const uint8_t* base =
          weights_ + static_cast<size_t>(turn) % layers * each * static_cast<size_t>(count);
      for (size_t e = 0; e < chosen_rows.size(); ++e) {
        if (chosen_rows[e].empty()) continue;
        const uint8_t* at = base + e * each;
        list.push_back({{at, type, dim, hidden},
                        {at + gate, type, dim, hidden},
                        {at + 2 * gate, down_type, hidden, dim},
                        chosen_rows[e].data(),
                        ones.data(),
                        static_cast<int32_t>(chosen_rows[e].size()),
                        nullptr});
      }
      return backend_->experts(backend_.get(), x_, rows, dim, list.data(),
                               static_cast<int32_t>(list.size()), out_);
    });
    const double moved = static_cast<double>(active) * static_cast<double>(2 * gate + down);
    const double work = 6.0 * static_cast<double>(rows * chosen * dim * hidden);
    std::printf("experts %-8s %4ld rows      %9.1f us %7.0f GB/s %5.2f of a copy %7.1f Tflop/s\n",
                name, static_cast<long>(rows), s * 1e6, moved / s * 1e-9, moved / s / copy_,
                work / s * 1e-12);
  }

  void layer() {
    constexpr int64_t kDim = 2048, kHeads = 32, kKvHeads = 4, kHead = 128, kHidden = 768,
                      kExperts = 128, kChosen = 8, kCapacity = 1024, kPosition = 600;
    sluice_backend* b = backend_.get();
    const auto bytes_of = [](Type type, int64_t rows, int64_t cols) {
      return static_cast<size_t>(rows) * quant::row_bytes(type, cols);
    };
    const auto matrix = [](const uint8_t* at, Type type, int64_t rows, int64_t cols) {
      return sluice_matrix{at, static_cast<uint32_t>(type), cols, rows};
    };
    const size_t q_bytes = bytes_of(Type::kQ4_K, kHeads * kHead, kDim);
    const size_t k_bytes = bytes_of(Type::kQ4_K, kKvHeads * kHead, kDim);
    const size_t v_bytes = bytes_of(Type::kQ6_K, kKvHeads * kHead, kDim);
    const size_t o_bytes = bytes_of(Type::kQ4_K, kDim, kHeads * kHead);
    const size_t gate = bytes_of(Type::kQ4_K, kHidden, kDim);
    const size_t down = bytes_of(Type::kQ6_K, kDim, kHidden);
    const size_t each = 2 * gate + down;
    const size_t whole =
        (q_bytes + k_bytes + v_bytes + o_bytes + kExperts * each + 255) / 256 * 256;
    const size_t layers = kWeightBytes / whole;
    float* norm = floats(kDim);
    float* router = floats(kExperts * kDim);
    float* h = floats(kDim);
    float* qkv = floats((kHeads + 2 * kKvHeads) * kHead);
    float* k = qkv + kHeads * kHead;
    float* v = k + kKvHeads * kHead;
    float* attended = floats(kHeads * kHead);
    float* residual = floats(kDim);
    const size_t cache = static_cast<size_t>(kCapacity * kKvHeads * kHead) * 2;
    const sluice_span span{{bytes(cache), bytes(cache), static_cast<uint32_t>(Type::kF16),
                            static_cast<uint32_t>(Type::kF16), kCapacity, kKvHeads, kHead},
                           0,
                           1,
                           kPosition};
    const int32_t row = 0;
    const float weight = 0.125f;
    std::vector<int32_t> ids(kChosen);
    std::vector<float> weights(kChosen);
    const auto all = [&](int64_t turn) -> int32_t {
      const uint8_t* at = weights_ + static_cast<size_t>(turn) % layers * whole;
      const sluice_matrix wq = matrix(at, Type::kQ4_K, kHeads * kHead, kDim);
      const sluice_matrix wk = matrix(at += q_bytes, Type::kQ4_K, kKvHeads * kHead, kDim);
      const sluice_matrix wv = matrix(at += k_bytes, Type::kQ6_K, kKvHeads * kHead, kDim);
      const sluice_matrix wo = matrix(at += v_bytes, Type::kQ4_K, kDim, kHeads * kHead);
      at += o_bytes;
      int32_t bad = backend_->rms_norm(b, x_, norm, 1, kDim, 1e-6f, h);
      const sluice_product products[] = {{wq, qkv, 0, 0}, {wk, k, 0, 1}, {wv, v, 0, 1}};
      bad |= backend_->multiply(b, h, 1, kDim, products, 3);
      bad |= backend_->norm_rope(b, qkv, 1, kHeads, kHead, kHeads * kHead, norm, 1e-6f, norm, norm,
                                 kHead);
      bad |= backend_->norm_rope(b, k, 1, kKvHeads, kHead, kKvHeads * kHead, norm, 1e-6f, norm,
                                 norm, kHead);
      bad |= backend_->kv_store(b, &span, 1, k, v);
      bad |= backend_->attention(b, &span, 1, qkv, kHeads, 0.088f, attended);
      const sluice_product output{wo, residual, 1, 1};
      bad |= backend_->multiply(b, attended, 1, kHeads * kHead, &output, 1);
      bad |= backend_->rms_norm(b, x_, norm, 1, kDim, 1e-6f, h);
      const sluice_matrix r{router, static_cast<uint32_t>(Type::kF32), kDim, kExperts};
      bad |= backend_->route(b, h, 1, kDim, &r, kChosen, ids.data(), weights.data());
      sluice_expert list[kChosen];
      for (int64_t e = 0; e < kChosen; ++e) {
        const uint8_t* from = at + static_cast<size_t>((turn * 7 + e * 16) % kExperts) * each;
        list[e] = {matrix(from, Type::kQ4_K, kHidden, kDim),
                   matrix(from + gate, Type::kQ4_K, kHidden, kDim),
                   matrix(from + 2 * gate, Type::kQ6_K, kDim, kHidden),
                   &row,
                   &weight,
                   1,
                   nullptr};
      }
      return bad | backend_->experts(b, h, 1, kDim, list, kChosen, residual);
    };
    const double s = time(all);
    const double moved = static_cast<double>(whole - kExperts * each + kChosen * each);
    std::printf("layer   30B        1 rows      %9.1f us %7.0f GB/s %5.2f of a copy\n", s * 1e6,
                moved / s * 1e-9, moved / s / copy_);
  }

  Backend backend_;
  std::mt19937 random_{1};
  uint8_t* weights_ = nullptr;
  float* x_ = nullptr;
  float* out_ = nullptr;
  double copy_ = 1;
};

}  // namespace
}  // namespace sluice::bench

int main() {
  auto backend = sluice::compute::load_backend("cuda", {});
  if (!backend) {
    std::fprintf(stderr, "%s\n", backend.error().message.c_str());
    return 1;
  }
  sluice::bench::Bench(std::move(*backend)).run();
  return 0;
}
