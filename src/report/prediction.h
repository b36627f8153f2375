// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "report/report.h"
#include "report/study.h"

namespace sluice::report {

// What `sluice plan` expects of the model in this setting; nullopt where it cannot tell.
std::optional<Prediction> ask_plan(const StudyOptions& options, const Model& model,
                                   const Setting& setting);

// Of `sluice plan --json`; nullopt for anything else.
std::optional<Prediction> parse_prediction(const std::string& json);

}  // namespace sluice::report
