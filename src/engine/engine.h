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
#include "engine/memory_plan.h"
#include "engine/sampler.h"
#include "engine/sampling/constraint.h"
#include "gguf/gguf.h"
#include "model/model.h"
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
  CheckpointOptions checkpoints{0, 0, -1};         // that sessions will keep: planned for
  std::function<void(const MemoryPlan&)> on_plan;  // told before anything large is loaded
  int64_t ubatch = 512;                            // rows of one forward pass
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
  const compute::Backend& backend() const { return *backend_; }
  model::Model& model() const { return *model_; }
  int64_t context() const { return context_; }
  const MemoryPlan& plan() const { return plan_; }

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

  EngineOptions options_;
  gguf::Gguf file_;
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<text::ChatTemplate> chat_template_;
  std::optional<Error> chat_template_error_;
  std::optional<compute::Backend> backend_;
  std::unique_ptr<model::Model> model_;
  SamplingParams sampling_;
  int64_t context_ = 0;
  MemoryPlan plan_;
};

// The vocabulary of a GGUF file, of one that holds nothing else too.
Result<text::Tokenizer> load_tokenizer(const gguf::Gguf& file);
// llama.cpp's defaults, overlaid with general.sampling.*.
Result<SamplingParams> default_sampling(const gguf::Gguf& file);

}  // namespace sluice::engine
