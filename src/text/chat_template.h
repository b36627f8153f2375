// SPDX-License-Identifier: Apache-2.0
// Chat templates: the subset of Jinja that published models use, as an interpreter without any
// access to files, clocks other than strftime_now, or the network, and with hard limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace sluice::text {

struct TemplateLimits {
  int64_t steps = 4'000'000;                // evaluated nodes
  int depth = 200;                          // nesting of expressions, blocks and macro calls
  size_t output_bytes = size_t{16} << 20;   // rendered text, and any single string on the way
  size_t memory_bytes = size_t{128} << 20;  // all values alive at once
  std::chrono::milliseconds time{1000};
};

// What strftime_now asks, in local time; tests put a fixed one in.
using TemplateClock = std::function<std::chrono::system_clock::time_point()>;

class ChatTemplate {
 public:
  // kBadFile with line and column when the source cannot be parsed; kTooLarge at the limit on depth
  // or for a source above 1 MiB. limits also hold for every rendering.
  static Result<ChatTemplate> parse(std::string source, const TemplateLimits& limits = {},
                                    TemplateClock clock = {});
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // context: an object with messages, tools, add_generation_prompt, enable_thinking, ... Text from
  // the template's literals is trusted, text that came from the context is not (JSON punctuation of
  // tojson counts as context). bos_token and eos_token of the context are trusted.
  // kUsage for raise_exception() and for what the template cannot take; kTooLarge at a limit.
  Result<std::vector<Segment>> render(const nlohmann::ordered_json& context) const;
  // The same as one string.
  Result<std::string> render_text(const nlohmann::ordered_json& context) const;

  const std::string& source() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::text
