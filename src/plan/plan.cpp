// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <algorithm>
#include <cmath>

#include "engine/plan_sizes.h"

namespace sluice::plan {
namespace {

// Of machines of which nothing was learned yet.
double usual_interval(Kind kind) {
  switch (kind) {
    case Kind::kDecode:
    case Kind::kPrefill:
      return 1.25;
    case Kind::kDisk:
    case Kind::kDevice:
      return 1.4;
  }
  return 1.4;
}

Estimate estimate(double value, Kind kind, const Corrections& corrections) {
  const double around = corrections.of(kind).interval(usual_interval(kind));
  return {value, value / around, value * around};
}

uint64_t part_of(uint64_t bytes, double share) {
  return static_cast<uint64_t>(std::llround(static_cast<double>(bytes) * share));
}

}  // namespace

Result<Planner> Planner::create(const gguf::Gguf& file, const Settings& settings) {
  SLUICE_ASSIGN(model::Config config, model::Config::read(file, settings.rope));
  if (!settings.drafts) config.draft_layers = 0;
  return Planner(file, std::move(config));
}

uint32_t Planner::part_bytes() const {
  if (config_.experts == 0) return 0;
  const gguf::Tensor* part = file_->find_tensor("blk.0.ffn_down_exps.weight");
  const uint64_t bytes = part ? part->bytes / static_cast<uint64_t>(config_.experts) : 0;
  return static_cast<uint32_t>(std::min<uint64_t>(bytes, UINT32_MAX));
}

Result<engine::Placement> Planner::place(const machine::Machine& machine, const Settings& s) const {
  engine::PlacementRequest request;
  request.memory = {.budget = s.ram > 0 ? s.ram : engine::default_ram(machine.available_bytes),
                    .context = s.context,
                    .ubatch = s.ubatch,
                    .cache = s.cache,
                    .checkpoints = s.checkpoints};
  request.device_required = s.gpu_layers > 0;
  request.device = s.device;
  request.overrides = s.overrides;
  request.cpu_moe_layers = s.cpu_moe_layers;
  if (machine.accelerator && s.gpu_layers != 0)
    request.vram = s.vram > 0 ? s.vram
                              : engine::default_vram(machine.accelerator->free_bytes,
                                                     machine.accelerator->memory_bytes);
  return engine::place(s.model, *file_, config_, request);
}

Result<Forecast> Planner::forecast(const machine::Machine& machine, const machine::DiskTimes* disk,
                                   const Corrections& corrections, const Settings& settings) const {
  Forecast f;
  SLUICE_ASSIGN(f.placement, place(machine, settings));
  const Predictor predictor(work_, machine, f.placement, disk, corrections,
                            {settings.threads, settings.ubatch});
  f.shares = predictor.shares();
  const engine::MemoryPlan& memory = f.placement.memory;
  if (f.placement.device) f.device.bytes = f.placement.device->total();
  f.memory.bytes = memory.total();
  f.disk.bytes = memory.experts - std::min(memory.experts, memory.cache + memory.elsewhere);
  const uint64_t experts = work_.expert_bytes();
  f.disk.per_token = part_of(experts, f.shares.disk);
  // What comes from the disk is computed from memory.
  f.memory.per_token = part_of(experts, f.shares.memory + f.shares.disk);
  f.device.per_token = part_of(experts, f.shares.device);
  (f.placement.device ? f.device : f.memory).per_token += work_.dense_bytes();

  f.token = predictor.token(settings.depth + 64);
  f.bound = f.token.bound(false);
  const auto speed = [&](StepTime step, int64_t tokens, bool prompt) {
    return estimate(static_cast<double>(tokens) / step.total, step.bound(prompt), corrections);
  };
  const auto first_token = [&](int64_t tokens) {
    const StepTime step = predictor.prompt(tokens, settings.depth);
    return estimate(step.total, step.bound(true), corrections);
  };
  f.tg128 = speed(predictor.generation(128, settings.depth), 128, false);
  f.pp512 = speed(predictor.prompt(512, settings.depth), 512, true);
  f.pp2048 = speed(predictor.prompt(2048, settings.depth), 2048, true);
  f.prompt = settings.prompt;
  if (f.prompt > 0) f.asked = speed(predictor.prompt(f.prompt, settings.depth), f.prompt, true);
  f.first_token_30 = first_token(30);
  f.first_token_512 = first_token(512);
  return f;
}

Plan Planner::plan(const machine::Machine& machine, const machine::DiskTimes* disk,
                   const Corrections& corrections, const Settings& settings) const {
  Plan plan;
  plan.model = engine::describe(*file_);
  plan.experts = config_.experts;
  plan.used = config_.experts_used;
  auto now = forecast(machine, disk, corrections, settings);
  if (now) {
    if (now->placement.device_refused) plan.notes.push_back(now->placement.device_refused->message);
    for (const std::string& one : now->placement.unused)
      plan.notes.push_back(fmt::format("-ot {} changes nothing", one));
    if (now->shares.disk > 0) {
      plan.notes.push_back(fmt::format("disk: {}", disk ? disk->what : usual_disk().what));
      plan.notes.push_back(
          "hit rates are those of text once the cache is warm; the first tokens are slower");
    }
    plan.forecast = std::move(*now);
  } else {
    plan.refusal = now.error().message;
  }
  std::string learned;
  for (const Kind kind : {Kind::kDecode, Kind::kPrefill, Kind::kDisk, Kind::kDevice})
    if (const Correction& c = corrections.of(kind); c.count > 0)
      learned += fmt::format("{}{} x{:.2f} ({})", learned.empty() ? "" : ", ", name_of(kind),
                             c.factor, c.count);
  if (!learned.empty())
    plan.notes.push_back("times are corrected by earlier runs here: " + learned);
  if (!machine.note.empty()) plan.notes.push_back("machine: " + machine.note);
  plan.advice = advise(machine, disk, corrections, settings, plan.forecast);
  return plan;
}

}  // namespace sluice::plan
