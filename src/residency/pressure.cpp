// SPDX-License-Identifier: Apache-2.0
#include "residency/pressure.h"

#include <algorithm>
#include <new>
#include <system_error>

#include "base/memory_info.h"
#include "residency/expert_cache.h"

namespace sluice::residency {
namespace {

constexpr uint64_t kMostLow = uint64_t{128} << 20;
constexpr uint64_t kLeastStep = uint64_t{16} << 20;
constexpr double kStalled = 10;  // percent: programs wait for memory

uint64_t minus(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

}  // namespace

std::optional<PressureSample> sample_pressure(const std::string& root) {
  const auto info = memory_info(root);
  if (!info || info->least_backed.limit == 0) return std::nullopt;
  return PressureSample{info->least_backed.available, info->least_backed.limit,
                        memory_pressure(root).value_or(0)};
}

ArenaAim next_aim(const PressureSample& sample, const ArenaUse& use, int calm) {
  const uint64_t low = std::min(sample.limit / 32, kMostLow), high = 2 * low;
  // What would be left if every slot that may be used had its memory, and no other.
  const uint64_t left = minus(sample.available + use.excess, use.untouched);
  const auto within = [&](uint64_t bytes) { return std::clamp(bytes, use.least, use.most); };
  const uint64_t missing = minus(use.untouched, sample.available + use.excess);
  if (left < low) return {within(minus(use.aim, low + low / 2 - left + missing)), 0};
  // Others may be waiting at limits of their own, which nothing that is given back here helps.
  if (sample.stalled >= kStalled && left < 2 * high)
    return {within(minus(use.aim, use.most / 16)), 0};
  if (left <= high || sample.stalled >= kStalled / 10) return {within(use.aim), 0};
  if (++calm < kCalmSamples || use.aim >= use.most) return {within(use.aim), calm};
  const uint64_t step = std::max(use.most / 32, kLeastStep);
  return {within(use.aim + std::min(left - high, step)), calm - kCalmSamples / 4};
}

PressureGuard::PressureGuard(ExpertCache& cache, Sampler sampler, std::chrono::milliseconds period)
    : cache_(cache), sampler_(std::move(sampler)), period_(period) {
  try {
    thread_ = std::thread([this] { watch(); });
  } catch (const std::system_error&) {
  }
}

PressureGuard::~PressureGuard() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void PressureGuard::watch() {
  int calm = 0;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (stopped_.wait_for(lock, period_, [this] { return stop_; })) return;
    }
    try {
      const auto sample = sampler_();
      if (!sample) continue;
      const ArenaUse use = cache_.use();
      const ArenaAim aim = next_aim(*sample, use, calm);
      calm = aim.calm;
      if (aim.bytes != use.aim || use.excess > 0) cache_.resize(aim.bytes);
    } catch (const std::bad_alloc&) {  // too little to read a file: the next sample may work
    }
  }
}

}  // namespace sluice::residency
