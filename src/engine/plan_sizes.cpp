// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_sizes.h"

#include <algorithm>
#include <cstdlib>

namespace sluice::engine {

bool is_expert(const std::string& tensor) {
  return tensor.ends_with("_exps.weight");
}

bool is_loaded(const std::string& tensor, const model::Config& config) {
  return !tensor.starts_with("blk.") ||
         std::atoll(tensor.c_str() + 4) < config.layers + config.draft_layers;
}

residency::ExpertTable expert_sizes(const gguf::Gguf& file, const model::Config& config) {
  residency::ExpertTable table;
  if (config.experts == 0) return table;
  const auto count = static_cast<size_t>(config.experts);
  for (int64_t n = 0; n < config.layers + config.draft_layers; ++n) {
    const auto part = [&](const char* name, uint64_t of = 1) -> residency::ByteRange {
      const gguf::Tensor* tensor = file.find_tensor(fmt::format("blk.{}.ffn_{}", n, name));
      return {.bytes = static_cast<uint32_t>(tensor ? tensor->bytes / count / of : 0)};
    };
    const residency::ByteRange joint = part("gate_up_exps.weight", 2);
    const residency::ExpertRanges expert{joint.bytes > 0 ? joint : part("gate_exps.weight"),
                                         joint.bytes > 0 ? joint : part("up_exps.weight"),
                                         part("down_exps.weight")};
    table.layers.emplace_back().experts.assign(count, expert);
  }
  return table;
}

uint64_t row_buffer_bytes(const model::Config& c, int64_t rows) {
  const uint64_t attention = static_cast<uint64_t>((2 * c.heads + 2 * c.kv_heads) * c.head_dim);
  const uint64_t wide = static_cast<uint64_t>(
      std::max({4 * c.dim, c.experts_used * c.expert_hidden + c.shared_expert_hidden, c.hidden}));
  const uint64_t row_floats = 6 * static_cast<uint64_t>(c.dim) + 3 * attention + 2 * wide;
  return static_cast<uint64_t>(rows) * row_floats * sizeof(float);
}

}  // namespace sluice::engine
