// SPDX-License-Identifier: Apache-2.0
#include "report/prediction.h"

#include <nlohmann/json.hpp>

namespace sluice::report {
namespace {

using Json = nlohmann::json;

constexpr double kTimeout = 60;  // a disk may have to be measured first
constexpr double kMeasureTimeout = 300;

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
  if (const double tokens = number(plan, {"prompt", "tokens"}); tokens >= 1 && tokens < 1e15) {
    p.prompt_tokens = static_cast<int64_t>(tokens);
    p.prompt = number(plan, {"prompt", "value"});
  }
  p.generation = number(plan, {"tg128", "value"});
  p.generation_low = number(plan, {"tg128", "low"});
  p.generation_high = number(plan, {"tg128", "high"});
  p.memory = number(plan, {"memory", "total"});
  p.vram = number(plan, {"vram", "total"});
  return p;
}

std::optional<Prediction> ask_plan(const StudyOptions& options, const Model& model,
                                   const Setting& setting, int64_t prompt_tokens) {
  Command command;
  command.arguments = {options.program, "plan", model.path, "--json"};
  if (prompt_tokens > 0 && prompt_tokens != Prediction{}.prompt_tokens) {
    command.arguments.emplace_back("-p");
    command.arguments.push_back(std::to_string(prompt_tokens));
  }
  for (const auto& [name, value] : setting.flags) {
    // The machine was measured at the best level.
    const SettingFlag* flag = find_setting_flag(name);
    if (!flag || flag->run.empty() || name == "isa") continue;
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
  auto prediction = parse_prediction(outcome->output);
  // A prompt that is longer than the setting's context is refused: the rest can still be told.
  const int64_t usual = Prediction{}.prompt_tokens;
  if (!prediction && prompt_tokens > 0 && prompt_tokens != usual)
    return ask_plan(options, model, setting, usual);
  return prediction;
}

Status measure_machine(const StudyOptions& options, const std::vector<Model>& models) {
  Error last{ErrorKind::kUsage, "there is no model"};
  for (const Model& model : models) {
    Command command;
    command.arguments = {options.program, "plan", model.path, "--json"};
    command.timeout = kMeasureTimeout;
    command.interrupted = options.interrupted;
    command.origin = std::chrono::steady_clock::now();
    const Result<Outcome> outcome = options.run(command);
    if (!outcome) return fail(outcome.error());
    if (outcome->interrupted) return {};
    if (parse_prediction(outcome->output)) return {};
    last = {ErrorKind::kUnsupported, outcome->timed_out        ? "it takes too long"
                                     : outcome->errors.empty() ? "it says nothing"
                                                               : outcome->errors.back().text};
  }
  return fail(std::move(last));
}

}  // namespace sluice::report
