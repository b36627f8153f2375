// SPDX-License-Identifier: Apache-2.0
#include "engine/chat.h"

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

}  // namespace sluice::engine
