// SPDX-License-Identifier: Apache-2.0
// The public C interface (include/sluice/sluice.h) over the engine. Nothing that is thrown leaves
// it.
#include "sluice/sluice.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>

#include "base/log.h"
#include "engine/chat.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "storage/cache_folder.h"

using sluice::Error;
using sluice::ErrorKind;
using sluice::fail;
using sluice::Result;
using sluice::Status;
namespace engine = sluice::engine;

struct sluice_model {
  std::unique_ptr<engine::Engine> engine;
  std::mutex turn;  // sessions of one model compute one at a time
};

struct sluice_session {
  sluice_model* model;
  engine::Session session;
  std::atomic<bool> cancel{false};
  sluice_session(sluice_model* owner, engine::Session&& made)
      : model(owner), session(std::move(made)) {}
};

namespace {

thread_local std::string last_error;

sluice_status status_of(const Error& error) {
  last_error = error.message;
  switch (error.kind) {
    case ErrorKind::kUsage:
      return SLUICE_USAGE;
    case ErrorKind::kNotFound:
      return SLUICE_NOT_FOUND;
    case ErrorKind::kIo:
      return SLUICE_IO;
    case ErrorKind::kBadFile:
      return SLUICE_BAD_FILE;
    case ErrorKind::kUnsupported:
      return SLUICE_UNSUPPORTED;
    case ErrorKind::kTooLarge:
      return SLUICE_TOO_LARGE;
    case ErrorKind::kCancelled:
      return SLUICE_CANCELLED;
    case ErrorKind::kDevice:
      return SLUICE_DEVICE;
    case ErrorKind::kBusy:  // of servers
      break;
  }
  return SLUICE_INTERNAL;
}

// Runs a Status() and returns it as callers in C see it.
template <typename Body>
sluice_status guarded(const Body& body) {
  try {
    const Status status = body();
    return status ? SLUICE_OK : status_of(status.error());
  } catch (const std::bad_alloc&) {
    last_error = "no memory left: use a smaller ram_bytes or context";
    return SLUICE_TOO_LARGE;
  } catch (const std::exception& error) {
    last_error = error.what();
    return SLUICE_INTERNAL;
  }
}

// What the caller's struct holds, the rest zero; kUsage when it is no struct of this kind.
template <typename T>
Result<T> read_struct(const T* from, const char* name) {
  if (from == nullptr || from->size < sizeof(size_t) + 1)
    return fail(ErrorKind::kUsage, "{}: is missing, or its size is not set to sizeof", name);
  T copy{};
  std::memcpy(&copy, from, std::min(from->size, sizeof(T)));
  return copy;
}

// Fills as much as the caller's struct has room for.
template <typename T>
Status write_struct(T* to, T value, const char* name) {
  if (to == nullptr || to->size < sizeof(size_t) + 1)
    return fail(ErrorKind::kUsage, "{}: is missing, or its size is not set to sizeof", name);
  const size_t size = to->size;
  value.size = size;
  std::memcpy(to, &value, std::min(size, sizeof(T)));
  return {};
}

Status need(const void* pointer, const char* name) {
  if (pointer != nullptr) return {};
  return fail(ErrorKind::kUsage, "{}: must not be NULL", name);
}

Result<engine::SamplingParams> sampling_of(const engine::Engine& engine,
                                           const sluice_sampling* given) {
  engine::SamplingParams params = engine.default_sampling();
  if (given == nullptr) return params;
  // Fields that an older caller does not have keep the model's defaults.
  sluice_sampling all{sizeof(sluice_sampling),
                      params.seed,
                      params.temperature,
                      params.top_k,
                      params.top_p,
                      params.min_p,
                      params.repeat_penalty,
                      params.presence_penalty,
                      params.frequency_penalty};
  if (given->size < sizeof(size_t) + 1)
    return fail(ErrorKind::kUsage, "sampling: its size is not set to sizeof");
  std::memcpy(&all, given, std::min(given->size, sizeof(all)));
  params.seed = all.seed;
  params.temperature = all.temperature;
  params.top_k = all.top_k;
  params.top_p = all.top_p;
  params.min_p = all.min_p;
  params.repeat_penalty = all.repeat_penalty;
  params.presence_penalty = all.presence_penalty;
  params.frequency_penalty = all.frequency_penalty;
  return params;
}

int32_t finish_of(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kEndOfGeneration:
      return SLUICE_FINISH_END;
    case engine::FinishReason::kStopString:
      return SLUICE_FINISH_STOP;
    case engine::FinishReason::kLength:
      return SLUICE_FINISH_LENGTH;
    case engine::FinishReason::kContext:
      return SLUICE_FINISH_CONTEXT;
    case engine::FinishReason::kCancelled:
      return SLUICE_FINISH_CANCELLED;
  }
  return SLUICE_FINISH_END;
}

Result<nlohmann::ordered_json> messages_of(const sluice_message* messages, size_t count) {
  SLUICE_TRY(need(messages, "messages"));
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (size_t i = 0; i < count; ++i) {
    if (messages[i].role == nullptr || messages[i].content == nullptr)
      return fail(ErrorKind::kUsage, "messages[{}]: role and content must not be NULL", i);
    out.push_back({{"role", messages[i].role}, {"content", messages[i].content}});
  }
  if (out.empty()) return fail(ErrorKind::kUsage, "messages: give at least one");
  return out;
}

Status generate(sluice_session& s, std::span<const sluice::text::Token> prompt,
                const sluice_generate_options* given, sluice_result* result) {
  sluice_generate_options options{};
  if (given != nullptr) {
    SLUICE_ASSIGN(options, read_struct(given, "options"));
  }
  if (options.stop_count > 0) SLUICE_TRY(need(options.stop, "options.stop"));
  engine::GenerateOptions generate_options;
  generate_options.max_tokens = options.max_tokens > 0 ? options.max_tokens : -1;
  for (size_t i = 0; i < options.stop_count; ++i) {
    SLUICE_TRY(need(options.stop[i], "options.stop[]"));
    generate_options.stop.emplace_back(options.stop[i]);
  }
  const engine::Engine& engine = *s.model->engine;
  SLUICE_ASSIGN(const engine::SamplingParams params, sampling_of(engine, options.sampling));
  SLUICE_ASSIGN(engine::Sampler sampler, engine.make_sampler(params));
  const auto sink = [&](std::string_view text) {
    if (options.on_text != nullptr && !text.empty() &&
        options.on_text(text.data(), text.size(), options.user) != 0)
      s.cancel = true;
  };
  auto done = engine::generate(s.session, sampler, prompt, generate_options, sink, &s.cancel);
  s.cancel = false;
  if (!done) return fail(std::move(done.error()));
  if (result == nullptr) return {};
  sluice_result out{};
  out.finish = finish_of(done->reason);
  out.prompt_tokens = done->prompt_tokens;
  out.reused_tokens = done->reused_tokens;
  out.generated_tokens = done->generated_tokens;
  out.prompt_seconds = done->prompt_seconds;
  out.first_token_seconds = done->first_token_seconds;
  out.generate_seconds = done->generate_seconds;
  return write_struct(result, out, "result");
}

void quiet_by_default() {
  static std::once_flag once;
  std::call_once(once, [] { sluice::init_logging(0); });
}

}  // namespace

extern "C" {

const char* sluice_version(void) {
  return SLUICE_VERSION;
}

const char* sluice_last_error(void) {
  return last_error.c_str();
}

void sluice_log_level(int32_t level) {
  guarded([&]() -> Status {
    quiet_by_default();
    sluice::init_logging(level);
    return {};
  });
}

sluice_status sluice_model_load(const sluice_model_options* options, sluice_model** model) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(model, "model"));
    *model = nullptr;
    SLUICE_ASSIGN(const sluice_model_options o, read_struct(options, "options"));
    SLUICE_TRY(need(o.path, "options.path"));
    if (o.context < 0 || o.threads < 0 || o.threads > 1024)
      return fail(ErrorKind::kUsage,
                  "options: context and threads must be 0 or more, threads at "
                  "most 1024");
    if (o.device != SLUICE_DEVICE_AUTO && o.device != SLUICE_DEVICE_CPU)
      return fail(ErrorKind::kUsage, "options.device: {} is no sluice_device", o.device);
    quiet_by_default();
    engine::EngineOptions e;
    e.model_path = o.path;
    e.context = o.context;
    e.ram_bytes = o.ram_bytes;
    e.vram_bytes = o.vram_bytes;
    e.threads = o.threads;
    e.gpu_layers = o.device == SLUICE_DEVICE_CPU ? 0 : -1;
    if (o.no_cache_file == 0) e.reading.cache_folder = sluice::storage::cache_folder();
    e.warm_start = o.no_cache_file == 0;
    auto made = std::make_unique<sluice_model>();
    SLUICE_ASSIGN(made->engine, engine::Engine::load(e));
    *model = made.release();
    return {};
  });
}

void sluice_model_free(sluice_model* model) {
  if (model == nullptr) return;
  guarded([&]() -> Status { return model->engine->remember_usage(); });
  delete model;
}

sluice_status sluice_model_describe(const sluice_model* model, sluice_model_info* info) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(model, "model"));
    const engine::Engine& engine = *model->engine;
    const sluice::model::Config& config = engine.model().config();
    sluice_model_info out{};
    out.context = engine.context();
    out.vocabulary = config.vocabulary;
    out.layers = config.layers;
    out.experts = config.experts;
    out.experts_used = config.experts > 0 ? config.experts_used : 0;
    out.file_bytes = engine.file().file_bytes();
    out.planned_bytes = engine.plan().total();
    out.all_in_memory = engine.plan().all_experts() ? 1 : 0;
    out.has_chat_template = engine.chat_template().has_value() ? 1 : 0;
    return write_struct(info, out, "info");
  });
}

sluice_status sluice_model_stats(const sluice_model* model, sluice_stats* stats) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(model, "model"));
    sluice_stats out{};
    if (model->engine->model().config().experts > 0) {
      const auto s = model->engine->model().experts().statistics();
      out.expert_requests = s.requests;
      out.expert_hits = s.hits;
      out.expert_bytes_read = s.bytes_read;
      out.expert_wait_seconds = std::chrono::duration<double>(s.stalled).count();
    }
    return write_struct(stats, out, "stats");
  });
}

sluice_status sluice_default_sampling(const sluice_model* model, sluice_sampling* sampling) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(model, "model"));
    const engine::SamplingParams& p = model->engine->default_sampling();
    return write_struct(sampling,
                        sluice_sampling{0, p.seed, p.temperature, p.top_k, p.top_p, p.min_p,
                                        p.repeat_penalty, p.presence_penalty, p.frequency_penalty},
                        "sampling");
  });
}

sluice_status sluice_tokenize(const sluice_model* model, const char* text, size_t bytes,
                              int32_t special, int32_t* tokens, size_t capacity, size_t* count) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(model, "model"));
    SLUICE_TRY(need(text, "text"));
    SLUICE_TRY(need(count, "count"));
    const auto ids = model->engine->tokenizer().encode(
        std::string(text, bytes),
        special != 0 ? sluice::text::SpecialTokens::kParse : sluice::text::SpecialTokens::kText);
    *count = ids.size();
    if (tokens == nullptr) return {};
    if (ids.size() > capacity)
      return fail(ErrorKind::kTooLarge, "the text has {} tokens, there is room for {}", ids.size(),
                  capacity);
    std::copy(ids.begin(), ids.end(), tokens);
    return {};
  });
}

sluice_status sluice_session_create(sluice_model* model, sluice_session** session) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(model, "model"));
    SLUICE_TRY(need(session, "session"));
    *session = nullptr;
    const std::lock_guard lock(model->turn);
    SLUICE_ASSIGN(engine::Session made, engine::Session::create(*model->engine));
    *session = new sluice_session(model, std::move(made));
    return {};
  });
}

void sluice_session_free(sluice_session* session) {
  if (session == nullptr) return;
  sluice_model* const model = session->model;
  const std::lock_guard lock(model->turn);
  delete session;
}

sluice_status sluice_chat(sluice_session* session, const sluice_message* messages, size_t count,
                          const sluice_generate_options* options, sluice_result* result) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(session, "session"));
    SLUICE_ASSIGN(const nlohmann::ordered_json conversation, messages_of(messages, count));
    const std::lock_guard lock(session->model->turn);
    SLUICE_ASSIGN(const auto prompt,
                  engine::render_chat(*session->model->engine, conversation, {}));
    return generate(*session, prompt, options, result);
  });
}

sluice_status sluice_complete(sluice_session* session, const char* prompt, size_t bytes,
                              const sluice_generate_options* options, sluice_result* result) {
  return guarded([&]() -> Status {
    SLUICE_TRY(need(session, "session"));
    SLUICE_TRY(need(prompt, "prompt"));
    const std::lock_guard lock(session->model->turn);
    const auto tokens = session->model->engine->tokenizer().encode(
        std::string(prompt, bytes), sluice::text::SpecialTokens::kText);
    return generate(*session, tokens, options, result);
  });
}

void sluice_cancel(sluice_session* session) {
  if (session != nullptr) session->cancel = true;
}

}  // extern "C"
