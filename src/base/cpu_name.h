// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace sluice {

// What the processor calls itself; "CPU" where the system does not tell.
std::string cpu_name();

}  // namespace sluice
