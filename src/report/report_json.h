// SPDX-License-Identifier: Apache-2.0
// The report as a JSON file, and back; docs/report.md describes the fields.
#pragma once

#include <string>

#include "base/result.h"
#include "report/report.h"

namespace sluice::report {

inline constexpr int kJsonVersion = 1;

std::string to_json(const Report& report, const std::vector<std::string>& conclusion);

// kBadFile names file and field. Fields that are unknown are ignored, so that files of later
// versions with more of them can be read; another "version" is kUnsupported.
Result<Report> read_report(const std::string& path);
Result<Report> report_from_json(const std::string& name, const std::string& text);

}  // namespace sluice::report
