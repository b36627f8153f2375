// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <limits>

#include "base/cpu_topology.h"
#include "base/log.h"
#include "base/memory_info.h"
#include "base/no_memory.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/load_backend.h"
#include "engine/placement.h"
#include "model/registry.h"
#include "residency/usage.h"

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

uint64_t free_memory() {
  return default_ram(available_bytes().value_or(std::numeric_limits<uint64_t>::max()));
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::load(const EngineOptions& options) {
  return or_no_memory([&] { return load_all(options); });
}

Result<std::unique_ptr<Engine>> Engine::load_all(const EngineOptions& options) {
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
  engine->sort_tokens(config.vocabulary);

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

  SLUICE_TRY(engine->open_backends());
  SLUICE_TRY(engine->plan(config));
  SLUICE_TRY(engine->choose_reading(config));
  model::ExpertOptions experts;
  experts.cache.bytes = engine->plan_.cache;
  experts.cache.piece_bytes = engine->reading_.piece_bytes;
  experts.reads = engine->reading_.queue;
  if (engine->device_plan_) {
    experts.device.bytes = engine->device_plan_->cache;
    experts.device.places = engine->device_plan_->places;
  }
  SLUICE_ASSIGN(engine->model_, model::load_model(engine->file_, options.rope, engine->backend(),
                                                  experts, options.drafts));
  residency::ExpertCache& cache = engine->model_->experts();
  // Fewer where the system had less than it said.
  if (cache.bytes() < engine->plan_.cache) engine->plan_.cache = cache.bytes();
  residency::DeviceTier* const tier = engine->model_->device_experts();
  const bool all = tier && engine->device_plan_->all_experts();
  if (tier) SLUICE_TRY(tier->fill(all));
  if (!all) engine->start_filling();
  // Pinned memory cannot be given back.
  if (cache.experts() > 0 && !(tier && tier->pinned()))
    engine->pressure_ = std::make_unique<residency::PressureGuard>(cache);
  return engine;
}

void Engine::sort_tokens(int64_t rows) {
  for (int32_t token = 0; token < rows; ++token) {
    if (token >= tokenizer_->size() || tokenizer_->kind(token) == text::TokenKind::kUnused ||
        is_padding_text(tokenizer_->bytes(token)))
      banned_.push_back(token);
    else if (tokenizer_->is_end_of_generation(token))
      end_of_generation_.push_back(token);
  }
}

// Without an accelerator everything is computed on the CPU, as in other engines.
Status Engine::open_backends() {
  const EngineOptions& o = options_;
  const ComputeCpus& cpus = compute_cpus();
  const int threads = o.threads > 0 ? o.threads : cpus.threads;
  // The slow cores of a hybrid processor would only be waited for. The calling thread computes too.
  if (!cpus.fastest.empty() && threads <= cpus.threads) restrict_thread_to(cpus.fastest);
  SLUICE_ASSIGN(host_, compute::Backend::open(cpu::cpu_backend(), {threads, o.isa}));
  if (o.gpu_layers == 0) return {};
  const compute::Backend::Options options{threads, "", o.device, &*host_};
  auto opened = o.accelerator ? compute::Backend::open(o.accelerator, options)
                              : compute::load_backend("cuda", options);
  if (opened) {
    device_.emplace(std::move(*opened));
    return {};
  }
  if (o.gpu_layers > 0)
    spdlog::warn("-ngl changes nothing here: {}", opened.error().message);
  else
    spdlog::info("no GPU: {}", opened.error().message);
  return {};
}

Status Engine::plan(const model::Config& config) {
  const EngineOptions& o = options_;
  PlacementRequest request;
  request.memory = {.budget = o.ram_bytes > 0 ? o.ram_bytes : free_memory(),
                    .context = o.context,
                    .ubatch = o.ubatch,
                    .cache = o.cache,
                    .checkpoints = o.checkpoints,
                    .sessions = o.sessions};
  request.device_required = o.gpu_layers > 0;
  request.device = o.device;
  request.overrides = o.overrides;
  request.cpu_moe_layers = o.cpu_moe_layers;
  if (device_) {
    uint64_t free_bytes = 0, total = 0;
    SLUICE_TRY(device_->check((*device_)->memory_info(device_->get(), &free_bytes, &total)));
    request.vram = o.vram_bytes > 0 ? o.vram_bytes : default_vram(free_bytes, total);
  }
  SLUICE_ASSIGN(Placement placement, place(o.model_path, file_, config, request));
  if (placement.device_refused) {
    spdlog::warn("computing on the CPU: {}", placement.device_refused->message);
    device_.reset();
  }
  for (const std::string& one : placement.unused)
    spdlog::warn("-ot {} changes nothing: {}", one,
                 placement.device ? "no tensor is left that matches" : "computing on the CPU");
  device_plan_ = placement.device;
  plan_ = placement.memory;
  context_ = plan_.context;
  if (device_plan_ && o.on_device_plan) o.on_device_plan(*device_plan_, plan_);
  if (o.on_plan) o.on_plan(plan_);
  return {};
}

Status Engine::wait_until_loaded() {
  if (const residency::DeviceTier* tier = model_->device_experts(); tier && tier->holds_all())
    return {};
  return plan_.all_experts() ? model_->experts().wait_until_full() : Status{};
}

Status Engine::choose_reading(const model::Config& config) {
  if (config.experts == 0) return {};
  std::vector<std::string> paths;
  for (const auto& file : file_.files()) paths.push_back(file->name());
  FileFacts facts;
  facts.all_experts = plan_.all_experts();
  const gguf::Tensor* part = file_.find_tensor("blk.0.ffn_down_exps.weight");
  const uint64_t part_bytes = part ? part->bytes / static_cast<uint64_t>(config.experts) : 0;
  SLUICE_ASSIGN(reading_,
                engine::choose_reading(paths, facts,
                                       static_cast<uint32_t>(std::min<uint64_t>(
                                           part_bytes, std::numeric_limits<uint32_t>::max())),
                                       options_.reading));
  return {};
}

// What is free is filled while the first prompt is prepared: with the experts that earlier runs
// used most, then with the rest where that fits.
void Engine::start_filling() {
  residency::ExpertCache& cache = model_->experts();
  std::vector<int32_t> first;
  if (const std::string path = usage_file(); !path.empty()) {
    const auto usage =
        residency::read_usage(path, model_->fingerprint(), static_cast<size_t>(cache.experts()));
    if (usage)
      first = usage->hottest(static_cast<size_t>(cache.slots()));
    else
      spdlog::warn("{}: ignored, and written anew", usage.error().message);
  }
  cache.fill(first, plan_.all_experts());
}

std::string Engine::usage_file() const {
  if (!options_.warm_start || options_.reading.cache_folder.empty() ||
      model_->experts().experts() == 0)
    return "";
  return residency::usage_path(options_.reading.cache_folder, model_->fingerprint());
}

Status Engine::remember_usage() {
  const std::string path = usage_file();
  if (path.empty()) return {};
  const std::vector<uint32_t> now = model_->experts().uses();
  remembered_uses_.resize(now.size());
  std::vector<uint32_t> added(now.size());
  bool any = false;
  for (size_t i = 0; i < now.size(); ++i) {
    added[i] = now[i] - remembered_uses_[i];
    any |= added[i] > 0;
  }
  if (!any) return {};
  // Read again: another process may have written it meanwhile. A damaged one is replaced.
  const auto known = residency::read_usage(path, model_->fingerprint(), now.size());
  residency::Usage usage = known ? *known : residency::Usage{};
  usage.model = model_->fingerprint();
  usage.add_run(added);
  SLUICE_TRY(residency::write_usage(path, usage));
  remembered_uses_ = now;
  return {};
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
  return or_no_memory([&] { return new_sampler(params); });
}

Result<Sampler> Engine::new_sampler(const SamplingParams& params) const {
  const int64_t rows = model_->config().vocabulary;
  SLUICE_TRY(validate(params, rows));
  const auto piece = [this](int32_t token) {
    return token < tokenizer_->size() ? tokenizer_->bytes(token) : std::string_view();
  };
  return Sampler(params, rows, piece, banned_, end_of_generation_);
}

std::shared_ptr<const GrammarVocabulary> Engine::grammar_vocabulary() const {
  return GrammarVocabulary::create(*tokenizer_, model_->config().vocabulary);
}

}  // namespace sluice::engine
