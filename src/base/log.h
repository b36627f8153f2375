// SPDX-License-Identifier: Apache-2.0
// Logging to standard error. Libraries log through these; only apps/ prints to standard output.
#pragma once

#include <spdlog/spdlog.h>

namespace sluice {

// Sets up the process-wide logger. verbosity: 0 silent, 1 errors, 2 warnings, 3 info, 4+ debug
// (llama.cpp's -lv numbers).
void init_logging(int verbosity);

}  // namespace sluice
