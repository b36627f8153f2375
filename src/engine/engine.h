// SPDX-License-Identifier: Apache-2.0
// A loaded model: file, vocabulary, chat template and weights.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "compute/backend.h"
#include "engine/device_plan.h"
#include "engine/memory_plan.h"
#include "engine/reading.h"
#include "engine/sampler.h"
#include "engine/sampling/constraint.h"
#include "engine/tensor_overrides.h"
#include "gguf/gguf.h"
#include "model/model.h"
#include "residency/pressure.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace sluice::engine {

struct EngineOptions {
  std::string model_path;
  int threads = 0;           // 0: all CPUs this process may use
  std::string isa;           // empty: the best level of this machine
  int64_t context = 0;       // positions per session; 0: what the model was trained for, or fits
  bool any_context = false;  // -c may be more than the model was trained for
  uint64_t ram_bytes = 0;    // what the process may use; 0: what is free, less a margin
  // 0: computes on the CPU alone. -1: with an accelerator if there is one that can. More: the same,
  // with a warning where there is none, and an error where its memory is too small.
  int gpu_layers = -1;
  int device = 0;          // which accelerator
  int cpu_moe_layers = 0;  // of so many layers, the first ones, no expert goes to its memory
  std::vector<TensorOverride> overrides;  // count before it
  uint64_t vram_bytes = 0;                // of its memory; 0: what is free, less a margin
  // Instead of the module beside the program; for tests.
  const sluice_backend_api* accelerator = nullptr;
  ReadingOptions reading;
  // Read first what earlier runs used most, as reading.cache_folder knows it.
  bool warm_start = true;
  CheckpointOptions checkpoints{0, 0, -1};  // that sessions will keep: planned for
  int sessions = 1;                         // at the same time, planned for; 0: see MemoryRequest
  // Told before anything large is loaded; the second where there is an accelerator.
  std::function<void(const MemoryPlan&)> on_plan;
  std::function<void(const DevicePlan&, const MemoryPlan&)> on_device_plan;
  int64_t ubatch = 512;  // rows of one forward pass
  model::CacheTypes cache;
  model::RopeOverride rope;
  bool drafts = false;  // load what guesses further tokens, where the file has it
  std::optional<std::string> chat_template;  // instead of the file's own
};

class Engine {
 public:
  // Everything wrong with the file or the options is found here, but for cache types that do not
  // fit the model (Session::create).
  static Result<std::unique_ptr<Engine>> load(const EngineOptions& options);

  const EngineOptions& options() const { return options_; }
  const gguf::Gguf& file() const { return file_; }
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  // Where the dense part is computed.
  const compute::Backend& backend() const { return device_ ? *device_ : *host_; }
  model::Model& model() const { return *model_; }
  int64_t context() const { return context_; }
  const MemoryPlan& plan() const { return plan_; }
  const std::optional<DevicePlan>& device_plan() const { return device_plan_; }
  // All experts are in memory, the device's or the host's, and stay; waits until they are.
  Status wait_until_loaded();
  const Reading& reading() const { return reading_; }

  // For the next start: adds the experts that were used since the load, or since the last call.
  // Nothing without experts, a folder to remember it in, or warm_start. kIo with the path.
  Status remember_usage();

  // kUnsupported when the file carries no template.
  Result<const text::ChatTemplate*> chat_template() const;

  // Defaults, overlaid with what the file recommends (general.sampling.*).
  const SamplingParams& default_sampling() const { return sampling_; }
  // A sampler that never picks a token without text. kUsage for parameters out of range.
  Result<Sampler> make_sampler(const SamplingParams& params) const;
  // For constraints of answers; made anew at each call by sorting all tokens: keep it.
  std::shared_ptr<const GrammarVocabulary> grammar_vocabulary() const;

 private:
  explicit Engine(gguf::Gguf file) : file_(std::move(file)) {}
  static Result<std::unique_ptr<Engine>> load_all(const EngineOptions& options);
  Result<Sampler> new_sampler(const SamplingParams& params) const;
  void sort_tokens(int64_t rows);
  Status open_backends();
  Status plan(const model::Config& config);
  Status choose_reading(const model::Config& config);
  void start_filling();
  std::string usage_file() const;  // "": none

  EngineOptions options_;
  gguf::Gguf file_;
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<text::ChatTemplate> chat_template_;
  std::optional<Error> chat_template_error_;
  std::optional<compute::Backend> host_, device_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<residency::PressureGuard> pressure_;  // behind the model: uses its experts
  SamplingParams sampling_;
  std::vector<int32_t> banned_, end_of_generation_;  // tokens, for samplers
  int64_t context_ = 0;
  MemoryPlan plan_;
  std::optional<DevicePlan> device_plan_;
  Reading reading_;
  std::vector<uint32_t> remembered_uses_;  // what remember_usage() has written of experts().uses()
};

// The vocabulary of a GGUF file, of one that holds nothing else too.
Result<text::Tokenizer> load_tokenizer(const gguf::Gguf& file);
// llama.cpp's defaults, overlaid with general.sampling.*.
Result<SamplingParams> default_sampling(const gguf::Gguf& file);

}  // namespace sluice::engine
