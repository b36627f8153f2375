// SPDX-License-Identifier: Apache-2.0
// What would help most: the plan is made again for a machine or settings that differ in one thing.
#include <algorithm>
#include <functional>

#include "plan/plan.h"

namespace sluice::plan {
namespace {

constexpr uint64_t kGigabyte = uint64_t{1} << 30;
constexpr double kWorthTelling = 1.05;

struct Candidate {
  std::string kind;  // of the same kind the later ones are larger
  std::string change;
  std::function<void(machine::Machine&, machine::DiskTimes&, Settings&)> apply;
};

// What is waited for longest is generating.
double worth_of(const Advice& entry) {
  return entry.generation + entry.prompt / 8;
}

void add_memory(machine::Machine& machine, Settings& settings, uint64_t bytes) {
  machine.memory_bytes += bytes;
  machine.available_bytes += bytes;
  if (settings.ram > 0) settings.ram += bytes;
}

void add_device_memory(machine::Machine& machine, Settings& settings, uint64_t bytes) {
  machine.accelerator->memory_bytes += bytes;
  machine.accelerator->free_bytes += bytes;
  if (settings.vram > 0) settings.vram += bytes;
}

std::vector<Candidate> candidates(const machine::Machine& machine, const Settings& settings,
                                  const std::optional<Forecast>& now) {
  using machine::DiskTimes;
  using machine::Machine;
  std::vector<Candidate> all;
  const bool reads = !now || now->shares.disk > 0;
  if (reads) {
    for (const int more : {4, 8, 16, 32})
      all.push_back(
          {"RAM", fmt::format("+{} GB RAM", more), [more](Machine& m, DiskTimes&, Settings& s) {
             add_memory(m, s, kGigabyte * static_cast<uint64_t>(more));
           }});
    all.push_back({"", "a disk twice as fast", [](Machine&, DiskTimes& disk, Settings&) {
                     for (machine::ReadsTime& time : disk.times) time.seconds /= 2;
                   }});
  }
  if (machine.accelerator && settings.gpu_layers != 0 &&
      !(now && now->placement.device && now->placement.device->all_experts()))
    for (const int more : {2, 6, 18})
      all.push_back(
          {"VRAM", fmt::format("+{} GB VRAM", more), [more](Machine& m, DiskTimes&, Settings& s) {
             add_device_memory(m, s, kGigabyte * static_cast<uint64_t>(more));
           }});
  if (reads || (now && now->placement.device)) {
    if (settings.cache.key == quant::Type::kF16)
      all.push_back({"", "-ctk q8_0 -ctv q8_0", [](Machine&, DiskTimes&, Settings& s) {
                       s.cache.key = s.cache.value = quant::Type::kQ8_0;
                     }});
    const int64_t context = now ? now->placement.memory.context : settings.context;
    if (context > 4096)
      all.push_back({"", "-c 4096", [](Machine&, DiskTimes&, Settings& s) { s.context = 4096; }});
  }
  if (settings.ubatch < 2048)
    all.push_back({"", "-ub 2048", [](Machine&, DiskTimes&, Settings& s) { s.ubatch = 2048; }});
  return all;
}

}  // namespace

std::vector<Advice> Planner::advise(const machine::Machine& machine, const machine::DiskTimes* disk,
                                    const Corrections& corrections, const Settings& settings,
                                    const std::optional<Forecast>& now) const {
  std::vector<Advice> advice;
  std::string last_kind;
  double last_worth = 0;
  for (const Candidate& candidate : candidates(machine, settings, now)) {
    machine::Machine changed = machine;
    machine::DiskTimes changed_disk = disk ? *disk : usual_disk();
    Settings changed_settings = settings;
    if (now && settings.context == 0) changed_settings.context = now->placement.memory.context;
    candidate.apply(changed, changed_disk, changed_settings);
    const auto then = forecast(changed, &changed_disk, corrections, changed_settings);
    if (!then) continue;
    Advice entry{candidate.change};
    entry.makes_it_fit = !now;
    if (now) {
      entry.generation = then->tg128.value / now->tg128.value;
      entry.prompt = then->pp2048.value / now->pp2048.value;
    }
    if (now && std::max(entry.generation, entry.prompt) < kWorthTelling) continue;
    // More of what a smaller change gives already.
    const double worth = worth_of(entry);
    if (!candidate.kind.empty() && candidate.kind == last_kind &&
        (!now || worth < last_worth * kWorthTelling))
      continue;
    last_kind = candidate.kind;
    last_worth = worth;
    advice.push_back(std::move(entry));
  }
  std::ranges::stable_sort(advice, std::greater{}, worth_of);
  return advice;
}

}  // namespace sluice::plan
