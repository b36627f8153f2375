// SPDX-License-Identifier: Apache-2.0
// One line per architecture.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "compute/backend.h"
#include "gguf/gguf.h"
#include "model/model.h"
#include "model/weights.h"

namespace sluice::model {

struct Architecture {
  std::string_view name;  // general.architecture
  Result<std::unique_ptr<Model>> (*load)(const gguf::Gguf&, const Config&, const compute::Backend&,
                                         const ExpertOptions& experts);
};

// nullptr when unknown.
const Architecture* find_architecture(std::string_view name);
// "qwen3, qwen3moe, qwen3next"
std::string architecture_names();

// Reads the hyperparameters and loads all weights but the experts, which are read when they are
// needed; without `drafts` not those of a block that guesses further tokens. `backend` must outlive
// the model.
Result<std::unique_ptr<Model>> load_model(const gguf::Gguf& file, const RopeOverride& rope,
                                          const compute::Backend& backend,
                                          const ExpertOptions& experts = {}, bool drafts = true);

// Loaders, one per file of this folder.
Result<std::unique_ptr<Model>> load_qwen3(const gguf::Gguf&, const Config&, const compute::Backend&,
                                          const ExpertOptions&);

Result<std::unique_ptr<Model>> load_qwen3_next(const gguf::Gguf&, const Config&,
                                               const compute::Backend&, const ExpertOptions&);

}  // namespace sluice::model
