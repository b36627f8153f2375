// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace sluice {

// Bytes for people: "17.25 GiB", "1.5 MiB", "0.0 KiB".
std::string size_text(uint64_t bytes);

}  // namespace sluice
