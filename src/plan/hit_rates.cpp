// SPDX-License-Identifier: Apache-2.0
#include "plan/hit_rates.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace sluice::plan {
namespace {

struct Point {
  double held;
  double few;   // 128 experts, 8 used
  double many;  // 512 experts, 10 used
};

// Hits of tokens under the default policy, "all" of experiment 3.
constexpr Point kPoints[] = {
    {0, 0, 0},           {0.0625, 0.407, 0.532}, {0.125, 0.617, 0.694}, {0.25, 0.814, 0.824},
    {0.4, 0.909, 0.888}, {0.6, 0.958, 0.941},    {0.8, 0.984, 0.978},   {1, 1, 1}};
constexpr double kFew = 7, kMany = 9;  // log2 of the experts

// A batch's tokens are about the same things: it uses as many experts as so few independent tokens
// would. Published prompts of 50 to 1700 tokens lie at 0.52 to 0.56, those of the calibrated models
// at 0.53 to 0.66.
constexpr double kIndependent = 0.57;

}  // namespace

double hit_rate(double held, int64_t experts, int64_t used) {
  if (experts <= 0 || held >= 1) return 1;
  if (held <= 0) return 0;
  size_t i = 1;
  while (i + 1 < std::size(kPoints) && held > kPoints[i].held) ++i;
  const Point& a = kPoints[i - 1];
  const Point& b = kPoints[i];
  const double part = (held - a.held) / (b.held - a.held);
  const double kind =
      std::clamp((std::log2(static_cast<double>(experts)) - kFew) / (kMany - kFew), 0.0, 1.0);
  const double rate =
      std::lerp(std::lerp(a.few, b.few, part), std::lerp(a.many, b.many, part), kind);
  // Where a token uses a larger share of the experts, a cache holds fewer tokens' worth of them,
  // but never less than chance finds.
  const double usual = std::lerp(8.0 / 128, 10.0 / 512, kind);
  const double share = static_cast<double>(used) / static_cast<double>(experts);
  return share > 2 * usual ? std::lerp(rate, held, std::min(1.0, (share - 2 * usual) / 0.5)) : rate;
}

double distinct_experts(int64_t rows, int64_t experts, int64_t used) {
  const double share = static_cast<double>(used) / static_cast<double>(experts);
  const double independent = std::pow(static_cast<double>(rows), kIndependent);
  return static_cast<double>(experts) * (1 - std::pow(1 - share, independent));
}

double batch_hit_rate(double held, int64_t rows, int64_t experts, int64_t used) {
  // Experts that few batches use are seldom in the cache; one that uses all finds what is held.
  const double all = distinct_experts(rows, experts, used) / static_cast<double>(experts);
  return std::lerp(hit_rate(held, experts, used), held, all);
}

}  // namespace sluice::plan
