// SPDX-License-Identifier: Apache-2.0
// Files of /proc and /sys: short, and not always there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::report {

// Without the newline; "" when there is none.
std::string first_line(const std::string& path);
// The number at the beginning of the text; kUnknown when there is none.
double number_of(std::string_view text);
// The number behind `name` ("VmSwap:") at the beginning of a line; kUnknown when there is none.
double field_of(const std::string& path, std::string_view name);
// Names in a folder, sorted; none when it cannot be read.
std::vector<std::string> entries_of(const std::string& folder);

}  // namespace sluice::report
