// SPDX-License-Identifier: Apache-2.0
// OpenAI's chat completions.
#include <optional>

#include "server/run.h"

namespace sluice::server {
namespace {

class ChatRun final : public Run {
 public:
  using Run::Run;

 private:
  struct Choice {
    AnswerParser parser;
    std::string thought, text;
    bool begun = false;  // the first delta has been sent
    Json calls = Json::array();
    Json logprobs = Json::array();
    Json new_logprobs = Json::array();  // since the last delta
    const char* reason = "stop";
    std::optional<TextEvent> thought_event, text_event;
    engine::RequestFigures figures;  // so far, with timings_per_token
  };

  void begin() override {}

  Choice& choice(size_t n) {
    while (choices_.size() <= n)
      choices_.push_back(Choice{AnswerParser(parsers_[choices_.size()])});
    return choices_[n];
  }

  Json head(const char* object) const {
    return {{"id", id_},
            {"object", object},
            {"created", created_},
            {"model", service_.model},
            {"system_fingerprint", service_.options.build}};
  }

  Json chunk(size_t n, Json delta, const Json& reason = {}) {
    Choice& c = choice(n);
    Json chunk = head("chat.completion.chunk");
    Json logprobs;
    if (!c.new_logprobs.empty())
      logprobs = {{"content", std::exchange(c.new_logprobs, Json::array())}};
    Json choice = {{"index", n},
                   {"delta", std::move(delta)},
                   {"logprobs", std::move(logprobs)},
                   {"finish_reason", reason}};
    chunk["choices"] = Json::array({std::move(choice)});
    if (parameters_.include_usage) chunk["usage"] = nullptr;
    return chunk;
  }

  void send(size_t n, Json delta, const Json& reason = {}, const Json& more = {}) {
    Choice& c = choice(n);
    if (!std::exchange(c.begun, true)) {
      Json logprobs = std::exchange(c.new_logprobs, Json::array());  // of the text that follows
      exchange_->write(event(chunk(n, {{"role", "assistant"}, {"content", nullptr}})));
      c.new_logprobs = std::move(logprobs);
    }
    Json last = chunk(n, std::move(delta), reason);
    if (more.is_object()) last.update(more);
    exchange_->write(event(last));
  }

  void send_text(size_t n, const char* name, const std::string& text,
                 std::optional<TextEvent>& made) {
    const Choice& c = choice(n);
    if (parameters_.timings_per_token)
      return send(n, {{name, text}}, {}, {{"timings", timings(c.figures)}});
    if (!c.begun || !c.new_logprobs.empty()) return send(n, {{name, text}});
    if (!made) made.emplace(event(chunk(n, {{name, ""}})), name);
    exchange_->write(made->with(text));
  }

  void take(size_t n, const std::vector<Piece>& pieces) {
    Choice& c = choice(n);
    for (const Piece& piece : pieces) {
      switch (piece.kind) {
        case Piece::Kind::kThought:
          c.thought += piece.text;
          if (parameters_.stream) send_text(n, "reasoning_content", piece.text, c.thought_event);
          break;
        case Piece::Kind::kText:
          c.text += piece.text;
          if (parameters_.stream) send_text(n, "content", piece.text, c.text_event);
          break;
        case Piece::Kind::kCall: {
          const Json call = {{"id", make_id("call_", 24)},
                             {"type", "function"},
                             {"function", {{"name", piece.text}, {"arguments", ""}}}};
          if (parameters_.stream) {
            Json delta = {{"index", c.calls.size()}};
            delta.update(call);
            send(n, {{"tool_calls", Json::array({std::move(delta)})}});
          }
          c.calls.push_back(call);
          break;
        }
        case Piece::Kind::kArguments: {
          auto& arguments = c.calls.back()["function"]["arguments"].get_ref<std::string&>();
          arguments += piece.text;
          const Json delta = {{"index", c.calls.size() - 1},
                              {"function", {{"arguments", piece.text}}}};
          if (parameters_.stream) send(n, {{"tool_calls", Json::array({delta})}});
          break;
        }
        case Piece::Kind::kCallEnd:
          break;
      }
    }
  }

  void update(size_t n, const engine::Update& update) override {
    Choice& c = choice(n);
    c.figures = update.figures;
    for (const engine::TokenReport& token : update.tokens) {
      c.new_logprobs.push_back(logprob_entry(service_.engine, token));
      if (!parameters_.stream) c.logprobs.push_back(c.new_logprobs.back());
    }
    std::vector<Piece> pieces;
    c.parser.push(update.text, pieces);
    take(n, pieces);
  }

  void end(size_t n, const engine::Outcome& outcome) override {
    Choice& c = choice(n);
    std::vector<Piece> pieces;
    c.parser.finish(pieces);
    take(n, pieces);
    c.reason = finish_reason(outcome.reason);
    if (!c.calls.empty() && outcome.reason == engine::FinishReason::kEndOfGeneration)
      c.reason = "tool_calls";
    thought_tokens_ += static_cast<int64_t>(
        service_.engine.tokenizer().encode(c.thought, text::SpecialTokens::kText).size());
    timings_ = timings(outcome.figures);
    if (parameters_.stream) send(n, Json::object(), c.reason, {{"timings", timings_}});
  }

  Json usage() const {
    // Of several answers the prompt counts once.
    const int64_t prompt = prompt_tokens_ / parameters_.answers;
    const int64_t cached =
        std::max<int64_t>(0, reused_tokens_ - (parameters_.answers - 1) * prompt);
    return {{"completion_tokens", generated_tokens_},
            {"prompt_tokens", prompt},
            {"total_tokens", prompt + generated_tokens_},
            {"prompt_tokens_details", {{"cached_tokens", cached}}},
            {"completion_tokens_details", {{"reasoning_tokens", thought_tokens_}}}};
  }

  void finish() override {
    if (parameters_.stream) {
      if (parameters_.include_usage) {
        Json chunk = head("chat.completion.chunk");
        chunk["choices"] = Json::array();
        chunk["usage"] = usage();
        exchange_->write(event(chunk));
      }
      exchange_->write("data: [DONE]\n\n");
      return exchange_->end();
    }
    Json body = head("chat.completion");
    body["choices"] = Json::array();
    for (size_t n = 0; n < choices_.size(); ++n) {
      Choice& c = choices_[n];
      Json message = {{"role", "assistant"},
                      {"content", c.text.empty() && !c.calls.empty() ? Json() : Json(c.text)}};
      if (!c.thought.empty()) message["reasoning_content"] = c.thought;
      if (!c.calls.empty()) message["tool_calls"] = c.calls;
      body["choices"].push_back(
          {{"index", n},
           {"message", std::move(message)},
           {"logprobs", parameters_.chances >= 0 ? Json{{"content", c.logprobs}} : Json()},
           {"finish_reason", c.reason}});
    }
    body["usage"] = usage();
    body["timings"] = timings_;
    exchange_->respond(to_response(body));
  }

  const std::string id_ = make_id("chatcmpl-");
  std::vector<Choice> choices_;
  int64_t thought_tokens_ = 0;
  Json timings_;
};

ApiResult<void> answer(const Call& call) {
  SLUICE_API_ASSIGN(const Json body, parse_json(call.request.body));
  Fields fields(body);
  refuse_unsupported(fields, Dialect::kChat);
  Parameters parameters;
  parameters.sampling = call.service.options.sampling;
  read_parameters(fields, call.service.limits, call.service.engine, Dialect::kChat, parameters);
  Conversation conversation;
  conversation.options.kwargs = call.service.options.template_kwargs;
  conversation.split_thoughts = call.service.options.split_thoughts;
  read_conversation(fields, conversation);
  SLUICE_API_TRY(fields.status());
  SLUICE_API_ASSIGN(ChatPrompt prompt,
                    render(call.service.engine, conversation, call.service.with_turns));
  std::make_shared<ChatRun>(call, parameters)->start({std::move(prompt)});
  return {};
}

}  // namespace

void chat_completions(const Call& call) {
  if (const auto done = answer(call); !done) {
    call.service.metrics.refused(done.error().status);
    call.exchange->respond(to_response(done.error()));
  }
}

}  // namespace sluice::server
