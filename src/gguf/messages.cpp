// SPDX-License-Identifier: Apache-2.0
#include "gguf/messages.h"

#include <fmt/format.h>

namespace sluice::gguf {

std::string quote(std::string_view text) {
  constexpr size_t kShown = 96;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    // Names are ASCII by the format's rules, so whatever is not is shown as bytes.
    if (byte < 0x20 || byte >= 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > kShown) out += "...";
  return out + "'";
}

}  // namespace sluice::gguf
