// SPDX-License-Identifier: Apache-2.0
// Puts a report into words, tables and plots.
#pragma once

#include <string>
#include <vector>

#include "report/document.h"
#include "report/report.h"

namespace sluice::report {

// A few sentences, each drawn from the numbers by a rule; docs/report.md lists the rules.
std::vector<std::string> conclude(const Report& report, const std::vector<Earlier>& earlier,
                                  Language say);

Document compose(const Report& report, const std::vector<Earlier>& earlier, Language say);

// Measured by the standard benchmark, else while answering; kUnknown.
double generation_of(const Case& one);
// The case of the same model and setting, by their names; nullptr.
const Case* counterpart(const Report& report, const Case& one, const Report& other);
// Of measured against predicted, as a share of what was measured: 0.1 is 10 % too high.
double error_of(double predicted, double measured);
double median(std::vector<double> values);  // kUnknown of none

// A cause in words.
std::string cause_text(Cause cause, Language say);

}  // namespace sluice::report
