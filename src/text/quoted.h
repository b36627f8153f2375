// SPDX-License-Identifier: Apache-2.0
// An untrusted text for a message: in quotes, short, printable.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::text {

inline std::string quoted(std::string_view text) {
  constexpr size_t kMaxLength = 40;
  std::string out = "'";
  for (const char c : text.substr(0, kMaxLength)) {
    if (c >= 0x20 && c < 0x7F) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
  return out + (text.size() > kMaxLength ? "...'" : "'");
}

}  // namespace sluice::text
