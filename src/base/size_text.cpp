// SPDX-License-Identifier: Apache-2.0
#include "base/size_text.h"

#include <fmt/format.h>

namespace sluice {

std::string size_text(uint64_t bytes) {
  const auto number = static_cast<double>(bytes);
  if (bytes >= uint64_t{1} << 30) return fmt::format("{:.2f} GiB", number / (1 << 30));
  if (bytes >= uint64_t{1} << 20) return fmt::format("{:.1f} MiB", number / (1 << 20));
  return fmt::format("{:.1f} KiB", number / (1 << 10));
}

}  // namespace sluice
