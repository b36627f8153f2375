// SPDX-License-Identifier: Apache-2.0
#include "server/machine_feed.h"

#include <fmt/format.h>

#include <iterator>

namespace sluice::server {
namespace {

using std::chrono::duration;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Rates are of so long a time: shorter, a few tokens per second would make them jump.
constexpr milliseconds kWindow{2000};

double seconds(std::chrono::steady_clock::duration time) {
  return duration<double>(time).count();
}

double milliseconds_of(std::chrono::nanoseconds time) {
  return duration<double, std::milli>(time).count();
}

}  // namespace

void MachineFeed::pause() {
  any_ = false;
  counts_.clear();
  changes_.clear();
  lit_.clear();
}

void MachineFeed::add(engine::MachineSample sample) {
  changes_.clear();
  lit_.clear();
  const residency::Census &before = last_.census, &now = sample.census;
  if (any_ && before.tiers.size() == now.tiers.size()) {
    for (size_t key = 0; key < now.tiers.size(); ++key) {
      if (now.tiers[key] != before.tiers[key]) changes_.emplace_back(key, now.tiers[key]);
      if (now.uses[key] != before.uses[key]) lit_.push_back(key);
    }
  }
  Counts counts;
  counts.at = sample.at;
  counts.tokens = sample.sampled_tokens;
  counts.disk_bytes = sample.cache.bytes_read;
  counts.requests = sample.cache.requests;
  counts.memory_hits = sample.cache.hits;
  if (sample.device) {
    counts.link_bytes = sample.device->bytes_in + sample.device->bytes_out;
    counts.device_hits = sample.device->hits;
    counts.requests += sample.device->hits;  // the others are asked for in memory
  }
  counts_.push_back(counts);
  while (counts_.size() > 2 && counts.at - counts_[1].at >= kWindow) counts_.pop_front();
  if (const uint64_t asked = counts.requests - counts_.front().requests; asked > 0) {
    const auto share = [&](uint64_t Counts::*hits) {
      return static_cast<double>(counts.*hits - counts_.front().*hits) / static_cast<double>(asked);
    };
    hits_.emplace(share(&Counts::device_hits), share(&Counts::memory_hits));
  }
  last_ = std::move(sample);
  any_ = true;
}

double MachineFeed::rate(uint64_t Counts::*count) const {
  if (counts_.size() < 2) return 0;
  const Counts &first = counts_.front(), &last = counts_.back();
  const double time = seconds(last.at - first.at);
  return time > 0 ? static_cast<double>(last.*count - first.*count) / time : 0;
}

// Since the last token before which there was none: a beginning is not averaged with the silence
// before it.
double MachineFeed::token_rate() const {
  size_t first = 0;
  while (first + 1 < counts_.size() && counts_[first + 1].tokens == counts_.front().tokens) ++first;
  if (first + 1 >= counts_.size()) return 0;
  const double time = seconds(counts_.back().at - counts_[first].at);
  const auto tokens = static_cast<double>(counts_.back().tokens - counts_[first].tokens);
  return time > 0 ? tokens / time : 0;
}

std::string MachineFeed::event(bool all_tiers) const {
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "{{\"t\":{}", duration_cast<milliseconds>(last_.at - start_).count());
  if (all_tiers) {
    text += ",\"tiers\":\"";
    for (const residency::Tier tier : last_.census.tiers)
      text += static_cast<char>('0' + static_cast<int>(tier));
    text += '"';
  }
  text += ",\"changes\":[";
  const char* comma = "";
  for (const auto& [key, tier] : changes_) {
    fmt::format_to(out, "{}[{},{}]", comma, key, static_cast<int>(tier));
    comma = ",";
  }
  text += "],\"lit\":[";
  comma = "";
  for (const size_t key : lit_) {
    fmt::format_to(out, "{}{}", comma, key);
    comma = ",";
  }
  const bool device = last_.device.has_value();
  text += "],\"memory\":{";
  if (device) fmt::format_to(out, "\"vram\":{},", last_.vram_bytes);
  fmt::format_to(out, "\"ram\":{}}},\"disk_rate\":{:.0f}", last_.ram_bytes,
                 rate(&Counts::disk_bytes));
  if (device) fmt::format_to(out, ",\"link_rate\":{:.0f}", rate(&Counts::link_bytes));
  fmt::format_to(out, ",\"tokens_per_second\":{:.2f}", token_rate());
  if (hits_) {
    text += ",\"hits\":{";
    if (device) fmt::format_to(out, "\"vram\":{:.4f},", hits_->first);
    fmt::format_to(out, "\"ram\":{:.4f}}}", hits_->second);
  }
  if (const auto& token = last_.last_token) {
    // What a device does goes on while the host computes and waits: its share is what is left, and
    // cannot be told apart.
    const auto experts = milliseconds_of(token->experts - token->waiting);
    const auto others = milliseconds_of(token->whole - token->experts);
    fmt::format_to(out, ",\"token\":{{\"{}\":{:.3f},\"cpu_ms\":{:.3f},\"waiting_ms\":{:.3f}}}",
                   device ? "gpu_ms" : "attention_ms", others, experts,
                   milliseconds_of(token->waiting));
  }
  text += '}';
  return text;
}

}  // namespace sluice::server
