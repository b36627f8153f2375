// SPDX-License-Identifier: Apache-2.0
// What one parse or rendering may still spend, and the failure that ends it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"
#include "text/chat_template.h"

namespace sluice::text::jinja {

// Both count from 1; columns are in bytes. Line 0: not known yet.
struct Position {
  int line = 0;
  int column = 0;
};

// Thrown within the interpreter only: ChatTemplate turns it into an Error.
struct Failure {
  ErrorKind kind = ErrorKind::kUsage;
  std::string message;
  Position at;
};

template <typename... Args>
[[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{ErrorKind::kUsage, fmt::format(format, std::forward<Args>(args)...), {}};
}

template <typename... Args>
[[noreturn]] void exceed(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{ErrorKind::kTooLarge, fmt::format(format, std::forward<Args>(args)...), {}};
}

class Budget {
 public:
  explicit Budget(const TemplateLimits& limits);

  const TemplateLimits& limits() const { return limits_; }

  void step(int64_t count = 1) {
    steps_ += count;
    if (steps_ >= next_check_) check();
  }
  // Work on `bytes` of text, or on a sequence with so many items.
  void work(size_t amount) { step(static_cast<int64_t>(amount / 64)); }

  // Memory of values that are alive. `hold` fails before the memory is asked for.
  void hold(size_t bytes);
  void release(size_t bytes) noexcept { held_ -= bytes; }
  // Fails if as much could not be held.
  void expect(size_t bytes) {
    hold(bytes);
    release(bytes);
  }

  // Fails if a string of `bytes` would be longer than any may be.
  void check_length(size_t bytes) const;
  // The length of `count` pieces of `bytes` each.
  size_t product(size_t bytes, size_t count) const;
  void check_nesting(int depth) const;

  // Nested macro calls and nested evaluation; see Interpreter.
  int calls = 0;
  int evaluations = 0;

 private:
  void check();

  TemplateLimits limits_;
  int64_t steps_ = 0;
  int64_t next_check_ = 0;
  size_t held_ = 0;
  std::chrono::steady_clock::time_point deadline_;
};

}  // namespace sluice::text::jinja
