// SPDX-License-Identifier: Apache-2.0
#include "engine/placement.h"

#include <algorithm>

namespace sluice::engine {
namespace {

constexpr int64_t kLeastContext = 4096;  // of those that are chosen here

}  // namespace

uint64_t default_ram(uint64_t available) {
  constexpr uint64_t kMargin = uint64_t{512} << 20;
  return available - std::min({available, kMargin, available / 10});
}

// Displays and other programs come and go on small cards.
uint64_t default_vram(uint64_t free_bytes, uint64_t total_bytes) {
  constexpr uint64_t kMargin = uint64_t{1} << 30;
  return free_bytes + kDriverBytes - std::min({free_bytes, kMargin, total_bytes / 16});
}

Result<Placement> place(const std::string& path, const gguf::Gguf& file,
                        const model::Config& config, const PlacementRequest& wanted) {
  Placement placement;
  MemoryRequest request = wanted.memory;
  if (wanted.vram) {
    const uint64_t budget = *wanted.vram;
    SLUICE_ASSIGN(ExpertPlaces places, place_experts(path, file, config, wanted.overrides,
                                                     wanted.device, wanted.cpu_moe_layers));
    request.places = std::move(places.layers);
    placement.unused = std::move(places.unused);
    // Nobody asked for the longest context: it must not crowd out the experts.
    int64_t context = request.context > 0 ? request.context : config.context;
    const auto fits = [&](const Result<DevicePlan>& plan) {
      return plan && (plan->all_experts() || plan->session <= budget / 8);
    };
    auto plan = plan_device(path, file, config, request, budget, context);
    while (request.context == 0 && context > kLeastContext && !fits(plan)) {
      context = std::max(kLeastContext, context / 2);
      plan = plan_device(path, file, config, request, budget, context);
    }
    if (plan && request.sessions == 0)
      for (request.sessions = kMostSessions; request.sessions > 1; request.sessions /= 2)
        if (auto more = plan_device(path, file, config, request, budget, context); fits(more)) {
          plan = std::move(more);
          break;
        }
    if (plan) {
      placement.device = *plan;
      request.context = context;
      request.device = true;
      request.device_experts = placement.device->cache;
    } else if (wanted.device_required) {
      return fail(std::move(plan.error()));
    } else {
      placement.device_refused = std::move(plan.error());
    }
  }
  if (!placement.device) {  // all is in main memory already
    placement.unused.clear();
    for (const TensorOverride& one : wanted.overrides)
      if (one.device != TensorOverride::kHost) placement.unused.push_back(one.text());
  }
  SLUICE_ASSIGN(placement.memory, plan_memory(path, file, config, request));
  return placement;
}

}  // namespace sluice::engine
