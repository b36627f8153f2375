// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "engine/plan_sizes.h"
#include "plan/plan.h"

namespace sluice::plan {
namespace {

using Json = nlohmann::ordered_json;

std::string line(const char* title, const std::string& text) {
  return fmt::format("{:<10} {}\n", title, text);
}

std::string bytes_text(uint64_t bytes) {
  const double mebibytes = static_cast<double>(bytes) / (1 << 20);
  return mebibytes >= 1000 ? fmt::format("{:.2f} GiB", mebibytes / 1024)
                           : fmt::format("{:.0f} MiB", mebibytes);
}

std::string number(double value) {
  return value >= 100   ? fmt::format("{:.0f}", value)
         : value >= 1   ? fmt::format("{:.1f}", value)
         : value >= 0.1 ? fmt::format("{:.2f}", value)
                        : fmt::format("{:.2g}", value);
}

std::string text_of(const Estimate& e) {
  return fmt::format("{} ({} to {})", number(e.value), number(e.low), number(e.high));
}

// What a token waits for.
const char* bound_text(Kind kind) {
  switch (kind) {
    case Kind::kDecode:
    case Kind::kPrefill:
      return "the processor and its memory";
    case Kind::kDisk:
      return "the disk";
    case Kind::kDevice:
      return "the GPU";
  }
  return "";
}

Json json_of(const Estimate& e) {
  return {{"value", e.value}, {"low", e.low}, {"high", e.high}};
}

Json json_of(const Tier& tier) {
  return {{"bytes", tier.bytes}, {"bytes_per_token", tier.per_token}};
}

std::string advice_text(const Advice& advice) {
  if (advice.makes_it_fit) return advice.change + ": it fits";
  std::string text = advice.change + ":";
  const bool generation = advice.generation >= 1.05 || advice.generation < 0.96;
  if (generation) text += fmt::format(" x{:.2g} generating", advice.generation);
  if (advice.prompt >= 1.05 || advice.prompt < 0.96)
    text += fmt::format("{} x{:.2g} reading prompts", generation ? "," : "", advice.prompt);
  return text;
}

std::string forecast_text(const Forecast& f, const Plan& plan) {
  std::string out;
  const engine::MemoryPlan& memory = f.placement.memory;
  if (f.placement.device)
    out += line("VRAM", engine::describe(*f.placement.device, memory.context).substr(5));
  out += line("memory", engine::describe(memory).substr(7));
  if (f.disk.bytes > 0)
    out +=
        line("disk", fmt::format("{} of experts are read when needed", bytes_text(f.disk.bytes)));
  std::string token = "reads ";
  if (f.placement.device) token += fmt::format("{} of VRAM, ", bytes_text(f.device.per_token));
  token += fmt::format("{} of memory", bytes_text(f.memory.per_token));
  if (f.shares.disk > 0) token += fmt::format(", {} of the disk", bytes_text(f.disk.per_token));
  if (plan.experts > 0 && (f.shares.disk > 0 || f.placement.device)) {
    token += "; experts:";
    if (f.placement.device) token += fmt::format(" {:.0f} % VRAM,", 100 * f.shares.device);
    token += fmt::format(" {:.0f} % memory", 100 * f.shares.memory);
    if (f.shares.disk > 0) token += fmt::format(", {:.1f} % disk", 100 * f.shares.disk);
  }
  out += line("a token", token + "; waits for " + bound_text(f.bound));
  out += line("generates", text_of(f.tg128) + " tokens/s (tg128)");
  std::string prompts =
      fmt::format("{} tokens/s (pp512), {} (pp2048)", text_of(f.pp512), text_of(f.pp2048));
  if (f.asked) prompts += fmt::format(", {} (pp{})", text_of(*f.asked), f.prompt);
  out += line("prompts", prompts);
  out += line("first", fmt::format("token after {} s (30 tokens of prompt), {} s (512)",
                                   text_of(f.first_token_30), text_of(f.first_token_512)));
  return out;
}

}  // namespace

std::string format_text(const Plan& plan, const machine::Machine& machine) {
  std::string out =
      line("model", fmt::format("{}, {}", plan.model.name, bytes_text(plan.model.bytes)));
  out += line("machine", machine::describe(machine));
  if (plan.forecast) {
    out += line("fits", plan.forecast->placement.memory.all_experts() ? "yes, all of it"
                                                                      : "yes; experts come and go");
    out += forecast_text(*plan.forecast, plan);
  } else {
    out += line("fits", "no: " + plan.refusal);
  }
  for (size_t i = 0; i < plan.advice.size(); ++i)
    out += line(i == 0 ? "helps" : "", advice_text(plan.advice[i]));
  for (const std::string& note : plan.notes) out += line("note", note);
  return out;
}

std::string format_json(const Plan& plan, const machine::Machine& machine) {
  Json json = {{"model",
                {{"name", plan.model.name},
                 {"bytes", plan.model.bytes},
                 {"parameters", plan.model.parameters},
                 {"experts", plan.experts},
                 {"experts_used", plan.used}}},
               {"machine", machine::describe(machine)},
               {"fits", plan.forecast.has_value()}};
  if (!plan.forecast) json["refusal"] = plan.refusal;
  if (plan.forecast) {
    const Forecast& f = *plan.forecast;
    const engine::MemoryPlan& m = f.placement.memory;
    json["context"] = m.context;
    json["all_in_memory"] = m.all_experts();
    json["tiers"] = {
        {"vram", json_of(f.device)}, {"memory", json_of(f.memory)}, {"disk", json_of(f.disk)}};
    json["memory"] = {{"budget", m.budget},       {"weights", m.weights}, {"experts", m.cache},
                      {"all_experts", m.experts}, {"context", m.session}, {"buffers", m.buffers},
                      {"total", m.total()}};
    if (const auto& d = f.placement.device)
      json["vram"] = {{"budget", d->budget},   {"weights", d->weights}, {"experts", d->cache},
                      {"context", d->session}, {"buffers", d->buffers}, {"total", d->total()}};
    json["experts"] = {
        {"vram", f.shares.device}, {"memory", f.shares.memory}, {"disk", f.shares.disk}};
    json["token_seconds"] = {{"total", f.token.total},
                             {"processor", f.token.processor},
                             {"disk", f.token.disk},
                             {"device", f.token.device}};
    json["bound"] = name_of(f.bound);
    json["tg128"] = json_of(f.tg128);
    json["pp512"] = json_of(f.pp512);
    json["pp2048"] = json_of(f.pp2048);
    if (f.asked) {
      json["prompt"] = json_of(*f.asked);
      json["prompt"]["tokens"] = f.prompt;
    }
    json["first_token_seconds_30"] = json_of(f.first_token_30);
    json["first_token_seconds_512"] = json_of(f.first_token_512);
  }
  Json advice = Json::array();
  for (const Advice& entry : plan.advice)
    advice.push_back({{"change", entry.change},
                      {"generation", entry.generation},
                      {"prompt", entry.prompt},
                      {"makes_it_fit", entry.makes_it_fit}});
  json["advice"] = std::move(advice);
  json["notes"] = plan.notes;
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace sluice::plan
