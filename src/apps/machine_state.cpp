// SPDX-License-Identifier: Apache-2.0
#include "apps/machine_state.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice::apps {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMostCells = 1'000'000;
constexpr size_t kLongestEvent = size_t{32} << 20;
constexpr size_t kLongestText = 256;

tl::unexpected<Error> malformed(const char* what) {
  return fail(ErrorKind::kBadFile, "{}: not what `sluice serve` says", what);
}

const Json* member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

std::optional<double> number(const Json& object, const char* name) {
  const Json* value = member(object, name);
  if (!value || !value->is_number()) return std::nullopt;
  const auto number = value->get<double>();
  // Far beyond any machine, and far from where sums overflow.
  return std::isfinite(number) ? std::optional(std::clamp(number, 0.0, 1e18)) : std::nullopt;
}

std::optional<int64_t> whole(const Json& object, const char* name, int64_t most) {
  const auto value = number(object, name);
  if (!value || *value != std::floor(*value) || *value > static_cast<double>(most))
    return std::nullopt;
  return static_cast<int64_t>(*value);
}

// Without what a terminal would obey: the control characters of ASCII and those behind it.
std::string text(const Json& object, const char* name) {
  const Json* value = member(object, name);
  if (!value || !value->is_string()) return "";
  const auto& from = value->get_ref<const std::string&>();
  std::string clean;
  for (size_t i = 0; i < from.size() && clean.size() < kLongestText; ++i) {
    const auto byte = static_cast<unsigned char>(from[i]);
    if (byte == 0xC2 && i + 1 < from.size() && static_cast<unsigned char>(from[i + 1]) < 0xA0)
      ++i;
    else if (byte >= 0x20 && byte != 0x7F)
      clean += from[i];
  }
  return clean;
}

void set_tier(MachineState& state, size_t cell, int tier) {
  --state.counts[state.tiers[cell]];
  ++state.counts[static_cast<size_t>(tier)];
  state.tiers[cell] = static_cast<uint8_t>(tier);
}

void remember(std::deque<double>& values, double value) {
  values.push_back(value);
  if (values.size() > MachineState::kHistory) values.pop_front();
}

}  // namespace

Result<MachineState> read_machine(const std::string& json) {
  const Json body = Json::parse(json, nullptr, false);
  if (!body.is_object()) return malformed("/machine");
  MachineState state;
  state.model = text(body, "model");
  state.backend = text(body, "backend");
  const auto layers = whole(body, "layers", kMostCells);
  const auto experts = whole(body, "experts", kMostCells);
  if (!layers || !experts || *layers * *experts > kMostCells)
    return malformed("/machine: layers, experts");
  state.layers = *layers;
  state.experts = *experts;
  state.used = whole(body, "used", kMostCells).value_or(0);
  state.expert_bytes = number(body, "expert_bytes").value_or(0);
  if (const Json* budgets = member(body, "budgets")) {
    state.budget[kVram] = number(*budgets, "vram").value_or(0);
    state.budget[kRam] = number(*budgets, "ram").value_or(0);
  }
  state.tiers.assign(static_cast<size_t>(state.cells()), kSsd);
  state.heat.assign(state.tiers.size(), 0);
  state.counts[kSsd] = state.cells();
  return state;
}

Status apply_event(const std::string& json, MachineState& state) {
  const Json event = Json::parse(json, nullptr, false);
  if (!event.is_object()) return malformed("/machine/stream");
  const auto cells = static_cast<int64_t>(state.tiers.size());
  const auto is_cell = [&](const Json& value) {
    return value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(cells);
  };
  if (const Json* tiers = member(event, "tiers"); tiers && tiers->is_string()) {
    const auto& digits = tiers->get_ref<const std::string&>();
    if (static_cast<int64_t>(digits.size()) != cells ||
        digits.find_first_not_of("012") != std::string::npos)
      return malformed("/machine/stream: tiers");
    for (size_t i = 0; i < digits.size(); ++i) set_tier(state, i, digits[i] - '0');
  }
  if (const Json* changes = member(event, "changes"); changes && changes->is_array()) {
    for (const Json& change : *changes) {
      if (!change.is_array() || change.size() != 2 || !is_cell(change[0]) ||
          !change[1].is_number_unsigned() || change[1].get<uint64_t>() >= kTiers)
        return malformed("/machine/stream: changes");
      set_tier(state, change[0].get<size_t>(), change[1].get<int>());
    }
  }
  for (uint8_t& heat : state.heat) heat /= 2;
  if (const Json* lit = member(event, "lit"); lit && lit->is_array()) {
    for (const Json& cell : *lit) {
      if (!is_cell(cell)) return malformed("/machine/stream: lit");
      state.heat[cell.get<size_t>()] = MachineState::kHottest;
    }
  }
  const auto get = [&](const char* group, const char* name) {
    const Json* values = member(event, group);
    return values ? number(*values, name) : std::nullopt;
  };
  state.memory[kVram] = get("memory", "vram").value_or(0);
  state.memory[kRam] = get("memory", "ram").value_or(0);
  state.memory[kSsd] = cells > 0 ? state.expert_bytes * static_cast<double>(state.counts[kSsd]) /
                                       static_cast<double>(cells)
                                 : 0;
  state.hits[kVram] = get("hits", "vram");
  state.hits[kRam] = get("hits", "ram");
  state.disk_rate = number(event, "disk_rate").value_or(0);
  state.link_rate = number(event, "link_rate").value_or(0);
  state.tokens_per_second = number(event, "tokens_per_second").value_or(0);
  state.attention_ms = get("token", "attention_ms");
  state.cpu_ms = get("token", "cpu_ms");
  state.gpu_ms = get("token", "gpu_ms");
  state.waiting_ms = get("token", "waiting_ms");
  remember(state.speeds, state.tokens_per_second);
  remember(state.disk_rates, state.disk_rate);
  return {};
}

Status EventLines::add(std::string_view bytes, std::vector<std::string>& events) {
  for (const char c : bytes) {
    if (c == '\r') continue;
    if (c != '\n') {
      if (line_.size() + data_.size() > kLongestEvent) return malformed("/machine/stream");
      line_ += c;
      continue;
    }
    if (line_.empty()) {
      if (!data_.empty()) events.push_back(std::move(data_));
      data_.clear();
    } else if (line_.starts_with("data:")) {
      if (!data_.empty()) data_ += '\n';
      data_.append(line_, line_.starts_with("data: ") ? 6 : 5);
    }
    line_.clear();
  }
  return {};
}

}  // namespace sluice::apps
