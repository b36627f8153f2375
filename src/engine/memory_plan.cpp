// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>

#include "engine/plan_sizes.h"
#include "engine/session_memory.h"
#include "residency/expert_cache.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr int64_t kLeastContext = 4096;  // of those that are chosen here

// Measured: the program and its libraries, then per entry of the vocabulary, then what a batch's
// rows pass through.
uint64_t buffer_bytes(const model::Config& c, int64_t ubatch) {
  return 64 * kMebibyte + static_cast<uint64_t>(c.vocabulary) * 400 + row_buffer_bytes(c, ubatch);
}

}  // namespace

Result<MemoryPlan> plan_memory(const std::string& path, const gguf::Gguf& file,
                               const model::Config& config, const MemoryRequest& request) {
  MemoryPlan plan;
  plan.budget = request.budget;
  for (const gguf::Tensor& tensor : file.tensors())
    if (is_loaded(tensor.name, config) && !is_expert(tensor.name) &&
        (!request.device || tensor.name == "token_embd.weight"))
      plan.weights += tensor.bytes;
  const residency::ExpertTable experts = expert_sizes(file, config);
  plan.experts = residency::ExpertCache::full_bytes(experts);
  // Beside those on the device some slots are needed for experts on their way.
  constexpr uint64_t kPassing = 16;
  plan.elsewhere = std::min(request.device_experts, plan.experts);
  uint64_t wanted = plan.experts - plan.elsewhere;
  if (request.device && config.experts > 0)
    wanted =
        std::min(plan.experts, wanted + kPassing * plan.experts /
                                            static_cast<uint64_t>(config.experts * config.layers));
  plan.buffers = buffer_bytes(config, request.ubatch);
  const auto session_of = [&](int64_t context) {
    const SessionMemory memory =
        session_memory(config, context, request.cache, request.checkpoints);
    return (request.device ? 0 : memory.cache + memory.states) + memory.all_checkpoints();
  };
  plan.context = request.context > 0 ? request.context : config.context;
  plan.session = session_of(plan.context);
  const uint64_t fixed = plan.weights + plan.buffers;
  // Nobody asked for the longest context: it must not crowd out the experts.
  if (request.context == 0)
    while (plan.context > kLeastContext && plan.session > request.budget / 8 &&
           fixed + plan.session + wanted > request.budget) {
      plan.context = std::max(kLeastContext, plan.context / 2);
      plan.session = session_of(plan.context);
    }

  // A token's experts must be there together, or every token would read all of its experts.
  const auto used = static_cast<int32_t>(config.experts_used);
  const uint64_t token = config.experts > 0 ? plan.experts / static_cast<uint64_t>(config.experts) *
                                                  static_cast<uint64_t>(used)
                                            : 0;
  const uint64_t least = std::max(residency::ExpertCache::least_bytes(experts, used),
                                  token - std::min(token, plan.elsewhere));
  const uint64_t needed = fixed + plan.session + least;
  if (needed > request.budget) {
    std::string remedy = fmt::format("--ram {:.1f}G", gibibytes(needed) + 0.05);
    int64_t context = plan.context;
    while (context > 256 && fixed + session_of(context) + least > request.budget) context /= 2;
    if (context < plan.context && fixed + session_of(context) + least <= request.budget)
      remedy += fmt::format(" or -c {}", context);
    return fail(
        ErrorKind::kTooLarge,
        "{}: {:.2f} GiB of memory are too little: weights {:.2f}, one token's experts {:.2f}, "
        "context of {} {:.2f}, buffers {:.2f}: use {}",
        path, gibibytes(request.budget), gibibytes(plan.weights), gibibytes(least), plan.context,
        gibibytes(plan.session), gibibytes(plan.buffers), remedy);
  }
  plan.cache = std::min(std::max(wanted, least), request.budget - fixed - plan.session);
  return plan;
}

std::string describe(const MemoryPlan& plan) {
  std::string text =
      fmt::format("memory {:.2f} of {:.2f} GiB: weights {:.2f}", gibibytes(plan.total()),
                  gibibytes(plan.budget), gibibytes(plan.weights));
  if (plan.experts > 0) {
    text += fmt::format(", experts {:.2f}", gibibytes(plan.cache));
    if (!plan.all_experts())
      text += fmt::format(" of {:.2f} ({:.0f} %, the rest is read when needed)",
                          gibibytes(plan.experts),
                          100.0 * static_cast<double>(plan.cache + plan.elsewhere) /
                              static_cast<double>(plan.experts));
  }
  return text + fmt::format(", context of {} {:.2f}, buffers {:.2f}", plan.context,
                            gibibytes(plan.session), gibibytes(plan.buffers));
}

}  // namespace sluice::engine
