// SPDX-License-Identifier: Apache-2.0
// OpenAI's responses, without a memory between requests: the input is the whole conversation.
#include "server/run.h"

namespace sluice::server {
namespace {

constexpr size_t kMostItems = 16384;

ApiResult<void> read_item(const Json& source, const std::string& path, Json& messages) {
  Fields item(source, path);
  const std::string type = item.text("type").value_or("message");
  SLUICE_API_TRY(item.status());
  const auto need = [&](const char* name) {
    const auto text = item.text(name);
    if (!text && !item.failed()) item.refuse(name, "is missing");
    return text.value_or("");
  };
  if (type == "message") {
    std::string role = need("role");
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant")
      item.refuse("role", "must be system, developer, user or assistant");
    const Json* content = item.get("content");
    if (!content && !item.failed()) item.refuse("content", "is missing");
    SLUICE_API_TRY(item.status());
    SLUICE_API_ASSIGN(const std::string text, read_content(*content, path + ".content"));
    messages.push_back({{"role", role}, {"content", text}});
  } else if (type == "function_call") {
    const std::string arguments = need("arguments");
    auto parsed = parse_json(arguments);
    const Json call = {
        {"id", need("call_id")},
        {"type", "function"},
        {"function",
         {{"name", need("name")},
          {"arguments", parsed && parsed->is_object() ? *parsed : Json(arguments)}}}};
    // Calls that follow one another are one message's.
    if (messages.empty() || messages.back()["role"] != "assistant")
      messages.push_back({{"role", "assistant"}, {"content", ""}});
    if (!messages.back().contains("tool_calls")) messages.back()["tool_calls"] = Json::array();
    messages.back()["tool_calls"].push_back(call);
  } else if (type == "function_call_output") {
    const Json* output = item.get("output");
    if (!output && !item.failed()) item.refuse("output", "is missing");
    const std::string id = need("call_id");
    SLUICE_API_TRY(item.status());
    SLUICE_API_ASSIGN(const std::string text, read_content(*output, path + ".output"));
    messages.push_back({{"role", "tool"}, {"content", text}, {"tool_call_id", id}});
  } else if (type != "reasoning") {
    item.refuse("type", fmt::format("\"{}\" is not supported", type));
  }
  return item.status();
}

void read_response_tools(Fields& fields, Conversation& conversation) {
  const Json* tools = fields.array("tools", 1024);
  if (!tools || tools->empty()) return;
  Json converted = Json::array();
  for (size_t n = 0; n < tools->size(); ++n) {
    Fields tool((*tools)[n], fmt::format("tools[{}]", n));
    const std::string type = tool.text("type").value_or("");
    if (type != "function")
      tool.refuse("type", fmt::format("\"{}\" is not supported: only \"function\" is", type));
    const auto name = tool.text("name");
    if (!tool.failed() && (!name || name->empty() || name->size() > 256))
      tool.refuse("name", "must be a text of 1 to 256 bytes");
    const Json* schema = tool.object("parameters");
    const std::string description = tool.text("description").value_or("");
    if (auto status = tool.status(); !status) return fields.refuse(std::move(status.error()));
    converted.push_back({{"type", "function"},
                         {"function",
                          {{"name", *name},
                           {"description", description},
                           {"parameters", schema ? *schema : Json::object()}}}});
  }
  const Json* choice = fields.get("tool_choice");
  if (!choice || *choice != "none") conversation.options.tools = std::move(converted);
}

void read_input(Fields& fields, Conversation& conversation) {
  if (const auto text = fields.text("instructions"); text && !text->empty())
    conversation.messages.push_back({{"role", "system"}, {"content", *text}});
  const Json* input = fields.get("input");
  if (!input) {
    if (!fields.failed()) fields.refuse("input", "is missing");
    return;
  }
  if (input->is_string()) {
    conversation.messages.push_back({{"role", "user"}, {"content", *input}});
  } else if (const Json* items = fields.array("input", kMostItems)) {
    if (items->empty()) return fields.refuse("input", "needs at least one message");
    for (size_t n = 0; n < items->size(); ++n)
      if (auto done = read_item((*items)[n], fmt::format("input[{}]", n), conversation.messages);
          !done)
        return fields.refuse(std::move(done.error()));
  }
  if (!fields.failed() && conversation.messages.empty())
    fields.refuse("input", "needs at least one message");
  read_response_tools(fields, conversation);
  Json& kwargs = conversation.options.kwargs;
  if (!kwargs.is_object()) kwargs = Json::object();
  if (const Json* reasoning = fields.object("reasoning"))
    if (reasoning->value("effort", Json()) == "none") kwargs["enable_thinking"] = false;
}

class ResponseRun final : public Run {
 public:
  using Run::Run;

 private:
  enum class Open { kNothing, kThought, kText, kCall };

  void tell(const char* type, Json more) {
    if (!parameters_.stream) return;
    Json data = {{"type", type}, {"sequence_number", sequence_++}};
    data.update(more);
    exchange_->write(event(type, data));
  }

  Json response(const char* status) const {
    return {{"id", id_},
            {"object", "response"},
            {"created_at", created_},
            {"status", status},
            {"error", nullptr},
            {"incomplete_details", nullptr},
            {"model", service_.model},
            {"output", output_},
            {"parallel_tool_calls", true},
            {"tool_choice", "auto"},
            {"tools", Json::array()},
            {"temperature", parameters_.sampling.temperature},
            {"top_p", parameters_.sampling.top_p},
            {"metadata", Json::object()},
            {"usage", nullptr}};
  }

  void begin() override {
    tell("response.created", {{"response", response("in_progress")}});
    tell("response.in_progress", {{"response", response("in_progress")}});
  }

  Json place(bool with_part = true) const {
    Json at = {{"item_id", output_.back()["id"]}, {"output_index", output_.size() - 1}};
    if (with_part) at["content_index"] = 0;
    return at;
  }
  static Json with(Json base, const Json& more) {
    base.update(more);
    return base;
  }

  void close() {
    if (open_ == Open::kNothing) return;
    Json& item = output_.back();
    item["status"] = "completed";
    if (open_ == Open::kText) {
      const Json& part = item["content"][0];
      tell("response.output_text.done",
           with(place(), {{"text", part["text"]}, {"logprobs", Json::array()}}));
      tell("response.content_part.done", with(place(), {{"part", part}}));
    } else if (open_ == Open::kThought) {
      tell("response.reasoning_text.done", with(place(), {{"text", item["content"][0]["text"]}}));
    } else {
      tell("response.function_call_arguments.done",
           with(place(false), {{"arguments", item["arguments"]}}));
    }
    tell("response.output_item.done", {{"output_index", output_.size() - 1}, {"item", item}});
    open_ = Open::kNothing;
  }

  void open(Open what, Json item) {
    close();
    open_ = what;
    item["status"] = "in_progress";
    output_.push_back(item);
    Json shown = item;
    if (what == Open::kText || what == Open::kThought) shown["content"] = Json::array();
    tell("response.output_item.added", {{"output_index", output_.size() - 1}, {"item", shown}});
    if (what == Open::kText)
      tell("response.content_part.added", with(place(), {{"part", item["content"][0]}}));
  }

  void take(const std::vector<Piece>& pieces) {
    for (const Piece& piece : pieces) {
      switch (piece.kind) {
        case Piece::Kind::kThought:
          if (open_ != Open::kThought)
            open(Open::kThought,
                 {{"type", "reasoning"},
                  {"id", make_id("rs_", 24)},
                  {"summary", Json::array()},
                  {"content", Json::array({Json{{"type", "reasoning_text"}, {"text", ""}}})}});
          output_.back()["content"][0]["text"].get_ref<std::string&>() += piece.text;
          tell("response.reasoning_text.delta", with(place(), {{"delta", piece.text}}));
          break;
        case Piece::Kind::kText:
          if (open_ != Open::kText)
            open(Open::kText, {{"type", "message"},
                               {"id", make_id("msg_", 24)},
                               {"role", "assistant"},
                               {"content", Json::array({Json{{"type", "output_text"},
                                                             {"text", ""},
                                                             {"annotations", Json::array()},
                                                             {"logprobs", Json::array()}}})}});
          output_.back()["content"][0]["text"].get_ref<std::string&>() += piece.text;
          tell("response.output_text.delta",
               with(place(), {{"delta", piece.text}, {"logprobs", Json::array()}}));
          break;
        case Piece::Kind::kCall:
          open(Open::kCall, {{"type", "function_call"},
                             {"id", make_id("fc_", 24)},
                             {"call_id", make_id("call_", 24)},
                             {"name", piece.text},
                             {"arguments", ""}});
          break;
        case Piece::Kind::kArguments:
          output_.back()["arguments"].get_ref<std::string&>() += piece.text;
          tell("response.function_call_arguments.delta",
               with(place(false), {{"delta", piece.text}}));
          break;
        case Piece::Kind::kCallEnd:
          close();
          break;
      }
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
    close();
    const engine::RequestFigures& f = outcome.figures;
    const bool cut = std::string_view(finish_reason(outcome.reason)) == "length";
    Json body = response(cut ? "incomplete" : "completed");
    if (cut) body["incomplete_details"] = {{"reason", "max_output_tokens"}};
    body["usage"] = {{"input_tokens", f.prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", f.reused_tokens}}},
                     {"output_tokens", f.generated_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", 0}}},
                     {"total_tokens", f.prompt_tokens + f.generated_tokens}};
    body["timings"] = timings(f);
    if (!parameters_.stream) return exchange_->respond(to_response(body));
    tell(cut ? "response.incomplete" : "response.completed", {{"response", body}});
    exchange_->end();
  }

  void finish() override {}

  std::string error_event(const ApiError& error) override {
    return event("error", {{"type", "error"},
                           {"sequence_number", sequence_++},
                           {"code", error.type},
                           {"message", error.message},
                           {"param", nullptr}});
  }

  const std::string id_ = make_id("resp_", 32);
  std::optional<AnswerParser> parser_;
  Json output_ = Json::array();
  Open open_ = Open::kNothing;
  int64_t sequence_ = 0;
};

ApiResult<void> answer(const Call& call) {
  SLUICE_API_ASSIGN(const Json body, parse_json(call.request.body));
  Fields fields(body);
  refuse_unsupported(fields, Dialect::kResponses);
  Parameters parameters;
  parameters.sampling = call.service.options.sampling;
  read_parameters(fields, call.service.limits, call.service.engine, Dialect::kResponses,
                  parameters);
  Conversation conversation;
  conversation.options.kwargs = call.service.options.template_kwargs;
  read_input(fields, conversation);
  SLUICE_API_TRY(fields.status());
  SLUICE_API_ASSIGN(ChatPrompt prompt,
                    render(call.service.engine, conversation, call.service.with_turns));
  parameters.answers = 1;
  std::make_shared<ResponseRun>(call, parameters)->start({std::move(prompt)});
  return {};
}

}  // namespace

void responses(const Call& call) {
  if (const auto done = answer(call); !done) {
    call.service.metrics.refused(done.error().status);
    call.exchange->respond(to_response(done.error()));
  }
}

}  // namespace sluice::server
