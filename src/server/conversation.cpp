// SPDX-License-Identifier: Apache-2.0
#include "server/conversation.h"

#include <algorithm>
#include <array>

namespace sluice::server {
namespace {

constexpr size_t kMostMessages = 16384;
constexpr size_t kMostParts = 1024;
constexpr size_t kMostTools = 1024;
constexpr size_t kMostVariables = 64;

// Set by the engine; bos_token and eos_token become special tokens, whatever they say.
constexpr std::array kReserved = {"messages", "tools", "add_generation_prompt", "bos_token",
                                  "eos_token"};

// Templates index arguments as objects; clients send them as a string.
Json arguments_of(const Json& arguments) {
  if (!arguments.is_string()) return arguments;
  auto parsed = parse_json(arguments.get_ref<const std::string&>());
  return parsed && parsed->is_object() ? std::move(*parsed) : arguments;
}

ApiResult<Json> read_tool_calls(const Json& calls, const std::string& path) {
  Json result = Json::array();
  for (size_t n = 0; n < calls.size(); ++n) {
    const std::string at = fmt::format("{}[{}]", path, n);
    Fields call(calls[n], at);
    const Json* function = call.object("function");
    if (!function) {
      if (!call.failed()) call.refuse("function", "is missing");
      SLUICE_API_TRY(call.status());
    }
    Fields inner(*function, at + ".function");
    const auto name = inner.text("name");
    if (!name && !inner.failed()) inner.refuse("name", "is missing");
    const Json* arguments = inner.get("arguments");
    if (arguments && !arguments->is_string() && !arguments->is_object())
      inner.refuse("arguments", "must be a string of JSON or an object");
    SLUICE_API_TRY(inner.status());
    result.push_back({{"id", call.text("id").value_or("")},
                      {"type", "function"},
                      {"function",
                       {{"name", *name},
                        {"arguments", arguments ? arguments_of(*arguments) : Json::object()}}}});
    SLUICE_API_TRY(call.status());
  }
  return result;
}

ApiResult<Json> read_message(const Json& source, const std::string& path) {
  static constexpr std::array kRoles = {"system",    "developer", "user",
                                        "assistant", "tool",      "function"};
  Fields fields(source, path);
  auto role = fields.text("role");
  SLUICE_API_TRY(fields.status());
  if (!role || std::ranges::find(kRoles, *role) == kRoles.end())
    return refuse(fields.path("role"), "must be system, developer, user, assistant or tool");
  if (*role == "developer") role = "system";
  if (*role == "function") role = "tool";
  Json message = {{"role", *role}};
  const Json* content = fields.get("content");
  const Json* calls = fields.array("tool_calls", kMostTools);
  SLUICE_API_TRY(fields.status());
  if (!content && !(*role == "assistant" && (calls || fields.has("reasoning_content"))))
    return refuse(fields.path("content"), "is missing");
  message["content"] = "";
  if (content) {
    SLUICE_API_ASSIGN(message["content"], read_content(*content, fields.path("content")));
  }
  if (*role == "assistant") {
    if (calls && !calls->empty()) {
      SLUICE_API_ASSIGN(message["tool_calls"], read_tool_calls(*calls, fields.path("tool_calls")));
    }
    if (const auto thought = fields.text("reasoning_content"))
      message["reasoning_content"] = *thought;
  }
  for (const char* name : {"name", "tool_call_id"})
    if (const auto text = fields.text(name)) message[name] = *text;
  SLUICE_API_TRY(fields.status());
  return message;
}

}  // namespace

ApiResult<std::string> read_content(const Json& content, const std::string& path) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array())
    return refuse(path,
                  fmt::format("must be a string or an array of parts, not {}", kind_of(content)));
  if (content.size() > kMostParts)
    return refuse(path,
                  fmt::format("has {} parts, at most {} are allowed", content.size(), kMostParts));
  std::string text;
  for (size_t n = 0; n < content.size(); ++n) {
    Fields part(content[n], fmt::format("{}[{}]", path, n));
    const auto type = part.text("type");
    if (type && *type != "text" && *type != "input_text" && *type != "output_text" &&
        *type != "refusal")
      part.refuse("type", fmt::format("\"{}\" is not supported: only text is", *type));
    const auto piece = part.text(type && *type == "refusal" ? "refusal" : "text");
    if (!piece && !part.failed()) part.refuse("text", "is missing");
    SLUICE_API_TRY(part.status());
    if (n > 0 && !text.empty()) text += '\n';
    text += *piece;
  }
  return text;
}

void read_tools(Fields& fields, Conversation& conversation) {
  const Json* tools = fields.array("tools", kMostTools);
  if (!tools || tools->empty()) return;
  for (size_t n = 0; n < tools->size(); ++n) {
    Fields tool((*tools)[n], fmt::format("tools[{}]", n));
    const auto type = tool.text("type");
    if (type && *type != "function")
      tool.refuse("type", fmt::format("\"{}\" is not supported: only \"function\" is", *type));
    const Json* function = tool.object("function");
    if (!function && !tool.failed()) tool.refuse("function", "is missing");
    if (function) {
      Fields inner(*function, fmt::format("tools[{}].function", n));
      const auto name = inner.text("name");
      if (!inner.failed() && (!name || name->empty() || name->size() > 256))
        inner.refuse("name", "must be a text of 1 to 256 bytes");
      inner.object("parameters");
      if (auto status = inner.status(); !status) return fields.refuse(std::move(status.error()));
    }
    if (auto status = tool.status(); !status) return fields.refuse(std::move(status.error()));
  }
  const Json* choice = fields.get("tool_choice");
  if (choice && *choice == "none") return;
  conversation.options.tools = *tools;
}

void read_template_kwargs(Fields& fields, Conversation& conversation) {
  Json& kwargs = conversation.options.kwargs;
  if (!kwargs.is_object()) kwargs = Json::object();
  if (const auto effort = fields.text("reasoning_effort"); effort && *effort == "none")
    kwargs["enable_thinking"] = false;
  if (const auto on = fields.boolean("enable_thinking")) kwargs["enable_thinking"] = *on;
  const Json* given = fields.object("chat_template_kwargs");
  if (!given) return;
  if (given->size() > kMostVariables)
    return fields.refuse("chat_template_kwargs",
                         fmt::format("has more than {} members", kMostVariables));
  for (const auto& [name, value] : given->items()) {
    if (std::ranges::find(kReserved, name) != kReserved.end())
      return fields.refuse("chat_template_kwargs." + name, "cannot be set by a request");
    kwargs[name] = value;
  }
}

void read_conversation(Fields& fields, Conversation& conversation) {
  const Json* messages = fields.array("messages", kMostMessages);
  if (!messages && !fields.failed()) fields.refuse("messages", "is missing");
  if (messages && messages->empty()) fields.refuse("messages", "needs at least one message");
  if (fields.failed()) return;
  for (size_t n = 0; n < messages->size(); ++n) {
    auto message = read_message((*messages)[n], fmt::format("messages[{}]", n));
    if (!message) return fields.refuse(std::move(message.error()));
    conversation.messages.push_back(std::move(*message));
  }
  read_tools(fields, conversation);
  read_template_kwargs(fields, conversation);
  if (const auto format = fields.text("reasoning_format")) {
    static constexpr std::array kFormats = {"none", "auto", "deepseek", "deepseek-legacy"};
    if (std::ranges::find(kFormats, *format) == kFormats.end())
      fields.refuse("reasoning_format", "must be none, auto or deepseek");
    conversation.split_thoughts = *format != "none";
  }
}

ApiResult<ChatPrompt> render(const engine::Engine& engine, const Conversation& conversation,
                             bool with_turns) {
  ChatPrompt prompt;
  auto tokens = engine::render_chat(engine, conversation.messages, conversation.options);
  if (!tokens) return refuse(to_api(tokens.error(), "messages"));
  prompt.tokens = std::move(*tokens);
  if (with_turns)
    prompt.turns =
        engine::turn_boundaries(engine, conversation.messages, conversation.options, prompt.tokens);
  const size_t tail = std::min<size_t>(prompt.tokens.size(), 4);
  std::string end = engine.tokenizer().decode(std::span(prompt.tokens).last(tail), false);
  end.resize(end.find_last_not_of(" \r\n\t") + 1);
  prompt.parser.thoughts = conversation.split_thoughts;
  prompt.parser.in_thought = end.ends_with("<think>");
  prompt.parser.calls = !conversation.options.tools.is_null();
  return prompt;
}

std::vector<text::Token> shown_tokens(const engine::Engine& engine) {
  std::vector<text::Token> shown;
  for (const char* mark : {"<think>", "</think>", "<tool_call>", "</tool_call>"})
    if (const text::Token token = engine.tokenizer().find_added(mark); token >= 0)
      shown.push_back(token);
  return shown;
}

}  // namespace sluice::server
