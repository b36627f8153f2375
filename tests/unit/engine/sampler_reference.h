// SPDX-License-Identifier: Apache-2.0
// The sampling chain a second time, as plainly as possible: full sorts, doubles, std::exp. The fast
// one is compared with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"

namespace sluice::engine::reference {

struct Choice {
  int32_t token;
  float logit;
  double p = 0.0;
};

inline std::string_view no_piece(int32_t) {
  return {};
}

// Sorts and sets probabilities.
inline void softmax(std::vector<Choice>& all) {
  std::ranges::sort(all, [](const Choice& a, const Choice& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  });
  double sum = 0.0;
  for (Choice& c : all) sum += c.p = std::exp(double{c.logit} - all.front().logit);
  for (Choice& c : all) c.p /= sum;
}

inline double entropy(const std::vector<Choice>& all) {
  double sum = 0.0;
  for (const Choice& c : all) sum -= c.p > 0.0 ? c.p * std::log(c.p) : 0.0;
  return sum;
}

inline size_t window_start(const std::vector<int32_t>& history, int last_n) {
  if (last_n < 0 || history.size() <= static_cast<size_t>(last_n)) return 0;
  return history.size() - static_cast<size_t>(last_n);
}

inline void penalties(std::vector<Choice>& all, const SamplingParams& p,
                      const std::vector<int32_t>& history) {
  for (Choice& c : all) {
    const auto from = history.begin() + static_cast<long>(window_start(history, p.repeat_last_n));
    const auto count = std::count(from, history.end(), c.token);
    if (count == 0) continue;
    c.logit = c.logit > 0 ? c.logit / p.repeat_penalty : c.logit * p.repeat_penalty;
    c.logit -= static_cast<float>(count) * p.frequency_penalty + p.presence_penalty;
  }
}

// Tries every place and every length.
template <typename Piece>
void dry(std::vector<Choice>& all, const SamplingParams& p, const std::vector<int32_t>& history,
         Piece piece) {
  const size_t n = history.size();
  const size_t start = window_start(history, p.dry_penalty_last_n);
  if (n - start <= static_cast<size_t>(p.dry_allowed_length)) return;
  // Where each token ends in the text; a token is cut off if a breaker ends within it or after it.
  std::string text;
  std::vector<size_t> ends;
  for (const int32_t token : history) {
    text += piece(token);
    ends.push_back(text.size());
  }
  size_t cut = 0;  // first byte after the last breaker
  for (const std::string& b : p.dry_sequence_breakers) {
    const size_t at = text.rfind(b);
    if (at != std::string::npos) cut = std::max(cut, at + b.size());
  }
  size_t limit = 0;
  while (limit < n - start && (n - limit < 2 ? 0 : ends[n - limit - 2]) >= cut) ++limit;
  if (limit < static_cast<size_t>(p.dry_allowed_length)) return;

  for (Choice& c : all) {
    bool breaks = false;
    for (const std::string& b : p.dry_sequence_breakers) {
      breaks = breaks || std::string_view(piece(c.token)).find(b) != std::string_view::npos;
    }
    int longest = -1;
    for (size_t next = start + 1; next < n; ++next) {
      if (history[next] != c.token) continue;
      size_t length = 0;
      while (length < limit && length < next - start &&
             history[next - 1 - length] == history[n - 1 - length]) {
        ++length;
      }
      longest = std::max(longest, static_cast<int>(length));
    }
    if (!breaks && longest >= p.dry_allowed_length) {
      c.logit -= static_cast<float>(p.dry_multiplier *
                                    std::pow(double{p.dry_base}, longest - p.dry_allowed_length));
    }
  }
}

template <typename Piece>
void step(std::vector<Choice>& all, char letter, const SamplingParams& p,
          const std::vector<int32_t>& history, Piece piece) {
  const auto min_keep = static_cast<size_t>(p.min_keep);
  softmax(all);
  switch (letter) {
    case 'e':
      if (p.repeat_last_n != 0) penalties(all, p, history);
      break;
    case 'd':
      if (p.dry_multiplier > 0 && p.dry_base >= 1 && p.dry_penalty_last_n != 0) {
        dry(all, p, history, piece);
      }
      break;
    case 's': {
      if (p.top_n_sigma <= 0) break;
      double mean = 0.0;
      double variance = 0.0;
      const auto n = static_cast<double>(all.size());
      for (const Choice& c : all) mean += c.logit / n;
      for (const Choice& c : all) variance += (c.logit - mean) * (c.logit - mean) / n;
      const double least = all.front().logit - p.top_n_sigma * std::sqrt(variance);
      std::erase_if(all, [&](const Choice& c) { return c.logit < least - 1e-6; });
      break;
    }
    case 'k':
      if (p.top_k > 0) all.resize(std::min(all.size(), static_cast<size_t>(p.top_k)), {0, 0});
      break;
    case 'y': {
      if (p.typical_p >= 1) break;
      const double h = entropy(all);
      const auto distance = [&](const Choice& c) { return std::abs(-std::log(c.p) - h); };
      std::ranges::stable_sort(
          all, [&](const Choice& a, const Choice& b) { return distance(a) < distance(b); });
      double mass = 0.0;
      for (size_t i = 0; i < all.size(); ++i) {
        mass += all[i].p;
        if (mass > p.typical_p && i + 1 >= min_keep) all.resize(i + 1, {0, 0});
      }
      break;
    }
    case 'p': {
      if (p.top_p >= 1) break;
      double mass = 0.0;
      for (size_t i = 0; i < all.size(); ++i) {
        mass += all[i].p;
        if (mass >= p.top_p && i + 1 >= min_keep) all.resize(i + 1, {0, 0});
      }
      break;
    }
    case 'm': {
      if (p.min_p <= 0) break;
      size_t kept = 1;
      while (kept < all.size() &&
             (kept < min_keep || all[kept].p >= all.front().p * p.min_p * (1 - 1e-6))) {
        ++kept;
      }
      all.resize(kept, {0, 0});
      break;
    }
    case 'x': {  // with probability 1
      if (p.xtc_probability <= 0 || p.xtc_threshold > 0.5 || all.size() < 2) break;
      size_t tops = 0;
      while (tops < all.size() && all[tops].p >= p.xtc_threshold) ++tops;
      if (tops >= 2 && all.size() - (tops - 1) >= min_keep) {
        all.erase(all.begin(), all.begin() + static_cast<long>(tops - 1));
      }
      break;
    }
    case 't': {
      double t = p.temperature;
      if (t > 0 && p.dynatemp_range > 0) {
        if (all.size() < 2) break;
        const double share = entropy(all) / std::log(static_cast<double>(all.size()));
        const double low = std::max(0.0, t - p.dynatemp_range);
        const double high = t + p.dynatemp_range;
        t = low + (high - low) * std::pow(std::min(1.0, share), double{p.dynatemp_exponent});
      }
      if (t <= 0 || std::isinf(all.front().logit / static_cast<float>(t))) {
        all.resize(1, {0, 0});
      } else {
        for (Choice& c : all) c.logit /= static_cast<float>(t);
      }
      break;
    }
    default:
      break;
  }
}

template <typename Piece>
std::vector<Choice> chain(const SamplingParams& p, std::vector<float> logits,
                          const std::vector<int32_t>& history, const std::vector<int32_t>& banned,
                          Piece piece) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  for (const auto& [token, bias] : p.logit_bias) logits[static_cast<size_t>(token)] += bias;
  for (const int32_t token : banned) logits[static_cast<size_t>(token)] = kNone;
  std::vector<Choice> all;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > kNone) all.push_back({static_cast<int32_t>(i), logits[i]});
  }
  for (const char letter : p.sequence) step(all, letter, p, history, piece);
  softmax(all);
  if (p.temperature <= 0) all.resize(1, {0, 0});
  softmax(all);
  return all;
}

// Logits of a made-up distribution: nearly normal, with some peaks as language models have them.
inline std::vector<float> make_logits(std::mt19937_64& random, size_t vocabulary) {
  std::vector<float> logits(vocabulary);
  for (float& logit : logits) {
    float sum = 0.0f;
    for (int i = 0; i < 6; ++i) sum += static_cast<float>(random() % 4096) / 2048 - 1;
    logit = 2 * sum;
  }
  for (int i = 0; i < 8; ++i) {
    logits[random() % vocabulary] += static_cast<float>(random() % 4096) / 512;
  }
  return logits;
}

}  // namespace sluice::engine::reference
