// SPDX-License-Identifier: Apache-2.0
#include "engine/chat.h"

#include <algorithm>

namespace sluice::engine {
namespace {

// The text of a token that the metadata names, empty when it names none.
std::string named_token(const Engine& engine, const char* key) {
  const auto id = engine.file().require_uint(key);
  if (!id || *id >= static_cast<uint64_t>(engine.tokenizer().size())) return {};
  return std::string(engine.tokenizer().bytes(static_cast<text::Token>(*id)));
}

}  // namespace

Result<std::vector<text::Token>> render_chat(const Engine& engine,
                                             const nlohmann::ordered_json& messages,
                                             const ChatOptions& options) {
  SLUICE_ASSIGN(const text::ChatTemplate* chat_template, engine.chat_template());
  if (!messages.is_array() || messages.empty())
    return fail(ErrorKind::kUsage, "messages: at least one message is needed");
  nlohmann::ordered_json context = {
      {"messages", messages},
      {"add_generation_prompt", options.add_generation_prompt},
      {"bos_token", named_token(engine, "tokenizer.ggml.bos_token_id")},
      {"eos_token", named_token(engine, "tokenizer.ggml.eos_token_id")}};
  if (!options.tools.is_null()) context["tools"] = options.tools;
  if (options.kwargs.is_object())
    for (const auto& [key, value] : options.kwargs.items()) context[key] = value;
  SLUICE_ASSIGN(const std::vector<text::Segment> segments, chat_template->render(context));
  return engine.tokenizer().encode(segments);
}

std::vector<int64_t> turn_boundaries(const Engine& engine, const nlohmann::ordered_json& messages,
                                     const ChatOptions& options,
                                     std::span<const text::Token> prompt) {
  std::vector<int64_t> boundaries;
  const auto add_common_beginning = [&](const nlohmann::ordered_json& others) {
    const auto other = render_chat(engine, others, options);
    if (!other) return;
    const auto same = std::mismatch(prompt.begin(), prompt.end(), other->begin(), other->end());
    boundaries.push_back(same.first - prompt.begin());
  };
  nlohmann::ordered_json others = messages;
  // Text that begins like none that someone writes.
  others.back()["content"] = "\x01";
  add_common_beginning(others);
  others = messages;
  others.push_back({{"role", "assistant"}, {"content", "\x01"}});
  others.push_back({{"role", "user"}, {"content", "\x01"}});
  add_common_beginning(others);
  std::sort(boundaries.begin(), boundaries.end());
  return boundaries;
}

}  // namespace sluice::engine
