// SPDX-License-Identifier: Apache-2.0
// sluice plan: whether a model runs here, how fast, and what would help; from its header alone.
#include "plan/plan.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/commands.h"
#include "apps/options.h"
#include "base/log.h"
#include "engine/reading.h"
#include "machine/measure.h"
#include "storage/cache_folder.h"
#include "storage/page_cache.h"

namespace sluice::apps {
namespace {

constexpr uint64_t kMachineLimit = 4 << 20;

struct PlanFlags {
  CommonOptions common;
  std::string machine;  // a file instead of this machine
  bool measure_again = false;
  int64_t depth = 0, prompt = 0;
  engine::CheckpointOptions checkpoints;  // as of `run`
  bool drafts = true;
  bool json = false;
};

std::vector<Flag> plan_flags(PlanFlags& o) {
  std::vector<Flag> flags = model_flags(o.common);
  flags.push_back({"--machine",
                   {},
                   "",
                   "FILE",
                   "plan for the machine that a file describes",
                   [&o](const std::string& text) -> Status {
                     o.machine = text;
                     return {};
                   }});
  flags.push_back({"--remeasure",
                   {},
                   "",
                   "",
                   "measure this machine and its disk again",
                   [&o](const std::string& text) -> Status {
                     o.measure_again = text == "true";
                     return {};
                   }});
  flags.push_back({"--n-depth",
                   {"-d"},
                   "",
                   "N",
                   "tokens in the context before (0)",
                   [&o](const std::string& text) -> Status {
                     SLUICE_ASSIGN(o.depth, parse_integer(text, 0, int64_t{1} << 40));
                     return {};
                   }});
  flags.push_back({"--n-prompt",
                   {"-p"},
                   "",
                   "N",
                   "also predict a prompt of N tokens",
                   [&o](const std::string& text) -> Status {
                     SLUICE_ASSIGN(o.prompt, parse_integer(text, 0, int64_t{1} << 40));
                     return {};
                   }});
  flags.push_back({"--ctx-checkpoints",
                   {"-ctxcp"},
                   "CTX_CHECKPOINTS",
                   "N",
                   "as of run: most points to come back to in a chat (32)",
                   [&o](const std::string& text) -> Status {
                     SLUICE_ASSIGN(o.checkpoints.count, parse_integer(text, 0, INT32_MAX));
                     return {};
                   }});
  flags.push_back({"--cache-ram",
                   {"-cram"},
                   "CACHE_RAM",
                   "MIB",
                   "as of run: memory for them (1024)",
                   [&o](const std::string& text) -> Status {
                     SLUICE_ASSIGN(const int64_t mebibytes, parse_integer(text, -1, INT32_MAX));
                     o.checkpoints.bytes =
                         mebibytes < 0 ? UINT64_MAX : static_cast<uint64_t>(mebibytes) << 20;
                     return {};
                   }});
  flags.push_back({"--spec-type",
                   {},
                   "SPEC_TYPE",
                   "none|draft-mtp",
                   "as of run: load what guesses tokens ahead, where the file has it",
                   [&o](const std::string& text) -> Status {
                     if (text != "none" && text != "draft-mtp")
                       return fail(ErrorKind::kUsage, "must be none or draft-mtp");
                     o.drafts = text != "none";
                     return {};
                   }});
  flags.push_back({"--json", {}, "", "", "for programs", [&o](const std::string& text) -> Status {
                     o.json = text == "true";
                     return {};
                   }});
  return flags;
}

// As `sluice run` with these flags would have it.
plan::Settings settings_of(const PlanFlags& o) {
  const engine::EngineOptions& e = o.common.engine;
  plan::Settings s;
  s.model = e.model_path;
  s.context = e.context;
  s.ubatch = e.ubatch;
  s.threads = e.threads;
  s.ram = e.ram_bytes;
  s.gpu_layers = e.gpu_layers;
  s.vram = e.vram_bytes;
  s.cpu_moe_layers = e.cpu_moe_layers;
  s.device = e.device;
  s.overrides = e.overrides;
  s.cache = e.cache;
  s.rope = e.rope;
  s.depth = o.depth;
  s.prompt = o.prompt;
  s.checkpoints = o.checkpoints;
  s.drafts = o.drafts;
  return s;
}

struct Where {
  machine::Machine machine;
  std::optional<machine::DiskTimes> disk;
  plan::Corrections corrections;
};

Result<Where> machine_of_file(const std::string& path) {
  Where where;
  SLUICE_ASSIGN(const std::string text, storage::read_small_file(path, kMachineLimit));
  SLUICE_ASSIGN(where.machine, machine::parse_machine(text, path));
  if (!where.machine.disks.empty()) where.disk = where.machine.disks.front();
  return where;
}

// Whether experts of a file that is here would be read through the page cache.
bool through_page_cache(const engine::EngineOptions& e, const std::vector<std::string>& paths) {
  if (e.reading.mode != engine::LoadMode::kAuto)
    return e.reading.mode == engine::LoadMode::kBuffered;
  double least = 1;
  for (const std::string& path : paths)
    least = std::min(least, storage::cached_share(path).value_or(0));
  return engine::through_page_cache({.all_experts = false, .cached = least});
}

Result<Where> this_machine(const PlanFlags& o, const gguf::Gguf& file, const plan::Planner& planner,
                           const plan::Settings& settings) {
  const engine::EngineOptions& e = o.common.engine;
  machine::MeasureOptions options;
  options.cache_folder = e.reading.cache_folder;
  options.again = o.measure_again;
  options.accelerator = e.gpu_layers != 0;
  options.device = e.device;
  options.tell = [](const std::string& text) {
    std::fprintf(stderr, "sluice plan: %s\n", text.c_str());
  };
  Where where;
  SLUICE_ASSIGN(where.machine, machine::this_machine(options));
  where.corrections = plan::read_corrections(options.cache_folder, where.machine.identity);
  const auto placement = planner.place(where.machine, settings);
  if (placement && placement->memory.all_experts()) return where;
  if (planner.part_bytes() == 0) return where;
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& part : file.files()) {
    if (!std::filesystem::exists(part->name(), error)) {
      options.tell("the file is not here yet: a usual disk is assumed");
      return where;
    }
    paths.push_back(part->name());
  }
  const bool buffered = through_page_cache(e, paths);
  auto disk = machine::disk_times(paths, planner.part_bytes(), buffered, options);
  if (disk)
    where.disk = std::move(*disk);
  else
    options.tell(disk.error().message + " (a usual disk is assumed)");
  return where;
}

// What `run` would refuse before it plans anything.
Status check(const PlanFlags& o, const model::Config& config) {
  const int64_t context = o.common.engine.context > 0 ? o.common.engine.context : config.context;
  if (context > config.context)
    return fail(
        ErrorKind::kUsage,
        "-c {}: the model was trained for {} positions: use -c {} or less, or extend it with "
        "--rope-scaling yarn --rope-scale {}",
        context, config.context, config.context, (context + config.context - 1) / config.context);
  if (o.depth >= context)
    return fail(ErrorKind::kUsage, "-d {}: the context has {} positions: use a smaller one",
                o.depth, context);
  if (o.prompt > context - o.depth)
    return fail(ErrorKind::kUsage, "-p {}: the context has room for {}: use a smaller one",
                o.prompt, context - o.depth);
  if (!o.machine.empty() && o.measure_again)
    return fail(ErrorKind::kUsage, "give one of --machine and --remeasure");
  return {};
}

}  // namespace

Status plan_command(const Arguments& arguments) {
  PlanFlags o;
  std::vector<std::string> positional;
  SLUICE_ASSIGN(
      const bool go,
      parse_flags("plan",
                  "Says whether a model runs here, how fast, and what would help. Nothing "
                  "but the file's header is read.",
                  plan_flags(o), arguments, &positional));
  if (!go) return {};
  init_logging(o.common.verbosity);
  const size_t given =
      positional.size() + (o.common.source.given() || !o.common.engine.model_path.empty());
  if (given > 1) return fail(ErrorKind::kUsage, "give one model, not {}", given);
  if (!positional.empty()) take_model(positional[0], o.common);
  SLUICE_ASSIGN(const gguf::Gguf file, open_model(o.common));
  o.common.engine.model_path = file.files()[0]->name();
  const plan::Settings settings = settings_of(o);
  SLUICE_ASSIGN(const plan::Planner planner, plan::Planner::create(file, settings));
  SLUICE_TRY(check(o, planner.config()));
  SLUICE_ASSIGN(const Where where, o.machine.empty() ? this_machine(o, file, planner, settings)
                                                     : machine_of_file(o.machine));
  const plan::Plan plan =
      planner.plan(where.machine, where.disk ? &*where.disk : nullptr, where.corrections, settings);
  return print_out(o.json ? plan::format_json(plan, where.machine)
                          : plan::format_text(plan, where.machine));
}

}  // namespace sluice::apps
