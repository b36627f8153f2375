// SPDX-License-Identifier: Apache-2.0
#include "server/run.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace sluice::server {

Run::Run(const Call& call, const Parameters& parameters)
    : service_(call.service),
      exchange_(call.exchange),
      parameters_(parameters),
      owner_(call.owner),
      created_(std::time(nullptr)) {}

void Run::start(std::vector<ChatPrompt> prompts) {
  // Nothing is told before all have been accepted.
  const std::lock_guard lock(mutex_);
  const auto answers = static_cast<size_t>(parameters_.answers);
  left_ = prompts.size() * answers;
  if (const auto& form = prompts.front().form; form && !form->notes().empty())
    exchange_ = with_headers(exchange_, {{"Sluice-Relaxed", form->relaxed()}});
  first_prompt_tokens_ = static_cast<int64_t>(prompts.front().tokens.size());
  for (const ChatPrompt& prompt : prompts) parsers_.insert(parsers_.end(), answers, prompt.parser);
  for (size_t n = 0; n < left_; ++n) {
    ChatPrompt& prompt = prompts[n / answers];
    engine::Request request;
    request.prompt = prompt.tokens;
    request.turns = prompt.turns;
    request.sampling = parameters_.sampling;
    if (request.sampling.seed != UINT64_MAX) request.sampling.seed += n % answers;
    request.max_tokens =
        parameters_.max_tokens < 0 ? service_.options.most_tokens : parameters_.max_tokens;
    request.max_seconds = parameters_.max_seconds;
    request.stop = parameters_.stop;
    request.shown = service_.shown;
    request.chances = parameters_.chances;
    request.reuse = parameters_.cache_prompt;
    request.owner = owner_;
    if (prompt.form) request.constraint = prompt.form->take();
    if (const auto size = static_cast<int64_t>(request.prompt.size());
        size > service_.limits.context)
      return fail(
          {400,
           fmt::format("the prompt has {} tokens, the context {}", size, service_.limits.context),
           "",
           "exceed_context_size_error",
           {{"n_prompt_tokens", size}, {"n_ctx", service_.limits.context}}});
    auto ticket = service_.scheduler.submit(std::move(request), listener(n));
    if (!ticket) return fail(to_api(ticket.error()));
    tickets_.push_back(std::move(*ticket));
  }
  if (parameters_.stream) {
    HttpResponse head;
    head.content_type = "text/event-stream";
    head.headers.emplace_back("Cache-Control", "no-store");
    exchange_->begin_stream(std::move(head), ping());
    begin();
  }
  exchange_->on_gone([tickets = tickets_] {
    for (const auto& ticket : tickets) ticket->cancel();
  });
}

engine::Listener Run::listener(size_t n) {
  return {[self = shared_from_this(), n](const engine::Update& update) {
            self->guarded([&] { self->update(n, update); });
          },
          [self = shared_from_this(), n](const engine::Outcome& outcome) {
            self->service_.metrics.record(outcome.figures);
            if (const auto& told = self->service_.options.ended) told(outcome);
            self->guarded([&] { self->ended(n, outcome); });
          }};
}

// The JSON library throws where a program's assumption about a document is wrong, and memory may
// run out: the exchange tells the client when it goes, and the thread that called goes on.
template <typename F>
void Run::guarded(const F& f) {
  const std::lock_guard lock(mutex_);
  if (dead_) return;
  try {
    f();
  } catch (const std::exception& error) {
    dead_ = true;
    for (const auto& ticket : tickets_) ticket->cancel();
    spdlog::error("an answer failed: {}", error.what());
  }
}

void Run::ended(size_t n, const engine::Outcome& outcome) {
  if (outcome.error) return fail(to_api(*outcome.error));
  if (outcome.reason == engine::FinishReason::kCancelled)
    return fail({503, "the server is shutting down", "", "unavailable_error", {}});
  prompt_tokens_ += outcome.figures.prompt_tokens;
  reused_tokens_ += outcome.figures.reused_tokens;
  generated_tokens_ += outcome.figures.generated_tokens;
  end(n, outcome);
  if (--left_ == 0) finish();
}

void Run::fail(const ApiError& error) {
  dead_ = true;
  for (const auto& ticket : tickets_) ticket->cancel();
  service_.metrics.refused(error.status);
  // A head that has been sent cannot be taken back; what does not apply is ignored.
  exchange_->respond(to_response(error, anthropic()));
  exchange_->write(error_event(error));
  exchange_->end();
}

ApiResult<void> set_form(const Call& call, engine::AnswerForm form, ChatPrompt& prompt) {
  form.thoughts = prompt.thoughts;
  SLUICE_API_ASSIGN(prompt.form, call.service.constraints.compile(form, call.owner));
  return {};
}

TextEvent::TextEvent(std::string event, const std::string& name) {
  // Within strings quotes are escaped: this is the member itself.
  const std::string empty = "\"" + name + "\":\"\"";
  const size_t found = event.find(empty);
  SLUICE_CHECK(found != std::string::npos, "an event without its text");
  const size_t end = found + empty.size();
  before_ = event.substr(0, end - 2);
  after_ = event.substr(end);
}

Json timings(const engine::RequestFigures& f) {
  const int64_t read = f.prompt_tokens - f.reused_tokens;
  const int64_t later = std::max<int64_t>(f.generated_tokens - 1, 0);  // behind the first token
  const auto each = [](double seconds, int64_t count) {
    return count > 0 ? 1000 * seconds / static_cast<double>(count) : 0.0;
  };
  const auto rate = [](double seconds, int64_t count) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  return {{"cache_n", f.reused_tokens},
          {"prompt_n", read},
          {"prompt_ms", 1000 * f.prompt_seconds},
          {"prompt_per_token_ms", each(f.prompt_seconds, read)},
          {"prompt_per_second", rate(f.prompt_seconds, read)},
          {"predicted_n", f.generated_tokens},
          {"predicted_ms", 1000 * f.generate_seconds},
          {"predicted_per_token_ms", each(f.generate_seconds, later)},
          {"predicted_per_second", rate(f.generate_seconds, later)},
          {"draft_n", f.guessed_tokens},
          {"draft_n_accepted", f.right_guesses},
          {"queue_ms", 1000 * f.queue_seconds},
          {"ttft_ms", 1000 * f.first_token_seconds},
          {"experts",
           {{"hit_vram", f.experts_on_device},
            {"hit_ram", f.experts_in_memory},
            {"read_ssd", f.experts - f.experts_in_memory},
            {"bytes_ssd", f.expert_bytes_read},
            {"stall_ms", 1000 * f.expert_wait_seconds}}}};
}

Json logprob_entry(const engine::Engine& engine, const engine::TokenReport& report) {
  const auto one = [&](const engine::TokenChance& chance) -> Json {
    const std::string_view bytes = engine.tokenizer().bytes(chance.token);
    Json values = Json::array();
    for (const char byte : bytes) values.push_back(static_cast<unsigned char>(byte));
    return {{"id", chance.token},
            {"token", std::string(bytes)},
            {"bytes", std::move(values)},
            {"logprob", chance.log_probability}};
  };
  Json entry = one(report.chosen);
  entry["top_logprobs"] = Json::array();
  for (const engine::TokenChance& chance : report.best)
    entry["top_logprobs"].push_back(one(chance));
  return entry;
}

const char* finish_reason(engine::FinishReason reason) {
  return reason == engine::FinishReason::kLength || reason == engine::FinishReason::kContext
             ? "length"
             : "stop";
}

}  // namespace sluice::server
