// SPDX-License-Identifier: Apache-2.0
// A study as a JSON file: {"models": [...], "settings": [{"ram": "8G"}, ...], ...}; docs/report.md
// describes it.
#pragma once

#include <string>

#include "base/result.h"
#include "report/report.h"

namespace sluice::report {

// Sets what the file has and leaves the rest of `report` alone. kUsage names file, field and what
// belongs there. Paths of models are relative to the file.
Status read_study(const std::string& path, Report& report);

// Makes names unique and finds the files' sizes; kUsage where there is no model.
Status complete_study(Report& report);

// "4G", "900MiB", 1000; kUsage.
Result<uint64_t> parse_bytes(const std::string& text);

}  // namespace sluice::report
