// SPDX-License-Identifier: Apache-2.0
// Short ways to render a template in a test.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "text/chat_template.h"

namespace sluice::text::testing_templates {

using nlohmann::ordered_json;

// One after the other; operator+ of temporaries makes g++ 12 warn where nothing is wrong.
template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::string result;
  (result.append(parts), ...);
  return result;
}

// 2025-03-04 05:06:07 UTC
inline std::chrono::system_clock::time_point fixed_time() {
  return std::chrono::system_clock::time_point(std::chrono::seconds(1741064767));
}

inline Result<ChatTemplate> parse(std::string source, const TemplateLimits& limits = {}) {
  setenv("TZ", "UTC", 1);
  return ChatTemplate::parse(std::move(source), limits, fixed_time);
}

inline Result<std::string> render(std::string source,
                                  const ordered_json& context = ordered_json::object(),
                                  const TemplateLimits& limits = {}) {
  SLUICE_ASSIGN(const ChatTemplate parsed, parse(std::move(source), limits));
  return parsed.render_text(context);
}

inline std::string text_of(const std::string& source,
                           const ordered_json& context = ordered_json::object()) {
  const auto result = render(source, context);
  return result ? *result : fmt::format("error: {}", result.error().message);
}

inline Error error_of(const std::string& source, const TemplateLimits& limits = {},
                      const ordered_json& context = ordered_json::object()) {
  const auto result = render(source, context, limits);
  EXPECT_FALSE(result) << source << " gave " << result->substr(0, 100);
  return result ? Error{} : result.error();
}

inline std::string times(std::string_view text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

// The segments as "trusted[untrusted]trusted...".
inline std::string marked(const std::string& source, const ordered_json& context) {
  const auto parsed = parse(source);
  if (!parsed) return fmt::format("error: {}", parsed.error().message);
  const auto segments = parsed->render(context);
  if (!segments) return fmt::format("error: {}", segments.error().message);
  std::string result;
  bool first = true;
  bool before = false;
  for (const Segment& segment : *segments) {
    EXPECT_FALSE(segment.text.empty());
    if (!first) {
      EXPECT_NE(segment.trusted, before) << "segments of the same trust side by side";
    }
    first = false;
    before = segment.trusted;
    result += segment.trusted ? segment.text : fmt::format("[{}]", segment.text);
  }
  return result;
}

}  // namespace sluice::text::testing_templates
