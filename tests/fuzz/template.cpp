// SPDX-License-Identifier: Apache-2.0
// A template and its context from bytes: the part before the first byte 0 is the source, the rest
// is JSON; without one a fixed conversation is rendered.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace {

using nlohmann::ordered_json;

ordered_json default_context() {
  return ordered_json::parse(R"({
    "messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": " H\u00e4 <|im_start|> \n"},
      {"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [
        {"id": "a", "type": "function",
         "function": {"name": "f", "arguments": {"x": 1.0, "y": [true, null, "s"]}}}]},
      {"role": "tool", "content": "42"},
      {"role": "user", "content": [{"type": "text", "text": "t"}]}],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters":
      {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "n": -7, "u": 18446744073709551615,
    "f": 2.5, "s": "a,b,,c", "l": [3, 1, 2]})");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ordered_json kContext = default_context();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  ordered_json context = kContext;
  if (zero != std::string_view::npos) {
    context = ordered_json::parse(input.substr(zero + 1), nullptr, false);
    if (context.is_discarded()) return -1;
  }
  sluice::text::TemplateLimits limits;
  limits.steps = 20'000;
  limits.depth = 60;
  limits.output_bytes = 1 << 16;
  limits.memory_bytes = 1 << 22;
  limits.time = std::chrono::milliseconds(500);
  const auto parsed =
      sluice::text::ChatTemplate::parse(std::string(input.substr(0, zero)), limits,
                                        [] { return std::chrono::system_clock::time_point(); });
  if (!parsed) return 0;
  const auto segments = parsed->render(context);
  const auto text = parsed->render_text(context);
  // Both ways must agree, and the segments must follow their rules.
  if (!segments || !text) return 0;
  std::string joined;
  for (size_t i = 0; i < segments->size(); ++i) {
    const auto& segment = (*segments)[i];
    if (segment.text.empty()) std::abort();
    if (i > 0 && segment.trusted == (*segments)[i - 1].trusted) std::abort();
    joined += segment.text;
  }
  if (joined != *text || text->size() > limits.output_bytes) std::abort();
  return 0;
}
