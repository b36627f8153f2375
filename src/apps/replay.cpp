// SPDX-License-Identifier: Apache-2.0
// sluice replay: what caches of experts would have hit in a recorded run.
#include "residency/replay.h"

#include <map>

#include "apps/commands.h"
#include "apps/options.h"
#include "base/size_text.h"
#include "gguf/gguf.h"

namespace sluice::apps {
namespace {

using residency::HitCount;
using residency::Policy;
using residency::Pools;
using residency::ReplayCount;
using residency::Trace;

struct ReplayFlags {
  std::vector<Policy> policies = {Policy::kLru, residency::kDefaultPolicy};
  bool lru_per_layer = false;
  bool static_set = false;
  // The sizes: one of these. Empty: percents, 12.5, 25 and 40.
  std::vector<double> percents;
  std::vector<uint64_t> bytes;
  std::vector<int64_t> slots;
  std::string model;
  std::string chosen_on;
  int64_t first_step = 0;
};

// Calls add(text) for each part of "a,b,c".
Status for_each_part(const std::string& text,
                     const std::function<Status(const std::string&)>& add) {
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    SLUICE_TRY(add(text.substr(at, comma - at)));
    at = comma + 1;
  }
  return {};
}

// A flag whose value is a list, which replaces the one before.
template <typename T>
Flag list_flag(const char* name, const char* value, const char* help, std::vector<T>& list,
               std::function<Result<T>(const std::string&)> parse) {
  return {name, {}, "", value, help, [&list, parse](const std::string& text) -> Status {
            list.clear();
            return for_each_part(text, [&](const std::string& part) -> Status {
              SLUICE_ASSIGN(const T parsed, parse(part));
              list.push_back(parsed);
              return {};
            });
          }};
}

std::string policy_names() {
  std::string names;
  for (const Policy policy : residency::all_policies())
    names += fmt::format("{}, ", residency::name_of(policy));
  return names + "lru-per-layer, static or all";
}

Status add_policy(ReplayFlags& o, const std::string& name) {
  if (name == "all") {
    const auto all = residency::all_policies();
    o.policies.assign(all.begin(), all.end());
  } else if (name == "lru-per-layer") {
    o.lru_per_layer = true;
  } else if (name == "static") {
    o.static_set = true;
  } else if (const auto policy = residency::policy_named(name)) {
    o.policies.push_back(*policy);
  } else {
    return fail(ErrorKind::kUsage, "\"{}\": unknown policy; use {}", name, policy_names());
  }
  return {};
}

std::vector<Flag> replay_flags(ReplayFlags& o) {
  const auto text_flag = [](const char* name, std::vector<std::string> aliases, const char* value,
                            const char* help, std::string& field) -> Flag {
    return {name, std::move(aliases), "", value, help, [&field](const std::string& text) -> Status {
              field = text;
              return {};
            }};
  };
  return {
      {"--policy",
       {},
       "",
       "NAME,...",
       "who leaves: " + policy_names() + " (lru,lfru)",
       [&o](const std::string& text) -> Status {
         o.policies.clear();
         o.lru_per_layer = o.static_set = false;
         return for_each_part(text, [&o](const std::string& name) { return add_policy(o, name); });
       }},
      list_flag<double>("--percent", "PERCENT,...",
                        "room for that much of all experts (12.5,25,40)", o.percents,
                        [](const std::string& t) { return parse_number(t, 0, 100); }),
      list_flag<uint64_t>("--ram", "SIZE,...", "room for experts in bytes, e.g. 4G,8G; needs -m",
                          o.bytes, [](const std::string& t) { return parse_size(t); }),
      list_flag<int64_t>("--slots", "N,...", "room for so many experts, of all layers together",
                         o.slots,
                         [](const std::string& t) { return parse_integer(t, 0, INT64_MAX); }),
      text_flag("--model", {"-m"}, "FILE", "the model of the trace, for the sizes of its experts",
                o.model),
      text_flag("--chosen-on", {}, "TRACE",
                "static: the set is the most used of this trace; default: of the same one",
                o.chosen_on),
      {"--from",
       {},
       "",
       "STEP",
       "count from this step on; 1 leaves out a prompt read at once (0)",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(o.first_step, parse_integer(text, 0, INT64_MAX));
         return {};
       }},
  };
}

Status check(const ReplayFlags& o) {
  if ((o.percents.empty() ? 0 : 1) + (o.bytes.empty() ? 0 : 1) + (o.slots.empty() ? 0 : 1) > 1)
    return fail(ErrorKind::kUsage, "give one of --percent, --ram and --slots");
  if (!o.bytes.empty() && o.model.empty())
    return fail(ErrorKind::kUsage, "--ram: needs the sizes of experts: give the model with -m");
  if (!o.static_set && !o.chosen_on.empty())
    return fail(ErrorKind::kUsage, "--chosen-on: only with --policy static");
  if ((o.static_set || o.lru_per_layer) && !(o.bytes.empty() && o.slots.empty()))
    return fail(ErrorKind::kUsage, "--policy lru-per-layer and static: only with --percent");
  return {};
}

// Bytes of one expert in each of the trace's layers.
Result<std::vector<uint64_t>> expert_sizes(const std::string& path, const Trace& trace) {
  SLUICE_ASSIGN(const gguf::Gguf file, gguf::Gguf::open(path));
  std::vector<uint64_t> sizes(static_cast<size_t>(trace.layers));
  for (size_t layer = 0; layer < sizes.size(); ++layer)
    for (const char* part : {"gate", "up", "down", "gate_up"}) {
      const gguf::Tensor* tensor =
          file.find_tensor(fmt::format("blk.{}.ffn_{}_exps.weight", layer, part));
      if (!tensor) continue;
      if (tensor->shape[2] != trace.experts)
        return fail(ErrorKind::kUsage, "-m: {}: {} has {} experts, the trace {}: use its model",
                    path, tensor->name, tensor->shape[2], trace.experts);
      sizes[layer] += tensor->bytes / static_cast<uint64_t>(trace.experts);
    }
  for (const residency::ExpertRequest& request : trace.requests)
    if (sizes[static_cast<size_t>(request.layer)] == 0)
      return fail(ErrorKind::kUsage,
                  "-m: {}: has no experts in layer {}, the trace does: use its model", path,
                  request.layer);
  return sizes;
}

// One amount of room and what is shown for it.
struct Size {
  std::string label;
  double percent = 0;
  Pools pools;
  Pools one_pool;  // where pools has several
};

std::vector<Size> sizes_of(const ReplayFlags& o, const Trace& trace,
                           const std::vector<uint64_t>& expert_bytes) {
  std::vector<Size> sizes;
  const int64_t experts = int64_t{trace.layers} * trace.experts;
  const auto add_bytes = [&](std::string label, uint64_t bytes, double percent) {
    Size size{std::move(label),
              percent,
              residency::pools_by_size(expert_bytes, trace.experts, bytes),
              {}};
    if (size.pools.pools.size() > 1)
      size.one_pool = residency::pool_of_largest(expert_bytes, bytes);
    sizes.push_back(std::move(size));
  };
  for (const uint64_t bytes : o.bytes) add_bytes(size_text(bytes), bytes, 0);
  for (const int64_t slots : o.slots) {
    Size size{fmt::format("{} slots", slots),
              0,
              residency::one_pool(trace.layers, std::min(slots, experts)),
              {}};
    if (!expert_bytes.empty()) size.pools.expert_bytes = expert_bytes;
    sizes.push_back(std::move(size));
  }
  if (!sizes.empty()) return sizes;
  const std::vector<double> usual = {12.5, 25, 40};
  for (const double percent : o.percents.empty() ? usual : o.percents) {
    std::string label = fmt::format("{:.1f} %", percent);
    if (expert_bytes.empty()) {
      const auto slots = static_cast<int64_t>(static_cast<double>(experts) * percent / 100);
      sizes.push_back({std::move(label), percent, residency::one_pool(trace.layers, slots), {}});
      continue;
    }
    uint64_t total = 0;
    for (const uint64_t bytes : expert_bytes) total += bytes * static_cast<uint64_t>(trace.experts);
    add_bytes(std::move(label), static_cast<uint64_t>(static_cast<double>(total) * percent / 100),
              percent);
  }
  return sizes;
}

std::string row(const Size& size, const Pools& pools, std::string_view policy,
                const ReplayCount& count, uint64_t least_misses) {
  const HitCount all{count.token.hits + count.scan.hits,
                     count.token.requests + count.scan.requests};
  std::string text = fmt::format("{:>11} {:>7} {:<18} {:>6.1f}", size.label, pools.slots(), policy,
                                 100 * all.rate());
  for (const HitCount& of_use : {count.token, count.scan})
    text += of_use.requests == 0 ? fmt::format("{:>9}", "-")
                                 : fmt::format("{:>9.1f}", 100 * of_use.rate());
  text += fmt::format(" {:>9}", count.misses());
  text += least_misses == 0 ? fmt::format("{:>8}", "-")
                            : fmt::format("{:>8.2f}", static_cast<double>(count.misses()) /
                                                          static_cast<double>(least_misses));
  if (count.bytes_read > 0) text += fmt::format(" {:>12}", size_text(count.bytes_read));
  return text + "\n";
}

std::string rows(const Size& size, const ReplayFlags& o, const Trace& trace,
                 const Trace& chosen_on) {
  const ReplayCount optimum = replay_optimum(trace, size.pools, o.first_step);
  const uint64_t least = optimum.misses();
  std::string text = row(size, size.pools, "optimum", optimum, least);
  for (const Policy policy : o.policies)
    text += row(size, size.pools, residency::name_of(policy),
                replay(trace, size.pools, policy, o.first_step), least);
  if (!size.one_pool.pools.empty()) {
    text += row(size, size.one_pool, "optimum, one pool",
                replay_optimum(trace, size.one_pool, o.first_step), least);
    for (const Policy policy : o.policies)
      text += row(size, size.one_pool, fmt::format("{}, one pool", residency::name_of(policy)),
                  replay(trace, size.one_pool, policy, o.first_step), least);
  }
  const int64_t slots = residency::slots_of(trace, size.percent);
  const auto per_layer = [&](std::string_view policy, const HitCount& count) {
    text += fmt::format("{:>11} {:>7} {:<18} {:>6.1f}{:>9}{:>9} {:>9}\n", size.label,
                        slots * trace.layers, policy, 100 * count.rate(), "", "", count.misses());
  };
  if (o.lru_per_layer) per_layer("lru-per-layer", replay_lru(trace, slots, o.first_step));
  if (o.static_set) per_layer("static", replay_static(chosen_on, trace, slots, o.first_step));
  return text;
}

}  // namespace

Status replay_command(const Arguments& arguments) {
  ReplayFlags flags;
  std::vector<std::string> positional;
  SLUICE_ASSIGN(const bool go, parse_flags("replay",
                                           "Hit rates of expert caches on a trace of `sluice run "
                                           "--trace`: sluice replay TRACE",
                                           replay_flags(flags), arguments, &positional));
  if (!go) return {};
  if (positional.size() != 1)
    return fail(ErrorKind::kUsage, "needs one TRACE, from sluice run --trace");
  SLUICE_TRY(check(flags));
  SLUICE_ASSIGN(const Trace trace, residency::read_trace(positional[0]));
  Trace other;
  if (!flags.chosen_on.empty()) {
    SLUICE_ASSIGN(other, residency::read_trace(flags.chosen_on));
    if (other.layers != trace.layers || other.experts != trace.experts)
      return fail(ErrorKind::kUsage,
                  "--chosen-on: {} has {} layers of {} experts, {} has {} of {}: use two traces of "
                  "one model",
                  flags.chosen_on, other.layers, other.experts, positional[0], trace.layers,
                  trace.experts);
  }
  std::vector<uint64_t> expert_bytes;
  if (!flags.model.empty()) {
    SLUICE_ASSIGN(expert_bytes, expert_sizes(flags.model, trace));
  }

  HitCount token, scan;
  for (const residency::ExpertRequest& request : trace.requests)
    if (request.step >= flags.first_step)
      (request.use == residency::Use::kToken ? token : scan).requests += request.experts.size();
  std::string text =
      fmt::format("{} layers of {} experts, {} steps; asked for by tokens {}, by prompts {}\n",
                  trace.layers, trace.experts, trace.steps(), token.requests, scan.requests);
  std::map<uint64_t, int64_t> layers_of;
  for (const uint64_t bytes : expert_bytes) ++layers_of[bytes];
  for (const auto& [bytes, layers] : layers_of)
    if (bytes > 0) text += fmt::format("{} layers with experts of {}\n", layers, size_text(bytes));
  text += fmt::format("{:>11} {:>7} {:<18} {:>6}{:>9}{:>9} {:>9}{:>8}{}\n", "room", "slots",
                      "policy", "hit %", "token %", "prompt %", "misses", "x best",
                      expert_bytes.empty() ? "" : fmt::format(" {:>12}", "read"));
  for (const Size& size : sizes_of(flags, trace, expert_bytes))
    text += rows(size, flags, trace, flags.chosen_on.empty() ? trace : other);
  return print_out(text);
}

}  // namespace sluice::apps
