// SPDX-License-Identifier: Apache-2.0
#include "residency/timeline.h"

#include <fmt/ranges.h>

#include <fstream>
#include <iterator>

namespace sluice::residency {
namespace {

int64_t microseconds(std::chrono::nanoseconds time) {
  return time.count() / 1000;
}

}  // namespace

Timeline::Timeline(int32_t layers, int32_t experts, int64_t slots)
    : layers_(layers), experts_of_layer_(experts), slots_(slots) {}

void Timeline::begin(int32_t layer, std::span<const int32_t> experts, std::span<const uint8_t> hits,
                     Use use) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // A layer that is not behind the last one begins a new step.
  if (layer <= last_layer_) ++step_;
  last_layer_ = layer;
  Request& request = requests_.emplace_back();
  request = {.step = step_, .layer = layer, .use = use, .first = experts_.size()};
  for (const bool wanted : {true, false})
    for (size_t i = 0; i < experts.size(); ++i)
      if ((hits[i] != 0) == wanted) {
        experts_.push_back(experts[i]);
        ++(wanted ? request.hits : request.misses);
      }
  request.begin = request.end = Clock::now() - start_;
}

void Timeline::waited(std::chrono::nanoseconds time) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!requests_.empty()) requests_.back().waited += time;
}

void Timeline::end() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!requests_.empty()) requests_.back().end = Clock::now() - start_;
}

void Timeline::note(int32_t layer, int32_t expert, bool came) {
  const std::lock_guard<std::mutex> lock(mutex_);
  changes_.push_back({Clock::now() - start_, layer, expert, came});
}

Status Timeline::write(const std::string& path) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string text =
      fmt::format("sluice-timeline 1 {} {} {}\n", layers_, experts_of_layer_, slots_);
  const auto to = std::back_inserter(text);
  const auto list = [this](size_t first, size_t count) {
    const std::span<const int32_t> part = std::span(experts_).subspan(first, count);
    return part.empty() ? std::string("-") : fmt::format("{}", fmt::join(part, ","));
  };
  // Both lists are in the order of time: written as one.
  size_t change = 0;
  const auto changes_until = [&](std::chrono::nanoseconds time) {
    for (; change < changes_.size() && changes_[change].time <= time; ++change) {
      const Change& c = changes_[change];
      fmt::format_to(to, "{} {} {} {}\n", c.came ? '+' : '-', microseconds(c.time), c.layer,
                     c.expert);
    }
  };
  for (const Request& r : requests_) {
    changes_until(r.begin);
    fmt::format_to(to, "r {} {} {} {} {} {} {} {}\n", r.step, r.layer,
                   r.use == Use::kToken ? 't' : 's', microseconds(r.begin), microseconds(r.end),
                   microseconds(r.waited), list(r.first, r.hits), list(r.first + r.hits, r.misses));
  }
  changes_until(std::chrono::nanoseconds::max());
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.flush();
  if (!file)
    return fail(ErrorKind::kIo, "{}: cannot write the timeline: check path and space", path);
  return {};
}

}  // namespace sluice::residency
