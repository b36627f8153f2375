// SPDX-License-Identifier: Apache-2.0
// Sizes that the plans for main memory and for a device's memory share.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/gguf.h"
#include "model/config.h"
#include "residency/expert_table.h"

namespace sluice::engine {

// Of several sessions at once; beyond 64 bits the largest number.
inline uint64_t times(uint64_t bytes, int sessions) {
  uint64_t all = 0;
  return __builtin_mul_overflow(bytes, static_cast<uint64_t>(sessions), &all) ? UINT64_MAX : all;
}

inline double gibibytes(uint64_t bytes) {
  return static_cast<double>(bytes) / (uint64_t{1} << 30);
}

// Of a stack of experts.
bool is_expert(const std::string& tensor);
// Blocks behind the model's own guess further tokens, if they are used.
bool is_loaded(const std::string& tensor, const model::Config& config);
// The experts' sizes alone, from the tensors that the loader will look for.
residency::ExpertTable expert_sizes(const gguf::Gguf& file, const model::Config& config);
// What the rows of a batch pass through: activations in all their forms.
uint64_t row_buffer_bytes(const model::Config& config, int64_t rows);

}  // namespace sluice::engine
