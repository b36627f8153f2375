// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>
#include <cstdlib>

#include "engine/session_memory.h"
#include "residency/expert_cache.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr int64_t kLeastContext = 4096;  // of those that are chosen here
constexpr int kMostSessions = 4;         // likewise

double gibibytes(uint64_t bytes) {
  return static_cast<double>(bytes) / (uint64_t{1} << 30);
}

bool is_expert(const std::string& name) {
  return name.ends_with("_exps.weight");
}

// Blocks behind the model's own guess further tokens, if they are used.
bool is_loaded(const std::string& name, const model::Config& config) {
  return !name.starts_with("blk.") ||
         std::atoll(name.c_str() + 4) < config.layers + config.draft_layers;
}

// The experts' sizes alone, from the tensors that the loader will look for.
residency::ExpertTable expert_sizes(const gguf::Gguf& file, const model::Config& config) {
  residency::ExpertTable table;
  if (config.experts == 0) return table;
  const auto count = static_cast<size_t>(config.experts);
  for (int64_t n = 0; n < config.layers + config.draft_layers; ++n) {
    const auto part = [&](const char* name, uint64_t of = 1) -> residency::ByteRange {
      const gguf::Tensor* tensor = file.find_tensor(fmt::format("blk.{}.ffn_{}", n, name));
      return {.bytes = static_cast<uint32_t>(tensor ? tensor->bytes / count / of : 0)};
    };
    const residency::ByteRange joint = part("gate_up_exps.weight", 2);
    const residency::ExpertRanges expert{joint.bytes > 0 ? joint : part("gate_exps.weight"),
                                         joint.bytes > 0 ? joint : part("up_exps.weight"),
                                         part("down_exps.weight")};
    table.layers.emplace_back().experts.assign(count, expert);
  }
  return table;
}

// Measured: the program and its libraries, then per entry of the vocabulary, then what a batch's
// rows pass through.
uint64_t buffer_bytes(const model::Config& c, int64_t ubatch) {
  const auto rows = static_cast<uint64_t>(ubatch);
  const uint64_t attention = static_cast<uint64_t>((2 * c.heads + 2 * c.kv_heads) * c.head_dim);
  const uint64_t wide = static_cast<uint64_t>(
      std::max({4 * c.dim, c.experts_used * c.expert_hidden + c.shared_expert_hidden, c.hidden}));
  const uint64_t row_floats = 6 * static_cast<uint64_t>(c.dim) + 3 * attention + 2 * wide;
  return 64 * kMebibyte + static_cast<uint64_t>(c.vocabulary) * 400 + rows * row_floats * 4;
}

}  // namespace

Result<MemoryPlan> plan_memory(const std::string& path, const gguf::Gguf& file,
                               const model::Config& config, const MemoryRequest& request) {
  MemoryPlan plan;
  plan.budget = request.budget;
  for (const gguf::Tensor& tensor : file.tensors())
    if (is_loaded(tensor.name, config) && !is_expert(tensor.name)) plan.weights += tensor.bytes;
  const residency::ExpertTable experts = expert_sizes(file, config);
  plan.experts = residency::ExpertCache::full_bytes(experts);
  plan.buffers = buffer_bytes(config, request.ubatch);
  plan.sessions = std::max(request.sessions, 1);
  const auto session_of = [&](int64_t context) {
    CheckpointOptions checkpoints = request.checkpoints;
    checkpoints.bytes /= static_cast<uint64_t>(plan.sessions);
    const SessionMemory memory = session_memory(config, context, request.cache, checkpoints);
    const uint64_t one = memory.cache + memory.states + memory.all_checkpoints();
    uint64_t all = 0;
    return __builtin_mul_overflow(one, static_cast<uint64_t>(plan.sessions), &all) ? one : all;
  };
  plan.context = request.context > 0 ? request.context : config.context;
  plan.session = session_of(plan.context);
  const uint64_t fixed = plan.weights + plan.buffers;
  // Nobody asked for the longest context: it must not crowd out the experts.
  if (request.context == 0)
    while (plan.context > kLeastContext && plan.session > request.budget / 8 &&
           fixed + plan.session + plan.experts > request.budget) {
      plan.context = std::max(kLeastContext, plan.context / 2);
      plan.session = session_of(plan.context);
    }

  if (request.sessions == 0)
    for (plan.sessions = kMostSessions; plan.sessions > 1; plan.sessions /= 2) {
      plan.session = session_of(plan.context);
      if (plan.session <= request.budget / 8 ||
          fixed + plan.session + plan.experts <= request.budget)
        break;
    }
  plan.session = session_of(plan.context);

  // A token's experts must be there together, or every token would read all of its experts.
  const auto used = static_cast<int32_t>(config.experts_used);
  const uint64_t token = config.experts > 0 ? plan.experts / static_cast<uint64_t>(config.experts) *
                                                  static_cast<uint64_t>(used)
                                            : 0;
  const uint64_t least = std::max(residency::ExpertCache::least_bytes(experts, used), token);
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
  plan.cache = std::min(plan.experts, request.budget - fixed - plan.session);
  return plan;
}

std::string describe(const MemoryPlan& plan) {
  std::string text =
      fmt::format("memory {:.2f} of {:.2f} GiB: weights {:.2f}", gibibytes(plan.total()),
                  gibibytes(plan.budget), gibibytes(plan.weights));
  if (plan.experts > 0) {
    text += fmt::format(", experts {:.2f}", gibibytes(plan.cache));
    if (!plan.all_experts())
      text += fmt::format(
          " of {:.2f} ({:.0f} %, the rest is read when needed)", gibibytes(plan.experts),
          100.0 * static_cast<double>(plan.cache) / static_cast<double>(plan.experts));
  }
  const std::string contexts =
      plan.sessions > 1 ? fmt::format("{} contexts", plan.sessions) : std::string("context");
  return text + fmt::format(", {} of {} {:.2f}, buffers {:.2f}", contexts, plan.context,
                            gibibytes(plan.session), gibibytes(plan.buffers));
}

}  // namespace sluice::engine
