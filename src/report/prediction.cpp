// SPDX-License-Identifier: Apache-2.0
#include "report/prediction.h"

#include <nlohmann/json.hpp>

namespace sluice::report {
namespace {

using Json = nlohmann::json;

constexpr double kTimeout = 60;  // the machine may have to be measured first

// Of members of members: number(json, {"tg128", "low"}).
double number(const Json& json, std::initializer_list<const char*> path) {
  const Json* value = &json;
  for (const char* name : path) {
    if (!value->is_object() || !value->contains(name)) return kUnknown;
    value = &(*value)[name];
  }
  return value->is_number() ? value->get<double>() : kUnknown;
}

}  // namespace

std::optional<Prediction> parse_prediction(const std::string& json) {
  const Json plan = Json::parse(json, nullptr, false);
  if (!plan.is_object() || !plan.contains("fits") || !plan["fits"].is_boolean())
    return std::nullopt;
  Prediction p;
  p.fits = plan["fits"].get<bool>();
  p.first_token = number(plan, {"first_token_seconds_30", "value"});
  p.prompt = number(plan, {"pp512", "value"});
  p.generation = number(plan, {"tg128", "value"});
  p.generation_low = number(plan, {"tg128", "low"});
  p.generation_high = number(plan, {"tg128", "high"});
  p.memory = number(plan, {"memory", "total"});
  p.vram = number(plan, {"vram", "total"});
  return p;
}

std::optional<Prediction> ask_plan(const StudyOptions& options, const Model& model,
                                   const Setting& setting) {
  Command command;
  command.arguments = {options.program, "plan", model.path, "--json"};
  for (const auto& [name, value] : setting.flags) {
    // What `plan` does not ask for does not change its answer much.
    const SettingFlag* flag = find_setting_flag(name);
    if (!flag || flag->run.empty() || name == "isa" || name == "load-mode") continue;
    command.arguments.push_back(flag->run);
    command.arguments.push_back(value);
  }
  command.timeout = kTimeout;
  command.interrupted = options.interrupted;
  command.origin = std::chrono::steady_clock::now();
  // In the same control group, whose limit the plan is made for.
  std::optional<MemoryGroup> group;
  if (setting.memory_limit > 0) {
    auto made = MemoryGroup::create(setting.memory_limit);
    if (!made) return std::nullopt;
    group.emplace(std::move(*made));
    command.group = &*group;
  }
  const Result<Outcome> outcome = options.run(command);
  if (!outcome || outcome->interrupted || outcome->timed_out) return std::nullopt;
  // One that does not fit may end with an error, and still has told why.
  return parse_prediction(outcome->output);
}

}  // namespace sluice::report
