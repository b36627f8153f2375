// SPDX-License-Identifier: Apache-2.0
// Anthropic's messages.
#include "server/run.h"

namespace sluice::server {
namespace {

constexpr size_t kMostMessages = 16384;
constexpr size_t kMostBlocks = 4096;
constexpr size_t kMostTools = 1024;

// One message becomes several of the template's: results of tools are messages of their own.
ApiResult<void> read_blocks(const Json& content, const std::string& role, const std::string& path,
                            Json& messages) {
  if (content.is_string()) {
    messages.push_back({{"role", role}, {"content", content}});
    return {};
  }
  if (!content.is_array())
    return refuse(path,
                  fmt::format("must be a string or an array of blocks, not {}", kind_of(content)));
  if (content.size() > kMostBlocks)
    return refuse(
        path, fmt::format("has {} blocks, at most {} are allowed", content.size(), kMostBlocks));
  Json message = {{"role", role}, {"content", ""}};
  bool any = false;
  for (size_t n = 0; n < content.size(); ++n) {
    Fields block(content[n], fmt::format("{}[{}]", path, n));
    const std::string type = block.text("type").value_or("");
    SLUICE_API_TRY(block.status());
    const auto need = [&](const char* name) {
      const auto text = block.text(name);
      if (!text && !block.failed()) block.refuse(name, "is missing");
      return text.value_or("");
    };
    if (type == "text") {
      auto& text = message["content"].get_ref<std::string&>();
      if (!text.empty()) text += '\n';
      text += need("text");
      any = true;
    } else if (type == "thinking" && role == "assistant") {
      message["reasoning_content"] = need("thinking");
      any = true;
    } else if (type == "redacted_thinking") {
      continue;
    } else if (type == "tool_use" && role == "assistant") {
      const Json* input = block.object("input");
      if (!message.contains("tool_calls")) message["tool_calls"] = Json::array();
      message["tool_calls"].push_back(
          {{"id", need("id")},
           {"type", "function"},
           {"function", {{"name", need("name")}, {"arguments", input ? *input : Json::object()}}}});
      any = true;
    } else if (type == "tool_result" && role == "user") {
      const std::string id = need("tool_use_id");
      std::string text;
      if (const Json* result = block.get("content")) {
        SLUICE_API_ASSIGN(text, read_content(*result, block.path("content")));
      }
      messages.push_back({{"role", "tool"}, {"content", text}, {"tool_call_id", id}});
    } else {
      block.refuse("type",
                   fmt::format("\"{}\" is not supported in a message of \"{}\"", type, role));
    }
    SLUICE_API_TRY(block.status());
  }
  if (any || content.empty()) messages.push_back(std::move(message));
  return {};
}

void read_anthropic_tools(Fields& fields, Conversation& conversation) {
  const Json* tools = fields.array("tools", kMostTools);
  if (!tools || tools->empty()) return;
  Json converted = Json::array();
  for (size_t n = 0; n < tools->size(); ++n) {
    Fields tool((*tools)[n], fmt::format("tools[{}]", n));
    const auto name = tool.text("name");
    if (!tool.failed() && (!name || name->empty() || name->size() > 256))
      tool.refuse("name", "must be a text of 1 to 256 bytes");
    const auto type = tool.text("type");
    if (type && *type != "custom")
      tool.refuse("type", fmt::format("\"{}\" is not supported: only \"custom\" is", *type));
    const Json* schema = tool.object("input_schema");
    const std::string description = tool.text("description").value_or("");
    if (auto status = tool.status(); !status) return fields.refuse(std::move(status.error()));
    converted.push_back({{"type", "function"},
                         {"function",
                          {{"name", *name},
                           {"description", description},
                           {"parameters", schema ? *schema : Json::object()}}}});
  }
  if (const Json* choice = fields.get("tool_choice"))
    if (choice->is_object() && choice->value("type", Json()) == "none") return;
  conversation.options.tools = std::move(converted);
}

void read_anthropic(Fields& fields, Conversation& conversation) {
  if (const Json* system = fields.get("system")) {
    auto text = read_content(*system, "system");
    if (!text) return fields.refuse(std::move(text.error()));
    if (!text->empty()) conversation.messages.push_back({{"role", "system"}, {"content", *text}});
  }
  const Json* messages = fields.array("messages", kMostMessages);
  if (!messages && !fields.failed()) fields.refuse("messages", "is missing");
  if (messages && messages->empty()) fields.refuse("messages", "needs at least one message");
  if (fields.failed()) return;
  for (size_t n = 0; n < messages->size(); ++n) {
    const std::string path = fmt::format("messages[{}]", n);
    Fields message((*messages)[n], path);
    const std::string role = message.text("role").value_or("");
    if (role != "user" && role != "assistant" && role != "system")
      message.refuse("role", "must be user or assistant");
    const Json* content = message.get("content");
    if (!content && !message.failed()) message.refuse("content", "is missing");
    if (auto status = message.status(); !status) return fields.refuse(std::move(status.error()));
    if (auto done = read_blocks(*content, role, path + ".content", conversation.messages); !done)
      return fields.refuse(std::move(done.error()));
  }
  read_anthropic_tools(fields, conversation);
  Json& kwargs = conversation.options.kwargs;
  if (!kwargs.is_object()) kwargs = Json::object();
  if (const Json* thinking = fields.object("thinking"))
    kwargs["enable_thinking"] = thinking->value("type", Json()) != "disabled";
}

// Content blocks, told as they come.
class MessageRun final : public Run {
 public:
  using Run::Run;

 private:
  bool anthropic() const override { return true; }
  std::string ping() const override { return event("ping", {{"type", "ping"}}); }
  std::string error_event(const ApiError& error) override {
    return event("error", anthropic_error_body(error));
  }
  void tell(const char* type, Json more) {
    if (!parameters_.stream) return;
    Json data = {{"type", type}};
    if (more.is_object()) data.update(more);
    exchange_->write(event(type, data));
  }

  Json message() const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", service_.model},
            {"content", Json::array()},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr}};
  }

  void begin() override {
    Json start = message();
    // How much was in memory is known at the end.
    start["usage"] = {{"input_tokens", first_prompt_tokens_},
                      {"cache_creation_input_tokens", 0},
                      {"cache_read_input_tokens", 0},
                      {"output_tokens", 0}};
    tell("message_start", {{"message", start}});
  }

  void close_block() {
    if (!open_) return;
    open_ = false;
    Json& block = content_.back();
    if (block["type"] == "thinking")
      tell("content_block_delta", {{"index", content_.size() - 1},
                                   {"delta", {{"type", "signature_delta"}, {"signature", ""}}}});
    if (block["type"] == "tool_use") {
      auto input = parse_json(arguments_);
      block["input"] = input && input->is_object() ? *input : Json::object();
    }
    tell("content_block_stop", {{"index", content_.size() - 1}});
  }

  void open_block(Json block) {
    close_block();
    content_.push_back(block);
    open_ = true;
    arguments_.clear();
    tell("content_block_start", {{"index", content_.size() - 1}, {"content_block", block}});
  }

  void grow(const char* type, const char* member, const char* delta, const std::string& text) {
    if (!open_ || content_.back()["type"] != type) {
      Json block = {{"type", type}, {member, ""}};
      if (std::string_view(type) == "thinking") block["signature"] = "";
      open_block(std::move(block));
    }
    content_.back()[member].get_ref<std::string&>() += text;
    tell("content_block_delta",
         {{"index", content_.size() - 1}, {"delta", {{"type", delta}, {member, text}}}});
  }

  void take(const std::vector<Piece>& pieces) {
    for (const Piece& piece : pieces) switch (piece.kind) {
        case Piece::Kind::kThought:
          grow("thinking", "thinking", "thinking_delta", piece.text);
          break;
        case Piece::Kind::kText:
          grow("text", "text", "text_delta", piece.text);
          break;
        case Piece::Kind::kCall:
          called_ = true;
          open_block({{"type", "tool_use"},
                      {"id", make_id("toolu_", 24)},
                      {"name", piece.text},
                      {"input", Json::object()}});
          break;
        case Piece::Kind::kArguments:
          arguments_ += piece.text;
          tell("content_block_delta",
               {{"index", content_.size() - 1},
                {"delta", {{"type", "input_json_delta"}, {"partial_json", piece.text}}}});
          break;
        case Piece::Kind::kCallEnd:
          close_block();
          break;
      }
  }

  AnswerParser& parser() {
    if (!parser_) parser_.emplace(parsers_[0]);
    return *parser_;
  }

  void update(size_t, const engine::Update& update) override {
    std::vector<Piece> pieces;
    parser().push(update.text, pieces);
    take(pieces);
  }

  void end(size_t, const engine::Outcome& outcome) override {
    std::vector<Piece> pieces;
    parser().finish(pieces);
    take(pieces);
    close_block();
    using engine::FinishReason;
    const char* reason = "end_turn";
    Json stop;
    if (outcome.reason == FinishReason::kStopString) {
      reason = "stop_sequence";
      stop = outcome.stop;
    } else if (outcome.reason == FinishReason::kLength) {
      reason = "max_tokens";
    } else if (outcome.reason == FinishReason::kContext) {
      reason = "model_context_window_exceeded";
    } else if (called_) {
      reason = "tool_use";
    }
    const engine::RequestFigures& f = outcome.figures;
    const Json usage = {{"input_tokens", f.prompt_tokens - f.reused_tokens},
                        {"cache_creation_input_tokens", 0},
                        {"cache_read_input_tokens", f.reused_tokens},
                        {"output_tokens", f.generated_tokens}};
    if (parameters_.stream) {
      tell("message_delta",
           {{"delta", {{"stop_reason", reason}, {"stop_sequence", stop}}}, {"usage", usage}});
      tell("message_stop", {});
      return exchange_->end();
    }
    Json body = message();
    body["content"] = content_;
    body["stop_reason"] = reason;
    body["stop_sequence"] = stop;
    body["usage"] = usage;
    body["timings"] = timings(f);
    exchange_->respond(to_response(body));
  }

  void finish() override {}

  const std::string id_ = make_id("msg_", 24);
  std::optional<AnswerParser> parser_;
  Json content_ = Json::array();
  std::string arguments_;
  bool open_ = false, called_ = false;
};

// Body to prompt, for both routes.
ApiResult<ChatPrompt> prepare(const Call& call, Parameters& parameters, bool counting) {
  SLUICE_API_ASSIGN(const Json body, parse_json(call.request.body));
  Fields fields(body);
  refuse_unsupported(fields, Dialect::kMessages);
  parameters.sampling = call.service.options.sampling;
  read_parameters(fields, call.service.limits, call.service.engine, Dialect::kMessages, parameters);
  if (!counting && !fields.has("max_tokens") && !fields.failed()) parameters.max_tokens = 4096;
  Conversation conversation;
  conversation.options.kwargs = call.service.options.template_kwargs;
  read_anthropic(fields, conversation);
  SLUICE_API_TRY(fields.status());
  return render(call.service.engine, conversation, call.service.with_turns && !counting);
}

void refused(const Call& call, const ApiError& error) {
  call.service.metrics.refused(error.status);
  call.exchange->respond(to_response(error, true));
}

}  // namespace

void messages(const Call& call) {
  Parameters parameters;
  auto prompt = prepare(call, parameters, false);
  if (!prompt) return refused(call, prompt.error());
  parameters.answers = 1;
  std::make_shared<MessageRun>(call, parameters)->start({std::move(*prompt)});
}

void count_message_tokens(const Call& call) {
  Parameters parameters;
  const auto prompt = prepare(call, parameters, true);
  if (!prompt) return refused(call, prompt.error());
  call.exchange->respond(to_response(Json{{"input_tokens", prompt->tokens.size()}}));
}

}  // namespace sluice::server
