// SPDX-License-Identifier: Apache-2.0
// Continuations of plain text: OpenAI's completions and llama-server's own.
#include "server/run.h"

namespace sluice::server {
namespace {

constexpr size_t kMostPrompts = 64;

// A text, or an array of token ids, or one of both mixed.
ApiResult<ChatPrompt> read_prompt(const Call& call, const Json& value, const std::string& path) {
  const engine::Engine& engine = call.service.engine;
  ChatPrompt prompt;
  prompt.parser.thoughts = false;
  const auto add_text = [&](const Json& text) {
    const auto tokens =
        engine.tokenizer().encode(text.get_ref<const std::string&>(), text::SpecialTokens::kParse);
    prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
  };
  if (value.is_string()) {
    add_text(value);
  } else if (value.is_array()) {
    for (size_t n = 0; n < value.size(); ++n) {
      if (value[n].is_string()) {
        add_text(value[n]);
        continue;
      }
      const auto token = as_integer(value[n], 0, call.service.limits.vocabulary - 1);
      if (!token)
        return refuse(fmt::format("{}[{}]", path, n),
                      fmt::format("must be a token id from 0 to {} or a string",
                                  call.service.limits.vocabulary - 1));
      prompt.tokens.push_back(static_cast<text::Token>(*token));
    }
  } else {
    return refuse(path, fmt::format("must be a string or an array, not {}", kind_of(value)));
  }
  if (prompt.tokens.empty()) return refuse(path, "is empty: give at least one character");
  return prompt;
}

// Several prompts: an array that holds no token ids.
ApiResult<std::vector<ChatPrompt>> read_prompts(const Call& call, Fields& fields) {
  const Json* value = fields.get("prompt");
  if (!value) {
    fields.refuse("prompt", "is missing");
    return tl::unexpected(fields.status().error());
  }
  std::vector<ChatPrompt> prompts;
  bool several = value->is_array() && !value->empty();
  if (several)
    for (const Json& entry : *value) several &= entry.is_string() || entry.is_array();
  if (!several) {
    SLUICE_API_ASSIGN(ChatPrompt prompt, read_prompt(call, *value, "prompt"));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  if (value->size() > kMostPrompts)
    return refuse("prompt", fmt::format("has {} entries, at most {} are allowed", value->size(),
                                        kMostPrompts));
  for (size_t n = 0; n < value->size(); ++n) {
    SLUICE_API_ASSIGN(ChatPrompt prompt,
                      read_prompt(call, (*value)[n], fmt::format("prompt[{}]", n)));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

struct TextChoice {
  std::string text;
  std::vector<engine::TokenReport> tokens;
  const char* reason = "stop";
};

class CompletionRun final : public Run {
 public:
  CompletionRun(const Call& call, const Parameters& parameters, std::vector<std::string> echo)
      : Run(call, parameters), echo_(std::move(echo)) {}

 private:
  Json logprobs(const std::vector<engine::TokenReport>& tokens) const {
    if (parameters_.chances < 0) return {};
    Json result = {{"content", Json::array()},
                   {"tokens", Json::array()},
                   {"token_logprobs", Json::array()},
                   {"top_logprobs", Json::array()}};
    for (const engine::TokenReport& token : tokens) {
      const Json entry = logprob_entry(service_.engine, token);
      result["tokens"].push_back(entry["token"]);
      result["token_logprobs"].push_back(entry["logprob"]);
      Json top = Json::object();
      for (const Json& other : entry["top_logprobs"])
        top[dump(other["token"]).substr(1, dump(other["token"]).size() - 2)] = other["logprob"];
      result["top_logprobs"].push_back(std::move(top));
      result["content"].push_back(entry);
    }
    return result;
  }

  Json body(Json choices) const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", service_.model},
            {"system_fingerprint", service_.options.build},
            {"choices", std::move(choices)}};
  }

  Json chunk(size_t n, const std::string& text, const std::vector<engine::TokenReport>& tokens,
             const Json& reason) const {
    Json chunk = body(Json::array({Json{
        {"text", text}, {"index", n}, {"logprobs", logprobs(tokens)}, {"finish_reason", reason}}}));
    if (parameters_.include_usage) chunk["usage"] = nullptr;
    return chunk;
  }

  void send(size_t n, const std::string& text, const std::vector<engine::TokenReport>& tokens,
            const Json& reason, const Json& more = {}) {
    Json last = chunk(n, text, tokens, reason);
    if (more.is_object()) last.update(more);
    exchange_->write(event(last));
  }

  void begin() override {
    for (size_t n = 0; n < echo_.size() * static_cast<size_t>(parameters_.answers); ++n)
      if (const std::string& text = echo_of(n); !text.empty()) send(n, text, {}, {});
  }
  const std::string& echo_of(size_t n) const {
    static const std::string kNothing;
    return echo_.empty() ? kNothing : echo_[n / static_cast<size_t>(parameters_.answers)];
  }

  void update(size_t n, const engine::Update& update) override {
    if (parameters_.stream) {
      if (!update.tokens.empty()) return send(n, update.text, update.tokens, {});
      while (events_.size() <= n)
        events_.emplace_back(event(chunk(events_.size(), "", {}, {})), "text");
      return exchange_->write(events_[n].with(update.text));
    }
    if (choices_.size() <= n) choices_.resize(n + 1);
    TextChoice& c = choices_[n];
    c.text += update.text;
    c.tokens.insert(c.tokens.end(), update.tokens.begin(), update.tokens.end());
  }

  void end(size_t n, const engine::Outcome& outcome) override {
    timings_ = timings(outcome.figures);
    if (parameters_.stream)
      return send(n, "", {}, finish_reason(outcome.reason), {{"timings", timings_}});
    if (choices_.size() <= n) choices_.resize(n + 1);
    choices_[n].reason = finish_reason(outcome.reason);
  }

  void finish() override {
    const int64_t prompt = prompt_tokens_ / parameters_.answers;
    const Json usage = {
        {"completion_tokens", generated_tokens_},
        {"prompt_tokens", prompt},
        {"total_tokens", prompt + generated_tokens_},
        {"prompt_tokens_details", {{"cached_tokens", std::min(prompt, reused_tokens_)}}}};
    if (parameters_.stream) {
      if (parameters_.include_usage) {
        Json chunk = body(Json::array());
        chunk["usage"] = usage;
        exchange_->write(event(chunk));
      }
      exchange_->write("data: [DONE]\n\n");
      return exchange_->end();
    }
    Json choices = Json::array();
    for (size_t n = 0; n < choices_.size(); ++n)
      choices.push_back({{"text", echo_of(n) + choices_[n].text},
                         {"index", n},
                         {"logprobs", logprobs(choices_[n].tokens)},
                         {"finish_reason", choices_[n].reason}});
    Json answer = body(std::move(choices));
    answer["usage"] = usage;
    answer["timings"] = timings_;
    exchange_->respond(to_response(answer));
  }

  const std::string id_ = make_id("cmpl-");
  const std::vector<std::string> echo_;  // of each prompt; empty: none is wanted
  std::vector<TextChoice> choices_;
  std::vector<TextEvent> events_;
  Json timings_;
};

// llama-server's: a flat object, or a stream of such objects.
class NativeRun final : public Run {
 public:
  using Run::Run;

 private:
  Json chances(const std::vector<engine::TokenReport>& tokens) const {
    Json all = Json::array();
    for (const engine::TokenReport& token : tokens)
      all.push_back(logprob_entry(service_.engine, token));
    return all;
  }

  void begin() override {}

  void update(size_t n, const engine::Update& update) override {
    if (!parameters_.stream) {
      text_ += update.text;
      tokens_.insert(tokens_.end(), update.tokens.begin(), update.tokens.end());
      return;
    }
    Json chunk = {{"index", n}, {"content", update.text}, {"stop", false}};
    if (parameters_.chances >= 0) chunk["completion_probabilities"] = chances(update.tokens);
    exchange_->write(event(chunk));
  }

  void end(size_t n, const engine::Outcome& outcome) override {
    using engine::FinishReason;
    const FinishReason reason = outcome.reason;
    const bool word = reason == FinishReason::kStopString;
    const bool full = reason == FinishReason::kLength || reason == FinishReason::kContext;
    const engine::RequestFigures& f = outcome.figures;
    last_ = {{"index", n},
             {"content", text_},
             {"stop", true},
             {"model", service_.model},
             {"tokens_predicted", f.generated_tokens},
             {"tokens_evaluated", f.prompt_tokens},
             {"tokens_cached", f.prompt_tokens + f.generated_tokens},
             {"truncated", reason == FinishReason::kContext},
             {"stop_type", word   ? "word"
                           : full ? "limit"
                                  : "eos"},
             {"stopping_word", outcome.stop},
             {"timings", timings(f)}};
    if (parameters_.chances >= 0) last_["completion_probabilities"] = chances(tokens_);
  }

  void finish() override {
    if (!parameters_.stream) return exchange_->respond(to_response(last_));
    exchange_->write(event(last_));
    exchange_->end();
  }

  std::string text_;
  std::vector<engine::TokenReport> tokens_;
  Json last_;
};

ApiResult<void> answer(const Call& call, Dialect dialect) {
  SLUICE_API_ASSIGN(const Json body, parse_json(call.request.body));
  Fields fields(body);
  refuse_unsupported(fields, dialect);
  Parameters parameters;
  parameters.sampling = call.service.options.sampling;
  read_parameters(fields, call.service.limits, call.service.engine, dialect, parameters);
  for (const char* name : {"suffix", "input_prefix", "input_suffix"})
    if (const auto text = fields.text(name); text && !text->empty())
      fields.refuse(name, "is not supported: put it into the prompt");
  SLUICE_API_TRY(fields.status());
  SLUICE_API_ASSIGN(std::vector<ChatPrompt> prompts, read_prompts(call, fields));
  if (dialect == Dialect::kNative) {
    if (prompts.size() > 1 || parameters.answers > 1)
      return refuse(prompts.size() > 1 ? "prompt" : "n",
                    "one answer at a time here: /v1/completions gives several");
    std::make_shared<NativeRun>(call, parameters)->start(std::move(prompts));
    return {};
  }
  if (fields.integer("best_of", 1, 1); fields.failed())
    return tl::unexpected(fields.status().error());
  std::vector<std::string> echo;
  if (fields.boolean("echo").value_or(false))
    for (const ChatPrompt& prompt : prompts)
      echo.push_back(call.service.engine.tokenizer().decode(prompt.tokens, false));
  SLUICE_API_TRY(fields.status());
  std::make_shared<CompletionRun>(call, parameters, std::move(echo))->start(std::move(prompts));
  return {};
}

void run(const Call& call, Dialect dialect) {
  if (const auto done = answer(call, dialect); !done) {
    call.service.metrics.refused(done.error().status);
    call.exchange->respond(to_response(done.error()));
  }
}

}  // namespace

void completions(const Call& call) {
  run(call, Dialect::kCompletions);
}

void native_completion(const Call& call) {
  run(call, Dialect::kNative);
}

}  // namespace sluice::server
