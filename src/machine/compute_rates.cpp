// SPDX-License-Identifier: Apache-2.0
#include "machine/compute_rates.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "quant/quant.h"

namespace sluice::machine {
namespace {

using Clock = std::chrono::steady_clock;

// Usual sizes of the models this is for.
constexpr int64_t kDim = 2048;
constexpr int64_t kDenseRows = 4096;
constexpr int64_t kHidden = 768;
constexpr int kExperts = 8;
constexpr int64_t kMostRows = 512;
constexpr int64_t kHeads = 32, kKvHeads = 4, kHeadDim = 128, kPositions = 4096;
constexpr double kLeastSeconds = 0.004;  // of one sample

// Published files use the first ones most.
constexpr quant::Type kTypes[] = {
    quant::Type::kQ4_K,    quant::Type::kQ6_K,  quant::Type::kF32,    quant::Type::kQ8_0,
    quant::Type::kQ5_K,    quant::Type::kQ2_K,  quant::Type::kQ3_K,   quant::Type::kIQ4_XS,
    quant::Type::kF16,     quant::Type::kBF16,  quant::Type::kIQ2_XS, quant::Type::kIQ2_XXS,
    quant::Type::kIQ3_XXS, quant::Type::kIQ3_S, quant::Type::kIQ2_S,  quant::Type::kIQ4_NL,
    quant::Type::kMXFP4,   quant::Type::kQ4_0,  quant::Type::kQ5_0,   quant::Type::kQ4_1,
    quant::Type::kQ5_1};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Random bytes in which no block of any type has a large scale or a NaN: bit 6 is clear.
void fill(uint8_t* data, size_t bytes) {
  uint64_t state = 1;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t value = (state ^ state >> 29) & 0xbfbfbfbfbfbfbfbfu;
    std::memcpy(data + i, &value, 8);
  }
}

class Measurement {
 public:
  Measurement(const compute::Backend& backend, const RatesOptions& options)
      : be_(backend),
        options_(options),
        weights_(backend),
        x_(backend),
        out_(backend),
        state_(backend) {}

  Result<ComputeRates> run() {
    const Clock::time_point start = Clock::now();
    SLUICE_TRY(prepare());
    ComputeRates rates;
    rates.name = be_.describe();
    SLUICE_ASSIGN(rates.operation_seconds, small_operation());
    if (!be_->host_memory) {
      SLUICE_ASSIGN(rates.answer_seconds, answer());
    }
    operation_ = rates.operation_seconds;
    SLUICE_ASSIGN(rates.norm_floats, norm());
    SLUICE_TRY(attention(rates));
    SLUICE_TRY(delta(rates));
    for (const quant::Type type : kTypes) {
      if (!be_->supports_weight(be_.get(), static_cast<uint32_t>(type))) continue;
      if (!rates.types.empty() && seconds_since(start) > options_.seconds) break;
      ProductRates product;
      SLUICE_ASSIGN(product.near, dense(type, 1, kDenseRows / 8, options_.near_bytes));
      for (const int64_t rows : {int64_t{1}, int64_t{4}, int64_t{32}, kMostRows}) {
        SLUICE_ASSIGN(const double rate,
                      dense(type, rows, rows > 4 ? kDenseRows / 4 : kDenseRows, options_.bytes));
        product.dense.push_back({rows, rate});
      }
      for (const int64_t rows : {1, 4, 32, 128}) {
        SLUICE_ASSIGN(const double rate, experts(type, rows, rows > 32 ? 2 : kExperts));
        product.experts.push_back({rows, rate});
      }
      rates.types.emplace(std::string(quant::traits(type).name), std::move(product));
    }
    return rates;
  }

 private:
  Status prepare() {
    std::iota(index_.begin(), index_.end(), 0);
    SLUICE_TRY(weights_.reserve(options_.bytes));
    SLUICE_TRY(x_.reserve(sizeof(float) * kMostRows * kHeads * kHeadDim * 2));
    SLUICE_TRY(out_.reserve(sizeof(float) * kMostRows * kDenseRows));
    constexpr size_t kPiece = size_t{16} << 20;
    AlignedBuffer piece = AlignedBuffer::allocate(kPiece);
    if (!piece) return fail(ErrorKind::kTooLarge, "no memory to measure the machine with");
    fill(piece.data(), kPiece);
    auto* to = static_cast<uint8_t*>(weights_.data());
    for (uint64_t at = 0; at < options_.bytes; at += kPiece)
      SLUICE_TRY(be_.check(be_->upload(be_.get(), to + at, piece.data(),
                                       std::min<uint64_t>(kPiece, options_.bytes - at))));
    std::vector<float> x(x_.bytes() / sizeof(float));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 31) / 16.0f - 0.9f;
    SLUICE_TRY(be_.check(be_->upload(be_.get(), x_.data(), x.data(), x_.bytes())));
    return be_.check(
        be_->upload(be_.get(), out_.data(), x.data(), std::min(x_.bytes(), out_.bytes())));
  }

  // Seconds of one call: the median of samples that are long enough to be timed, after one call
  // that is not counted.
  template <typename Call>
  Result<double> time(const Call& call, int samples = 3) {
    SLUICE_TRY(be_.check(call()));
    SLUICE_TRY(be_.check(be_->synchronize(be_.get())));
    std::vector<double> seconds;
    int64_t calls = 1;
    while (static_cast<int>(seconds.size()) < samples) {
      const Clock::time_point start = Clock::now();
      for (int64_t i = 0; i < calls; ++i) SLUICE_TRY(be_.check(call()));
      SLUICE_TRY(be_.check(be_->synchronize(be_.get())));
      const double taken = seconds_since(start);
      if (taken < kLeastSeconds && calls < 1 << 16) {
        calls = std::max(calls * 2, static_cast<int64_t>(static_cast<double>(calls) *
                                                         kLeastSeconds / std::max(taken, 1e-7)));
        continue;
      }
      seconds.push_back(taken / static_cast<double>(calls));
      if (taken > 0.1) break;  // a slow machine
    }
    std::ranges::nth_element(seconds, seconds.begin() + static_cast<int64_t>(seconds.size() / 2));
    return seconds[seconds.size() / 2];
  }

  // The next weights of so many bytes, cyclically within the first `within` bytes.
  const uint8_t* next_weights(uint64_t bytes, uint64_t within) {
    bytes = (bytes + 4095) / 4096 * 4096;
    if (at_ + bytes > within) at_ = 0;
    const uint8_t* from = static_cast<const uint8_t*>(weights_.data()) + at_;
    at_ += bytes;
    return from;
  }

  double without_operation(double seconds) const {
    return std::max(seconds - operation_, seconds / 10);
  }

  Result<double> small_operation() {
    sluice_product product{{weights_.data(), static_cast<uint32_t>(quant::Type::kQ4_K), kDim, 64},
                           out_.floats(),
                           0,
                           0};
    const auto* norm = static_cast<const float*>(weights_.data());
    SLUICE_ASSIGN(const double both, time([&] {
                    const int32_t code =
                        be_->rms_norm(be_.get(), x_.floats(), norm, 1, kDim, 1e-6f, out_.floats());
                    return code ? code
                                : be_->multiply(be_.get(), x_.floats(), 1, kDim, &product, 1);
                  }));
    return both / 2;
  }

  Result<double> answer() {
    std::vector<float> host(kDim);
    return time(
        [&] { return be_->download(be_.get(), host.data(), x_.data(), sizeof(float) * kDim); });
  }

  Result<double> norm() {
    const auto* weight = static_cast<const float*>(weights_.data());
    SLUICE_ASSIGN(const double seconds, time([&] {
                    return be_->rms_norm(be_.get(), x_.floats(), weight, kMostRows, kDim, 1e-6f,
                                         out_.floats());
                  }));
    return kMostRows * kDim / without_operation(seconds);
  }

  Result<double> dense(quant::Type type, int64_t rows, int64_t weight_rows, uint64_t within) {
    at_ = 0;
    const uint64_t bytes = quant::row_bytes(type, kDim) * static_cast<uint64_t>(weight_rows);
    SLUICE_ASSIGN(const double seconds, time([&] {
                    const sluice_product product{{next_weights(bytes, std::max(within, bytes)),
                                                  static_cast<uint32_t>(type), kDim, weight_rows},
                                                 out_.floats(),
                                                 0,
                                                 0};
                    return be_->multiply(be_.get(), x_.floats(), rows, kDim, &product, 1);
                  }));
    return static_cast<double>(rows * weight_rows * kDim) / without_operation(seconds);
  }

  // `count` experts with so many rows each.
  Result<double> experts(quant::Type type, int64_t rows, int count) {
    at_ = 0;
    const uint64_t in = quant::row_bytes(type, kDim) * kHidden;
    const uint64_t down = quant::row_bytes(type, kHidden) * kDim;
    const auto id = static_cast<uint32_t>(type);
    std::vector<sluice_expert> list(static_cast<size_t>(count));
    SLUICE_ASSIGN(const double seconds, time([&] {
                    for (sluice_expert& expert : list)
                      expert = {{next_weights(in, options_.bytes), id, kDim, kHidden},
                                {next_weights(in, options_.bytes), id, kDim, kHidden},
                                {next_weights(down, options_.bytes), id, kHidden, kDim},
                                index_.data(),
                                ones_.data(),
                                static_cast<int32_t>(rows),
                                nullptr};
                    return be_->experts(be_.get(), x_.floats(), rows, kDim, list.data(), count,
                                        out_.floats());
                  }));
    return static_cast<double>(rows * count * 3 * kDim * kHidden) / without_operation(seconds);
  }

  Status attention(ComputeRates& rates) {
    const uint64_t bytes = quant::row_bytes(quant::Type::kF16, kHeadDim) * kKvHeads * kPositions;
    auto* memory = static_cast<uint8_t*>(weights_.data());
    const auto f16 = static_cast<uint32_t>(quant::Type::kF16);
    sluice_span span{
        {memory, memory + bytes, f16, f16, kPositions, kKvHeads, kHeadDim}, 0, 1, kPositions - 1};
    const auto attend = [&] {
      return be_->attention(be_.get(), &span, 1, x_.floats(), kHeads, 0.01f, out_.floats());
    };
    SLUICE_ASSIGN(const double row, time(attend));
    rates.attention_row = 2.0 * kPositions * kKvHeads * kHeadDim / without_operation(row);
    constexpr int64_t kRows = 128, kBefore = 896;
    span.rows = kRows;
    span.position = kBefore;
    SLUICE_ASSIGN(const double batch, time(attend));
    rates.attention_batch =
        2.0 * kHeads * kHeadDim * kRows * (kBefore + kRows / 2.0) / without_operation(batch);
    return {};
  }

  Status delta(ComputeRates& rates) {
    constexpr sluice_delta_heads kDelta{16, 32, 128, 128};
    constexpr double kState = 32.0 * 128 * 128;
    SLUICE_TRY(state_.reserve(sizeof(float) * static_cast<size_t>(kState)));
    const float* gates = x_.floats();
    sluice_recurrent_span span{nullptr, state_.floats(), 0, 1, 1, 0};
    const auto step = [&] {
      return be_->delta_rule(be_.get(), &span, 1, &kDelta, x_.floats(), x_.floats(), gates, gates,
                             1e-6f, out_.floats());
    };
    SLUICE_ASSIGN(const double row, time(step));
    rates.delta_row = kState / without_operation(row);
    span.rows = 128;
    span.position = 0;
    SLUICE_ASSIGN(const double batch, time(step));
    rates.delta_batch = kState * 128 / without_operation(batch);
    return {};
  }

  const compute::Backend& be_;
  const RatesOptions options_;
  compute::DeviceArray weights_, x_, out_, state_;
  std::vector<int32_t> index_ = std::vector<int32_t>(kMostRows);  // each row in turn
  std::vector<float> ones_ = std::vector<float>(kMostRows, 0.1f);
  double operation_ = 0;
  uint64_t at_ = 0;
};

[[gnu::always_inline]] inline uint64_t sum_of_lines(const uint8_t* data, size_t bytes) {
  using Wide = uint64_t __attribute__((vector_size(32)));  // arrays become detours by the stack
  Wide sums[4] = {};
  for (size_t i = 0; i + 128 <= bytes; i += 128)
    for (size_t k = 0; k < 4; ++k) {
      Wide part;
      std::memcpy(&part, data + i + 32 * k, sizeof(part));
      sums[k] += part;
    }
  const Wide sum = sums[0] + sums[1] + sums[2] + sums[3];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

// Wide loads where the processor has them: narrow ones are bound by their number.
#if defined(__x86_64__)
[[gnu::target("avx2")]] uint64_t sum_of_wide(const uint8_t* data, size_t bytes) {
  return sum_of_lines(data, bytes);
}
uint64_t sum_of(const uint8_t* data, size_t bytes) {
  return __builtin_cpu_supports("avx2") ? sum_of_wide(data, bytes) : sum_of_lines(data, bytes);
}
#else
uint64_t sum_of(const uint8_t* data, size_t bytes) {
  return sum_of_lines(data, bytes);
}
#endif

}  // namespace

Result<ComputeRates> measure_compute(const compute::Backend& backend, const RatesOptions& options) {
  return Measurement(backend, options).run();
}

Result<double> measure_copies(const compute::Backend& device) {
  if (device->host_memory) return 0.0;
  constexpr size_t kBytes = size_t{32} << 20;
  compute::StagingArray host(device);
  SLUICE_TRY(host.reserve(kBytes));
  compute::DeviceArray there(device);
  SLUICE_TRY(there.reserve(kBytes));
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    const Clock::time_point start = Clock::now();
    uint64_t ticket = 0;
    SLUICE_TRY(device.check(
        device->transfer(device.get(), there.data(), host.floats(), kBytes, 1, &ticket)));
    const int32_t done = device->transferred(device.get(), ticket, 1);
    if (done < 0) SLUICE_TRY(device.check(done));
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

std::vector<ThreadsRate> measure_memory(int threads, uint64_t bytes) {
  constexpr size_t kPiece = size_t{1} << 20;
  std::vector<ThreadsRate> rates;
  AlignedBuffer memory = AlignedBuffer::allocate(bytes / kPiece * kPiece);
  if (!memory) return rates;
  fill(memory.data(), memory.size());
  for (int n = 1;; n = std::min(n * 2, threads)) {
    ThreadPool pool(n);
    std::vector<uint64_t> sums(memory.size() / kPiece);
    double best = 1e9;
    for (int i = 0; i < 4; ++i) {
      const Clock::time_point start = Clock::now();
      pool.run(static_cast<int64_t>(sums.size()), [&](int, int64_t piece) {
        sums[static_cast<size_t>(piece)] =
            sum_of(memory.data() + static_cast<size_t>(piece) * kPiece, kPiece);
      });
      best = std::min(best, seconds_since(start));
    }
    rates.push_back({n, static_cast<double>(memory.size()) / best});
    if (n == threads) return rates;
  }
}

}  // namespace sluice::machine
