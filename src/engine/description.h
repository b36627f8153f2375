// SPDX-License-Identifier: Apache-2.0
// What a model file is called in tables and logs.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/gguf.h"

namespace sluice::engine {

struct ModelDescription {
  std::string name;         // "qwen3moe 30B.A3B Q4_K - Medium", as llama.cpp says it
  uint64_t bytes = 0;       // of all tensors
  uint64_t parameters = 0;  // elements of all tensors
};

// Never fails: what the file does not say becomes "?B" and "(guessed) TYPE".
ModelDescription describe(const gguf::Gguf& file);

}  // namespace sluice::engine
