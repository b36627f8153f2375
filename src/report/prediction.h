// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "report/report.h"
#include "report/study.h"

namespace sluice::report {

// What `sluice plan` expects of the model in this setting; nullopt where it cannot tell.
std::optional<Prediction> ask_plan(const StudyOptions& options, const Model& model,
                                   const Setting& setting, int64_t prompt_tokens);

// Has `sluice plan` measure this machine where it was not yet: with the first model that it can
// read. An error says why predictions will not come.
Status measure_machine(const StudyOptions& options, const std::vector<Model>& models);

// Of `sluice plan --json`; nullopt for anything else.
std::optional<Prediction> parse_prediction(const std::string& json);

}  // namespace sluice::report
