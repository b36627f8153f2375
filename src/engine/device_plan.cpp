// SPDX-License-Identifier: Apache-2.0
#include "engine/device_plan.h"

#include <algorithm>

#include "engine/plan_sizes.h"
#include "engine/session_memory.h"
#include "residency/device_tier.h"

namespace sluice::engine {
namespace {

// What a batch's rows pass through, and experts on their way.
uint64_t device_buffers(const model::Config& c, int64_t ubatch, uint64_t expert_bytes,
                        int sessions) {
  constexpr uint64_t kPassing = 20;
  // Measured: the kernels' scratch for recurrent layers and shared experts.
  const uint64_t recurrent = c.attention_layers() < c.layers ? uint64_t{256} << 20 : 0;
  return kDriverBytes + recurrent + row_buffer_bytes(c, ubatch) +
         times(static_cast<uint64_t>(c.vocabulary) * sizeof(float), sessions) +
         kPassing * expert_bytes;
}

}  // namespace

Result<DevicePlan> plan_device(const std::string& path, const gguf::Gguf& file,
                               const model::Config& config, const MemoryRequest& request,
                               uint64_t budget, int64_t context) {
  DevicePlan plan;
  plan.budget = budget;
  plan.sessions = std::max(request.sessions, 1);
  const bool tied = !file.find_tensor("output.weight");
  for (const gguf::Tensor& tensor : file.tensors())
    if (is_loaded(tensor.name, config) && !is_expert(tensor.name) &&
        (tied || tensor.name != "token_embd.weight"))
      plan.weights += tensor.bytes;
  const residency::ExpertTable experts = expert_sizes(file, config);
  plan.experts = residency::DeviceTier::full_bytes(experts);
  const auto session_of = [&](int64_t positions) {
    const SessionMemory memory = session_memory(config, positions, request.cache, {0, 0, -1});
    return times(memory.cache + memory.states + memory.ahead, plan.sessions);
  };
  plan.session = session_of(context);
  uint64_t expert_bytes = 0;
  for (const residency::LayerExperts& layer : experts.layers)
    expert_bytes = std::max(expert_bytes, layer.expert_bytes());
  plan.buffers = device_buffers(config, request.ubatch, expert_bytes, plan.sessions);
  plan.places = request.places;
  plan.pinned = residency::DeviceTier::pinned_bytes(experts, request.places);
  const uint64_t needed = plan.total() + plan.pinned;
  if (needed > budget) {
    std::string remedy = fmt::format("--vram {:.1f}G", gibibytes(needed) + 0.05);
    int64_t smaller = context;
    while (smaller > 256 && needed - plan.session + session_of(smaller) > budget) smaller /= 2;
    if (smaller < context && needed - plan.session + session_of(smaller) <= budget)
      remedy += fmt::format(" or -c {}", smaller);
    return fail(ErrorKind::kTooLarge,
                "{}: {:.2f} GiB of VRAM are too little: weights {:.2f}, {}context of {} {:.2f}, "
                "buffers {:.2f}: use {}, or -ngl 0 to compute on the CPU",
                path, gibibytes(budget), gibibytes(plan.weights),
                plan.pinned > 0
                    ? fmt::format("experts that -ot wants there {:.2f}, ", gibibytes(plan.pinned))
                    : "",
                context, gibibytes(plan.session), gibibytes(plan.buffers), remedy);
  }
  plan.cache = std::min(residency::DeviceTier::full_bytes(experts, request.places),
                        budget - needed + plan.pinned);
  return plan;
}

std::string describe(const DevicePlan& plan, int64_t context) {
  std::string text =
      fmt::format("VRAM {:.2f} of {:.2f} GiB: weights {:.2f}", gibibytes(plan.total()),
                  gibibytes(plan.budget), gibibytes(plan.weights));
  if (plan.experts > 0) {
    text += fmt::format(", experts {:.2f}", gibibytes(plan.cache));
    if (!plan.all_experts())
      text +=
          fmt::format(" of {:.2f} ({:.0f} %)", gibibytes(plan.experts),
                      100.0 * static_cast<double>(plan.cache) / static_cast<double>(plan.experts));
  }
  const std::string contexts =
      plan.sessions > 1 ? fmt::format("{} contexts", plan.sessions) : std::string("context");
  return text + fmt::format(", {} of {} {:.2f}, buffers {:.2f}", contexts, context,
                            gibibytes(plan.session), gibibytes(plan.buffers));
}

}  // namespace sluice::engine
