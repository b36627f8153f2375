// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/budget.h"

#include <algorithm>

namespace sluice::text::jinja {

namespace {

constexpr int64_t kStepsBetweenChecks = 2048;

}  // namespace

Budget::Budget(const TemplateLimits& limits)
    : limits_(limits), deadline_(std::chrono::steady_clock::now() + limits.time) {
  check();
}

void Budget::check() {
  if (steps_ > limits_.steps) {
    exceed("takes more than {} steps (limit steps)", limits_.steps);
  }
  if (std::chrono::steady_clock::now() > deadline_) {
    exceed("takes longer than {} ms (limit time)", limits_.time.count());
  }
  next_check_ = steps_ + std::min(kStepsBetweenChecks, limits_.steps - steps_ + 1);
}

void Budget::hold(size_t bytes) {
  if (bytes > limits_.memory_bytes - std::min(held_, limits_.memory_bytes)) {
    exceed("needs more than {} bytes for its values (limit memory_bytes)", limits_.memory_bytes);
  }
  held_ += bytes;
}

void Budget::check_length(size_t bytes) const {
  if (bytes > limits_.output_bytes) {
    exceed("makes a text or list longer than {} bytes (limit output_bytes)", limits_.output_bytes);
  }
}

size_t Budget::product(size_t bytes, size_t count) const {
  if (bytes != 0 && count > limits_.output_bytes / bytes) check_length(limits_.output_bytes + 1);
  return bytes * count;
}

void Budget::check_nesting(int depth) const {
  if (depth > limits_.depth) {
    exceed("nests lists or objects deeper than {} (limit depth)", limits_.depth);
  }
}

}  // namespace sluice::text::jinja
