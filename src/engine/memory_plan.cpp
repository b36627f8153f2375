// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "engine/session_memory.h"
#include "residency/expert_cache.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr int64_t kLeastContext = 4096;  // of those that are chosen here

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

// Bytes of slots for `layers` in which one expert's parts have the given bytes.
uint64_t slot_bytes(const std::array<uint64_t, residency::kParts>& parts) {
  uint64_t bytes = 0;
  for (const uint64_t part : parts) bytes += storage::slot_bytes(part, storage::kMaxAlignment);
  return bytes;
}

struct Experts {
  uint64_t all = 0;    // slots for every expert
  uint64_t least = 0;  // what a cache cannot do without
  uint64_t token = 0;  // slots for one token's
};

// From the tensors' sizes alone. The layers' stacks are found by name, as the loader does.
Experts expert_memory(const gguf::Gguf& file, const model::Config& config) {
  Experts result;
  std::vector<std::array<uint64_t, residency::kParts>> sizes;
  if (config.experts == 0) return result;
  const auto count = static_cast<uint64_t>(config.experts);
  for (int64_t n = 0; n < config.layers + config.draft_layers; ++n) {
    const std::string prefix = fmt::format("blk.{}.ffn_", n);
    const gguf::Tensor* down = file.find_tensor(prefix + "down_exps.weight");
    if (!down) break;
    std::array<uint64_t, residency::kParts> parts{0, 0, down->bytes / count};
    if (const gguf::Tensor* joint = file.find_tensor(prefix + "gate_up_exps.weight"))
      parts[residency::kGate] = parts[residency::kUp] = joint->bytes / count / 2;
    if (const gguf::Tensor* gate = file.find_tensor(prefix + "gate_exps.weight"))
      parts[residency::kGate] = gate->bytes / count;
    if (const gguf::Tensor* up = file.find_tensor(prefix + "up_exps.weight"))
      parts[residency::kUp] = up->bytes / count;
    const uint64_t bytes = slot_bytes(parts);
    result.all += count * bytes;
    result.token += static_cast<uint64_t>(config.experts_used) * bytes;
    if (std::find(sizes.begin(), sizes.end(), parts) == sizes.end()) {
      sizes.push_back(parts);
      result.least += std::min(count, 2 * static_cast<uint64_t>(config.experts_used)) * bytes;
    }
  }
  return result;
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
  const Experts experts = expert_memory(file, config);
  plan.experts = experts.all;
  plan.used = config.experts_used;
  plan.buffers = buffer_bytes(config, request.ubatch);
  const auto session_of = [&](int64_t context) {
    const SessionMemory memory =
        session_memory(config, context, request.cache, request.checkpoints);
    return memory.cache + memory.states + memory.all_checkpoints();
  };
  plan.context = request.context > 0 ? request.context : config.context;
  plan.session = session_of(plan.context);
  const uint64_t fixed = plan.weights + plan.buffers;
  // Nobody asked for the longest context: it must not crowd out the experts.
  if (request.context == 0)
    while (plan.context > kLeastContext && plan.session > request.budget / 8 &&
           fixed + plan.session + experts.all > request.budget) {
      plan.context = std::max(kLeastContext, plan.context / 2);
      plan.session = session_of(plan.context);
    }

  // A token's experts must be there together, or every token would read all of its experts.
  const uint64_t least = std::max(experts.least, std::min(experts.token, experts.all));
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
  plan.cache = std::min(experts.all, request.budget - fixed - plan.session);
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
  return text + fmt::format(", context of {} {:.2f}, buffers {:.2f}", plan.context,
                            gibibytes(plan.session), gibibytes(plan.buffers));
}

}  // namespace sluice::engine
