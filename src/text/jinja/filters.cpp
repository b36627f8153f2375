// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "text/jinja/builtins.h"

namespace sluice::text::jinja {

BuiltinFunction find_filter(std::string_view name) {
  static const auto* const kFilters = [] {
    auto* filters = new std::unordered_map<std::string_view, BuiltinFunction>();
    for (const auto* entries : {&text_filters(), &sequence_filters(), &number_filters()}) {
      for (const BuiltinEntry& entry : *entries) filters->emplace(entry.name, entry.function);
    }
    return filters;
  }();
  const auto found = kFilters->find(name);
  return found == kFilters->end() ? nullptr : found->second;
}

}  // namespace sluice::text::jinja
