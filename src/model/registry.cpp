// SPDX-License-Identifier: Apache-2.0
#include "model/registry.h"

#include "base/no_memory.h"

namespace sluice::model {
namespace {

constexpr Architecture kArchitectures[] = {
    {"qwen3", load_qwen3},
    {"qwen3moe", load_qwen3},
    {"qwen3next", load_qwen3_next},
};

}  // namespace

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& architecture : kArchitectures)
    if (architecture.name == name) return &architecture;
  return nullptr;
}

std::string architecture_names() {
  std::string names;
  for (const Architecture& architecture : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += architecture.name;
  }
  return names;
}

Result<std::unique_ptr<Model>> load_model(const gguf::Gguf& file, const RopeOverride& rope,
                                          const compute::Backend& backend,
                                          const ExpertOptions& experts, bool drafts) {
  SLUICE_ASSIGN(Config config, Config::read(file, rope));
  if (!drafts) config.draft_layers = 0;
  return or_no_memory(
      [&] { return find_architecture(config.architecture)->load(file, config, backend, experts); });
}

}  // namespace sluice::model
