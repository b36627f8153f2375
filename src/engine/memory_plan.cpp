// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>

#include "engine/plan_sizes.h"
#include "engine/session_memory.h"
#include "quant/quant.h"
#include "residency/slot_arena.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr int64_t kLeastContext = 4096;  // of those that are chosen here

// A row of packed activations, blocks of 256 in 320 bytes (quant::ActBlock).
uint64_t packed(int64_t elements) {
  return static_cast<uint64_t>(quant::act_blocks(elements)) * sizeof(quant::ActBlock);
}

// What one row of a batch takes on its way, in the order in which it is reserved.
uint64_t row_bytes(const model::Config& c) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const model::DeltaNetConfig& d = c.delta_net;
  const bool recurrent = c.attention_layers() < c.layers;
  int64_t floats = 2 * c.dim + 2 * c.rope.dims;       // both ends, angles
  floats += (c.attention_gate ? 3 : 2) * q + 2 * kv;  // attention
  if (recurrent) floats += 2 * (d.channels() + d.values() + d.value_heads);
  // What guesses ahead follows every row, with an attention's keys and values of its own.
  if (c.draft_layers > 0) floats += 7 * c.dim + 2 * kv;
  const int64_t hidden =
      std::max(c.experts_used * c.expert_hidden + c.shared_expert_hidden, c.hidden);
  floats += hidden + c.experts;  // feed-forward, router
  uint64_t bytes = static_cast<uint64_t>(floats) * sizeof(float) + packed(hidden);
  // Inputs of products; attention's count twice (finer activations).
  bytes += std::max({packed(2 * c.dim), 2 * packed(q), packed(recurrent ? d.values() : 0)});
  return bytes + static_cast<uint64_t>(c.experts_used) * 4 * sizeof(int32_t);
}

// The vocabulary, as the tables that the file holds are kept and looked up, takes about four times
// its bytes in the file; that lies before the first tensor, or in a part without any.
uint64_t vocabulary_bytes(const gguf::Gguf& file, const model::Config& config) {
  uint64_t before = UINT64_MAX;
  for (const gguf::Tensor& tensor : file.tensors())
    if (tensor.file == 0) before = std::min(before, tensor.offset);
  return before == UINT64_MAX ? static_cast<uint64_t>(config.vocabulary) * 160 : 4 * before;
}

// The program with its libraries and threads was measured, and so was what is noted per expert; the
// rest follows the code.
uint64_t buffer_bytes(const gguf::Gguf& file, const model::Config& c, int64_t ubatch,
                      int sessions) {
  const auto experts = static_cast<uint64_t>(c.experts * (c.layers + c.draft_layers));
  // Rows of logits, and of every session its own with what its sampler sorts.
  const uint64_t logits =
      static_cast<uint64_t>(c.vocabulary) * static_cast<uint64_t>(6 * sessions + 2) * sizeof(float);
  return 16 * kMebibyte + vocabulary_bytes(file, c) + experts * 300 + logits +
         static_cast<uint64_t>(ubatch) * row_bytes(c);
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
  plan.experts = residency::SlotArena::full_bytes(experts);
  // Beside those on the device some slots are needed for experts on their way.
  constexpr uint64_t kPassing = 16;
  plan.elsewhere = std::min(request.device_experts, plan.experts);
  uint64_t wanted = plan.experts - plan.elsewhere;
  if (request.device && config.experts > 0)
    wanted =
        std::min(plan.experts, wanted + kPassing * plan.experts /
                                            static_cast<uint64_t>(config.experts * config.layers));
  plan.sessions = std::max(request.sessions, 1);
  const auto session_of = [&](int64_t context) {
    CheckpointOptions checkpoints = request.checkpoints;
    checkpoints.bytes /= static_cast<uint64_t>(plan.sessions);
    const SessionMemory memory = session_memory(config, context, request.cache, checkpoints);
    const uint64_t sequence = memory.cache + memory.states + memory.ahead;
    return times((request.device ? 0 : sequence) + memory.all_checkpoints(), plan.sessions);
  };
  plan.context = request.context > 0 ? request.context : config.context;
  plan.session = session_of(plan.context);
  const auto fixed_of = [&] {
    return plan.weights + buffer_bytes(file, config, request.ubatch, plan.sessions);
  };
  // Nobody asked for the longest context: it must not crowd out the experts.
  if (request.context == 0)
    while (plan.context > kLeastContext && plan.session > request.budget / 8 &&
           fixed_of() + plan.session + wanted > request.budget) {
      plan.context = std::max(kLeastContext, plan.context / 2);
      plan.session = session_of(plan.context);
    }

  if (request.sessions == 0)
    for (plan.sessions = kMostSessions; plan.sessions > 1; plan.sessions /= 2) {
      plan.session = session_of(plan.context);
      if (plan.session <= request.budget / 8 ||
          fixed_of() + plan.session + wanted <= request.budget)
        break;
    }
  plan.session = session_of(plan.context);
  const uint64_t fixed = fixed_of();
  plan.buffers = fixed - plan.weights;

  // A token's experts must be there together, or every token would read all of its experts.
  const auto used = static_cast<int32_t>(config.experts_used);
  const uint64_t token = config.experts > 0 ? plan.experts / static_cast<uint64_t>(config.experts) *
                                                  static_cast<uint64_t>(used)
                                            : 0;
  const uint64_t least = std::max(residency::SlotArena::least_bytes(experts, used),
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
  const std::string contexts =
      plan.sessions > 1 ? fmt::format("{} contexts", plan.sessions) : std::string("context");
  return text + fmt::format(", {} of {} {:.2f}, buffers {:.2f}", contexts, plan.context,
                            gibibytes(plan.session), gibibytes(plan.buffers));
}

}  // namespace sluice::engine
