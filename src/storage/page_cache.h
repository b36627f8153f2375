// SPDX-License-Identifier: Apache-2.0
// What the system keeps of a file in memory.
#pragma once

#include <optional>
#include <string>

namespace sluice::storage {

// The share of the file that the page cache holds, 0 to 1, from samples all over it. nullopt where
// the system does not tell: the file is not there, not ours, or empty.
std::optional<double> cached_share(const std::string& path);

}  // namespace sluice::storage
