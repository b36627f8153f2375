// SPDX-License-Identifier: Apache-2.0
// Random models, loaded and run.
#pragma once

#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "../temp_folder.h"
#include "compute/cpu/cpu_backend.h"
#include "model/registry.h"
#include "test_model.h"

namespace sluice::model {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

// A model in memory; its file is gone.
class Loaded {
 public:
  explicit Loaded(const test::TestModel& model, int threads = 2, int parts = 1,
                  const sluice_backend_api* api = cpu::cpu_backend(),
                  const ExpertOptions& experts = {}, bool drafts = true) {
    if (!api->host_memory) host_ = open(cpu::cpu_backend(), {threads});
    backend_ = open(api, {threads, "", 0, host_.get()});
    const test::TempFolder folder;
    auto file = gguf::Gguf::open(model.write(folder.path(), "model", parts));
    if (!file) throw std::runtime_error(file.error().message);
    file_ = std::make_unique<gguf::Gguf>(std::move(*file));
    auto loaded = load_model(*file_, {}, *backend_, experts, drafts);
    if (!loaded) throw std::runtime_error(loaded.error().message);
    model_ = std::move(*loaded);
  }

  Model& operator*() { return *model_; }
  Model* operator->() { return model_.get(); }

  Sequence sequence(int64_t capacity = 256, const CacheTypes& types = {}) {
    auto created = model_->create_sequence(capacity, types);
    if (!created) throw std::runtime_error(created.error().message);
    return std::move(*created);
  }

  Logits run(const std::vector<Chunk>& chunks, const Observer& observer = nullptr) {
    Logits logits;
    const Status status = model_->forward(chunks, logits, observer);
    if (!status) throw std::runtime_error(status.error().message);
    return logits;
  }

  // Logits of every token, read as one prompt.
  Logits all(const Tokens& tokens, const CacheTypes& types = {}) {
    Sequence s = sequence(256, types);
    return run({{&s, tokens, true}});
  }

 private:
  static std::unique_ptr<compute::Backend> open(const sluice_backend_api* api,
                                                const compute::Backend::Options& options) {
    auto backend = compute::Backend::open(api, options);
    if (!backend) throw std::runtime_error(backend.error().message);
    return std::make_unique<compute::Backend>(std::move(*backend));
  }

  std::unique_ptr<compute::Backend> host_;  // beside an accelerator
  std::unique_ptr<compute::Backend> backend_;
  std::unique_ptr<gguf::Gguf> file_;
  std::unique_ptr<Model> model_;
};

inline Tokens some_tokens(size_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 100);
  return tokens;
}

inline Logits last_row(const Logits& logits) {
  return {logits.end() - 100, logits.end()};
}

}  // namespace sluice::model
