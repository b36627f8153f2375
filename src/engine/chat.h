// SPDX-License-Identifier: Apache-2.0
// From a conversation to a prompt.
#pragma once

#include <nlohmann/json.hpp>
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

}  // namespace sluice::engine
