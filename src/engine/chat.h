// SPDX-License-Identifier: Apache-2.0
// From a conversation to a prompt.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace sluice::engine {

struct ChatOptions {
  bool add_generation_prompt = true;
  nlohmann::ordered_json tools;  // null: none
  nlohmann::ordered_json
      kwargs;  // further template variables (enable_thinking, ...); null or an object
};

// messages: an array of {role, content, ...}, at least one. Text of messages never becomes a
// special token. kUsage for what the template refuses.
Result<std::vector<text::Token>> render_chat(const Engine& engine,
                                             const nlohmann::ordered_json& messages,
                                             const ChatOptions& options);

// Positions in `prompt`, the rendered `messages`, up to which it will come again: when the last
// message is another one, and when its answer has been added (templates may render a turn that has
// an answer differently, and leave out what it thought). Ascending; a position that cannot be told,
// because the template refuses the conversations tried, is left out.
std::vector<int64_t> turn_boundaries(const Engine& engine, const nlohmann::ordered_json& messages,
                                     const ChatOptions& options,
                                     std::span<const text::Token> prompt);

}  // namespace sluice::engine
