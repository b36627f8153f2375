// SPDX-License-Identifier: Apache-2.0
#include <string_view>

#include "compute/cpu/kernels.h"

namespace sluice::cpu {
namespace {

struct Level {
  const char* name;
  bool (*available)();
  void (*fill)(Kernels&);  // overrides entries of the level before it
};

const Level kLevels[] = {
    {"scalar", [] { return true; }, fill_scalar},
};

}  // namespace

const Kernels* select_kernels(const char* isa) {
  static Kernels tables[std::size(kLevels)];
  static const bool filled = [] {
    for (size_t i = 0; i < std::size(kLevels); ++i) {
      if (i > 0) tables[i] = tables[i - 1];
      tables[i].isa = kLevels[i].name;
      if (kLevels[i].available()) kLevels[i].fill(tables[i]);
    }
    return true;
  }();
  static_cast<void>(filled);

  const Kernels* best = nullptr;
  for (size_t i = 0; i < std::size(kLevels); ++i) {
    if (!kLevels[i].available()) continue;
    if (isa == nullptr)
      best = &tables[i];
    else if (std::string_view(isa) == kLevels[i].name)
      return &tables[i];
  }
  return best;
}

const char* available_levels() {
  static char names[128];
  if (names[0] == 0) {
    size_t used = 0;
    for (const Level& level : kLevels) {
      if (!level.available()) continue;
      if (used) {
        names[used++] = ',';
        names[used++] = ' ';
      }
      for (const char* c = level.name; *c && used + 4 < sizeof(names); ++c) names[used++] = *c;
    }
  }
  return names;
}

}  // namespace sluice::cpu
