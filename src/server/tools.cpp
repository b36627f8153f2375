// SPDX-License-Identifier: Apache-2.0
// Routes that generate nothing.
#include "engine/description.h"
#include "server/service.h"

namespace sluice::server {
namespace {

// Answers with what `make` returns for the body.
template <typename Make>
void answer(const Call& call, Make make) {
  const auto run = [&]() -> ApiResult<Json> {
    SLUICE_API_ASSIGN(const Json body, parse_json(call.request.body));
    Fields fields(body);
    auto result = make(fields);
    SLUICE_API_TRY(fields.status());
    return result;
  };
  const ApiResult<Json> result = run();
  if (!result) call.service.metrics.refused(result.error().status);
  call.exchange->respond(result ? to_response(*result) : to_response(result.error()));
}

std::string template_of(const engine::Engine& engine) {
  const auto found = engine.chat_template();
  return found ? (*found)->source() : std::string();
}

// null where this machine was never measured.
Json speeds_of(const ServerOptions& options) {
  if (!options.speeds) return {};
  const auto json = [](const Speed& speed) -> Json {
    return {{"predicted", speed.predicted},
            {"measured", speed.measured > 0 ? Json(speed.measured) : Json()}};
  };
  const Speeds speeds = options.speeds();
  return {{"prompt", json(speeds.prompt)}, {"generation", json(speeds.generation)}};
}

}  // namespace

void health(const Call& call) {
  call.exchange->respond(to_response(Json{{"status", "ok"}}));
}

void models(const Call& call) {
  const engine::Engine& engine = call.service.engine;
  const model::Config& config = engine.model().config();
  const engine::ModelDescription description = engine::describe(engine.file());
  const Json model = {{"id", call.service.model},
                      {"object", "model"},
                      {"created", call.service.created},
                      {"owned_by", "sluice"},
                      {"meta",
                       {{"n_vocab", config.vocabulary},
                        {"n_ctx", call.service.limits.context},
                        {"n_ctx_train", config.trained_context},
                        {"n_embd", config.dim},
                        {"n_params", description.parameters},
                        {"size", description.bytes}}}};
  call.exchange->respond(to_response(Json{{"object", "list"}, {"data", Json::array({model})}}));
}

void props(const Call& call) {
  const Service& s = call.service;
  const engine::SamplingParams& p = s.options.sampling;
  const engine::MemoryPlan& plan = s.engine.plan();
  call.exchange->respond(to_response(Json{{"model_alias", s.model},
                                          {"total_slots", s.scheduler.slots()},
                                          {"default_generation_settings",
                                           {{"n_ctx", s.limits.context},
                                            {"params",
                                             {{"temperature", p.temperature},
                                              {"top_k", p.top_k},
                                              {"top_p", p.top_p},
                                              {"min_p", p.min_p},
                                              {"typical_p", p.typical_p},
                                              {"repeat_last_n", p.repeat_last_n},
                                              {"repeat_penalty", p.repeat_penalty},
                                              {"presence_penalty", p.presence_penalty},
                                              {"frequency_penalty", p.frequency_penalty},
                                              {"mirostat", p.mirostat},
                                              {"n_predict", s.options.most_tokens}}}}},
                                          {"chat_template", template_of(s.engine)},
                                          {"modalities", {{"vision", false}, {"audio", false}}},
                                          {"memory",
                                           {{"budget", plan.budget},
                                            {"weights", plan.weights},
                                            {"experts", plan.experts},
                                            {"experts_in_memory", plan.cache},
                                            {"contexts", plan.session},
                                            {"buffers", plan.buffers}}},
                                          {"tokens_per_second", speeds_of(s.options)},
                                          {"build_info", s.options.build}}));
}

void slots(const Call& call) {
  const Service& s = call.service;
  if (!s.options.slots)
    return call.exchange->respond(
        to_response(ApiError{501,
                             "this server does not show its slots: start it without --no-slots",
                             "",
                             "not_supported_error",
                             {}}));
  // Never what a text says.
  Json all = Json::array();
  const std::vector<engine::SlotStatus> status = s.scheduler.status();
  for (size_t n = 0; n < status.size(); ++n)
    all.push_back({{"id", n},
                   {"n_ctx", s.limits.context},
                   {"is_processing", status[n].busy},
                   {"n_past", status[n].held_tokens},
                   {"n_prompt_tokens", status[n].prompt_tokens},
                   {"n_decoded", status[n].generated_tokens},
                   {"n_predict", status[n].max_tokens}});
  call.exchange->respond(to_response(all));
}

void metrics(const Call& call) {
  const Service& s = call.service;
  if (!s.options.metrics)
    return call.exchange->respond(
        to_response(ApiError{501,
                             "this server shows no metrics: start it with --metrics",
                             "",
                             "not_supported_error",
                             {}}));
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body =
      s.metrics.text(s.engine, s.scheduler,
                     s.options.speeds ? std::optional<Speeds>(s.options.speeds()) : std::nullopt);
  call.exchange->respond(std::move(response));
}

void tokenize(const Call& call) {
  answer(call, [&](Fields& fields) -> Json {
    const auto content = fields.text("content");
    if (!content && !fields.failed()) fields.refuse("content", "is missing");
    fields.boolean("add_special");  // these vocabularies have none to add
    const bool parse = fields.boolean("parse_special").value_or(true);
    const bool pieces = fields.boolean("with_pieces").value_or(false);
    if (fields.failed()) return {};
    const text::Tokenizer& tokenizer = call.service.engine.tokenizer();
    Json tokens = Json::array();
    for (const text::Token token : tokenizer.encode(
             *content, parse ? text::SpecialTokens::kParse : text::SpecialTokens::kText)) {
      if (!pieces) {
        tokens.push_back(token);
        continue;
      }
      // Half a character cannot be a JSON text.
      const std::string_view bytes = tokenizer.bytes(token);
      text::Utf8Stream utf8;
      Json piece = std::string(bytes);
      if (utf8.push(bytes) + utf8.finish() != bytes) {
        piece = Json::array();
        for (const char byte : bytes) piece.push_back(static_cast<unsigned char>(byte));
      }
      tokens.push_back({{"id", token}, {"piece", std::move(piece)}});
    }
    return {{"tokens", std::move(tokens)}};
  });
}

void detokenize(const Call& call) {
  answer(call, [&](Fields& fields) -> Json {
    const Json* tokens = fields.array("tokens", size_t{1} << 22);
    if (!tokens && !fields.failed()) fields.refuse("tokens", "is missing");
    if (fields.failed()) return {};
    std::string text;
    const int64_t vocabulary = call.service.limits.vocabulary;
    for (size_t n = 0; n < tokens->size(); ++n) {
      const auto token = as_integer((*tokens)[n], 0, vocabulary - 1);
      if (!token) {
        fields.refuse(fmt::format("tokens[{}]", n),
                      fmt::format("must be a token id from 0 to {}", vocabulary - 1));
        return {};
      }
      text += call.service.engine.tokenizer().bytes(static_cast<text::Token>(*token));
    }
    return {{"content", text}};
  });
}

void apply_template(const Call& call) {
  answer(call, [&](Fields& fields) -> Json {
    Conversation conversation;
    conversation.options.kwargs = call.service.options.template_kwargs;
    read_conversation(fields, conversation);
    if (fields.failed()) return {};
    auto prompt = render(call.service.engine, conversation, false);
    if (!prompt) {
      fields.refuse(std::move(prompt.error()));
      return {};
    }
    return {{"prompt", call.service.engine.tokenizer().decode(prompt->tokens, false)}};
  });
}

}  // namespace sluice::server
