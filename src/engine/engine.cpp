// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <limits>

#include "base/cpu_topology.h"
#include "base/memory_info.h"
#include "compute/cpu/cpu_backend.h"
#include "model/registry.h"

namespace sluice::engine {
namespace {

// Some files type their padding rows as ordinary added tokens: "[PAD151700]".
bool is_padding_text(std::string_view text) {
  return text.starts_with("[PAD") && text.ends_with("]") &&
         text.substr(4, text.size() - 5).find_first_not_of("0123456789") == std::string_view::npos;
}

Status check_context(const EngineOptions& options, const model::Config& config) {
  if (options.context < 0)
    return fail(ErrorKind::kUsage,
                "-c {}: must be at least 1, or 0 for what the model was trained for",
                options.context);
  if (options.context > config.context && !options.any_context)
    return fail(ErrorKind::kUsage,
                "-c {}: {} was trained for {} positions: use -c {} or less, or extend it with "
                "--rope-scaling yarn --rope-scale {}",
                options.context, options.model_path, config.context, config.context,
                (options.context + config.context - 1) / config.context);
  return {};
}

// What is free, less what the system and other programs may come to want.
uint64_t free_memory() {
  constexpr uint64_t kMargin = uint64_t{512} << 20;
  const uint64_t available = available_bytes().value_or(std::numeric_limits<uint64_t>::max());
  return available - std::min({available, kMargin, available / 10});
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::load(const EngineOptions& options) {
  if (options.ubatch < 1)
    return fail(ErrorKind::kUsage, "-ub {}: must be at least 1", options.ubatch);
  SLUICE_ASSIGN(gguf::Gguf file, gguf::Gguf::open(options.model_path));
  std::unique_ptr<Engine> engine(new Engine(std::move(file)));
  engine->options_ = options;
  SLUICE_ASSIGN(model::Config config, model::Config::read(engine->file_, options.rope));
  if (!options.drafts) config.draft_layers = 0;
  SLUICE_TRY(check_context(options, config));
  SLUICE_ASSIGN(engine->tokenizer_, load_tokenizer(engine->file_));
  if (engine->tokenizer_->size() > config.vocabulary)
    return fail(ErrorKind::kBadFile,
                "{}: tokenizer.ggml.tokens has {} entries, token_embd.weight only {} rows",
                options.model_path, engine->tokenizer_->size(), config.vocabulary);
  SLUICE_ASSIGN(engine->sampling_, engine::default_sampling(engine->file_));

  // A template that cannot be parsed is an error only for those who want to chat.
  std::string source;
  if (options.chat_template) {
    source = *options.chat_template;
  } else {
    SLUICE_ASSIGN(source, engine->file_.string_or("tokenizer.chat_template", ""));
  }
  if (!source.empty()) {
    if (auto parsed = text::ChatTemplate::parse(std::move(source)))
      engine->chat_template_ = std::move(*parsed);
    else if (options.chat_template)
      return fail(std::move(parsed.error()));
    else
      engine->chat_template_error_ = std::move(parsed.error());
  }

  const ComputeCpus& cpus = compute_cpus();
  const int threads = options.threads > 0 ? options.threads : cpus.threads;
  // The slow cores of a hybrid processor would only be waited for. The calling thread computes too.
  if (!cpus.fastest.empty() && threads <= cpus.threads) restrict_thread_to(cpus.fastest);
  SLUICE_ASSIGN(engine->backend_,
                compute::Backend::open(cpu::cpu_backend(), {threads, options.isa}));
  SLUICE_ASSIGN(engine->plan_,
                plan_memory(options.model_path, engine->file_, config,
                            {options.ram_bytes > 0 ? options.ram_bytes : free_memory(),
                             options.context, options.ubatch, options.cache, options.checkpoints}));
  engine->context_ = engine->plan_.context;
  if (options.on_plan) options.on_plan(engine->plan_);
  model::ExpertOptions experts;
  experts.cache.bytes = engine->plan_.cache;
  SLUICE_ASSIGN(engine->model_, model::load_model(engine->file_, options.rope, *engine->backend_,
                                                  experts, options.drafts));
  if (engine->plan_.all_experts()) engine->model_->experts().fill();
  return engine;
}

Result<const text::ChatTemplate*> Engine::chat_template() const {
  if (chat_template_) return &*chat_template_;
  if (chat_template_error_) return fail(*chat_template_error_);
  return fail(
      ErrorKind::kUnsupported,
      "{}: no tokenizer.chat_template in the file: give one with --chat-template-file, or continue "
      "plain text with -no-cnv",
      options_.model_path);
}

Result<Sampler> Engine::make_sampler(const SamplingParams& params) const {
  const int64_t rows = model_->config().vocabulary;
  SLUICE_TRY(validate(params, rows));
  std::vector<int32_t> banned;
  std::vector<int32_t> end_of_generation;
  for (int32_t token = 0; token < rows; ++token) {
    if (token >= tokenizer_->size() || tokenizer_->kind(token) == text::TokenKind::kUnused ||
        is_padding_text(tokenizer_->bytes(token)))
      banned.push_back(token);
    else if (tokenizer_->is_end_of_generation(token))
      end_of_generation.push_back(token);
  }
  const auto piece = [this](int32_t token) {
    return token < tokenizer_->size() ? tokenizer_->bytes(token) : std::string_view();
  };
  return Sampler(params, rows, piece, std::move(banned), std::move(end_of_generation));
}

std::shared_ptr<const GrammarVocabulary> Engine::grammar_vocabulary() const {
  return GrammarVocabulary::create(*tokenizer_, model_->config().vocabulary);
}

}  // namespace sluice::engine
