// SPDX-License-Identifier: Apache-2.0
// The flags that several commands share.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iterator>
#include <limits>
#include <memory>

#include "apps/options.h"
#include "base/log.h"
#include "storage/cache_folder.h"

namespace sluice::apps {
namespace {

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

// Setters for the usual kinds of fields.
template <typename T>
auto integer(T& field, int64_t least, int64_t most) {
  return [&field, least, most](const std::string& text) -> Status {
    SLUICE_ASSIGN(const int64_t value, parse_integer(text, least, most));
    field = static_cast<T>(value);
    return {};
  };
}

auto cache_type(quant::Type& field) {
  return [&field](const std::string& text) -> Status {
    const quant::Traits* format = quant::find_traits(text);
    if (!format)
      return fail(ErrorKind::kUsage,
                  "unknown type: use f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl");
    field = format->type;
    return {};
  };
}

// A sampling field: remembered, and applied over the model's defaults once it is loaded.
template <typename T>
auto sampling_number(CommonOptions& options, T engine::SamplingParams::*field, double least,
                     double most) {
  return [&options, field, least, most](const std::string& text) -> Status {
    T value{};
    if constexpr (std::is_integral_v<T>) {
      SLUICE_ASSIGN(const int64_t number,
                    parse_integer(text, static_cast<int64_t>(least), static_cast<int64_t>(most)));
      value = static_cast<T>(number);
    } else {
      SLUICE_ASSIGN(const double number, parse_number(text, least, most));
      value = static_cast<T>(number);
    }
    options.sampling.push_back([field, value](engine::SamplingParams& p) { p.*field = value; });
    return {};
  };
}

Status set_sequence(CommonOptions& options, const std::string& text) {
  SLUICE_ASSIGN(const std::string letters, engine::parse_sampler_sequence(text));
  options.sampling.push_back([letters](engine::SamplingParams& p) { p.sequence = letters; });
  return {};
}

// "id+bias" or "id-bias", as llama.cpp writes it.
Status set_logit_bias(CommonOptions& options, const std::string& text) {
  const size_t sign = text.find_first_of("+-", 1);
  if (sign == std::string::npos)
    return fail(ErrorKind::kUsage, "must be TOKEN_ID(+/-)BIAS, e.g. 15043+1");
  SLUICE_ASSIGN(const int64_t token, parse_integer(text.substr(0, sign), 0, kMost));
  SLUICE_ASSIGN(const double bias,
                parse_number(text.substr(sign), -std::numeric_limits<double>::infinity(), 1e9));
  options.sampling.push_back([token, bias](engine::SamplingParams& p) {
    p.logit_bias.emplace_back(static_cast<int32_t>(token), static_cast<float>(bias));
  });
  return {};
}

// What -ub and -b said so far, in any order: the smaller one counts.
struct BatchSizes {
  int64_t ubatch = 512;
  int64_t batch = 2048;
};

}  // namespace

engine::SamplingParams CommonOptions::apply_sampling(engine::SamplingParams defaults) const {
  for (const auto& change : sampling) change(defaults);
  return defaults;
}

Result<engine::LoadMode> parse_load_mode(const std::string& text) {
  if (text == "auto") return engine::LoadMode::kAuto;
  if (text == "dio") return engine::LoadMode::kDirect;
  // Nothing is mapped and nothing locked here; what these names have in common is the page cache.
  if (text == "none" || text == "mmap" || text == "mlock" || text == "mmap+mlock")
    return engine::LoadMode::kBuffered;
  return fail(ErrorKind::kUsage, "must be auto, none, mmap, mlock, mmap+mlock or dio");
}

std::vector<Flag> model_flags(CommonOptions& o) {
  engine::EngineOptions& e = o.engine;
  e.reading.cache_folder = storage::cache_folder();
  // Worth a line of its own where experts will be read while it runs.
  e.on_plan = [](const engine::MemoryPlan& plan) {
    if (plan.all_experts())
      spdlog::info("{}", engine::describe(plan));
    else
      std::fprintf(stderr, "%s\n", engine::describe(plan).c_str());
  };
  e.on_device_plan = [](const engine::DevicePlan& plan, const engine::MemoryPlan& memory) {
    std::fprintf(stderr, "%s\n", engine::describe(plan, memory.context).c_str());
  };
  const auto sizes = std::make_shared<BatchSizes>();
  std::vector<Flag> flags = source_flags(o);
  std::vector<Flag> more = {
      {"--ctx-size",
       {"-c"},
       "CTX_SIZE",
       "N",
       "context in tokens; 0: what the model was trained for",
       integer(e.context, 0, int64_t{1} << 40)},
      {"--ubatch-size",
       {"-ub"},
       "UBATCH",
       "N",
       "tokens per forward pass (512)",
       [&e, sizes](const std::string& text) -> Status {
         SLUICE_ASSIGN(sizes->ubatch, parse_integer(text, 1, 65536));
         e.ubatch = std::min(sizes->ubatch, sizes->batch);
         return {};
       }},
      {"--batch-size",
       {"-b"},
       "BATCH",
       "N",
       "upper limit of -ub (2048)",
       [&e, sizes](const std::string& text) -> Status {
         SLUICE_ASSIGN(sizes->batch, parse_integer(text, 1, kMost));
         e.ubatch = std::min(sizes->ubatch, sizes->batch);
         return {};
       }},
      {"--threads",
       {"-t"},
       "THREADS",
       "N",
       "CPU threads; -1: all that this process may use",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t value, parse_integer(text, -1, 1024));
         if (value == 0) return fail(ErrorKind::kUsage, "must be at least 1 (or -1 for all)");
         e.threads = value < 0 ? 0 : static_cast<int>(value);
         return {};
       }},
      {"--ram",
       {},
       "RAM",
       "SIZE",
       "memory that the process may use, e.g. 12G; 0: what is free, less a margin",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(e.ram_bytes, parse_size(text));
         return {};
       }},
      {"--gpu-layers",
       {"-ngl", "--n-gpu-layers"},
       "N_GPU_LAYERS",
       "N|auto|all",
       "0: without a GPU; auto or all: with one if there is one (auto)",
       [&e](const std::string& text) -> Status {
         if (text == "auto") {
           e.gpu_layers = -1;
           return {};
         }
         if (text == "all") {
           e.gpu_layers = std::numeric_limits<int>::max();
           return {};
         }
         SLUICE_ASSIGN(const int64_t value, parse_integer(text, -1, kMost));
         e.gpu_layers = static_cast<int>(value);
         return {};
       }},
      {"--main-gpu", {"-mg"}, "MAIN_GPU", "N", "which GPU (0)", integer(e.device, 0, 1024)},
      {"--vram",
       {},
       "VRAM",
       "SIZE",
       "memory of the GPU that may be used, e.g. 5.5G; 0: what is free, less a margin",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(e.vram_bytes, parse_size(text));
         return {};
       }},
      {"--n-cpu-moe",
       {"-ncmoe"},
       "N_CPU_MOE",
       "N",
       "keep the experts of the first N layers out of the GPU's memory (0)",
       integer(e.cpu_moe_layers, 0, kMost)},
      {"--cpu-moe",
       {"-cmoe"},
       "CPU_MOE",
       "",
       "keep all experts out of the GPU's memory",
       [&e](const std::string& text) -> Status {
         e.cpu_moe_layers = text == "true" ? std::numeric_limits<int>::max() : 0;
         return {};
       }},
      {"--override-tensor",
       {"-ot"},
       "OVERRIDE_TENSOR",
       "PATTERN=BUFFER,...",
       "keep experts whose tensors match in CPU, or for good in CUDA0; before -ncmoe",
       [&e](const std::string& text) -> Status {
         return engine::parse_overrides(text, e.overrides);
       }},
      {"--load-mode",
       {"-lm"},
       "LOAD_MODE",
       "MODE",
       "how experts are read: auto; none or mmap: through the page cache; dio: past it "
       "(auto)",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(e.reading.mode, parse_load_mode(text));
         return {};
       }},
      {"--direct-io",
       {"-dio"},
       "",
       "",
       "the same as -lm dio",
       [&e](const std::string& text) -> Status {
         e.reading.mode = text == "true" ? engine::LoadMode::kDirect : engine::LoadMode::kBuffered;
         return {};
       }},
      {"--disk-profile",
       {},
       "DISK_PROFILE",
       "auto|again|off",
       "measure the disk where experts are read from it: once (auto), again, or not at "
       "all",
       [&e](const std::string& text) -> Status {
         if (text == "auto")
           e.reading.profiling = engine::DiskProfiling::kAuto;
         else if (text == "again")
           e.reading.profiling = engine::DiskProfiling::kAgain;
         else if (text == "off")
           e.reading.profiling = engine::DiskProfiling::kOff;
         else
           return fail(ErrorKind::kUsage, "must be auto, again or off");
         return {};
       }},
      {"--warm-start",
       {},
       "WARM_START",
       "",
       "read the experts first that earlier runs used most, and remember those of this "
       "one (on)",
       [&e](const std::string& text) -> Status {
         e.warm_start = text == "true";
         return {};
       }},
      {"--isa",
       {},
       "ISA",
       "LEVEL",
       "instruction set level of the CPU kernels; default: the best here",
       [&e](const std::string& text) -> Status {
         e.isa = text;
         return {};
       }},
      {"--cache-type-k",
       {"-ctk"},
       "CACHE_TYPE_K",
       "TYPE",
       "type of cached keys (f16)",
       cache_type(e.cache.key)},
      {"--cache-type-v",
       {"-ctv"},
       "CACHE_TYPE_V",
       "TYPE",
       "type of cached values (f16)",
       cache_type(e.cache.value)},
      {"--flash-attn",
       {"-fa"},
       "FLASH_ATTN",
       "on|off|auto",
       "attention is always computed in flash style",
       [](const std::string& text) -> Status {
         if (text == "auto" || parse_bool(text)) return {};
         return fail(ErrorKind::kUsage, "must be on, off or auto");
       }},
      {"--rope-scaling",
       {},
       "ROPE_SCALING_TYPE",
       "none|linear|yarn",
       "context extension",
       [&e](const std::string& text) -> Status {
         if (text == "none")
           e.rope.scaling = model::RopeScaling::kNone;
         else if (text == "linear")
           e.rope.scaling = model::RopeScaling::kLinear;
         else if (text == "yarn")
           e.rope.scaling = model::RopeScaling::kYarn;
         else
           return fail(ErrorKind::kUsage, "must be none, linear or yarn");
         return {};
       }},
      {"--rope-scale",
       {},
       "ROPE_SCALE",
       "N",
       "context extension factor",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(const double value, parse_number(text, 1e-3, 1e6));
         e.rope.factor = value;
         return {};
       }},
      {"--rope-freq-base",
       {},
       "ROPE_FREQ_BASE",
       "N",
       "rotary base frequency",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(const double value, parse_number(text, 1e-3, 1e12));
         e.rope.freq_base = value;
         return {};
       }},
      {"--yarn-orig-ctx",
       {},
       "YARN_ORIG_CTX",
       "N",
       "YaRN: context the model was trained for",
       [&e](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t value, parse_integer(text, 1, int64_t{1} << 40));
         e.rope.original_context = value;
         return {};
       }},
      {"--log-verbosity",
       {"-lv", "--verbosity"},
       "LOG_VERBOSITY",
       "N",
       "0 silent, 1 errors, 2 warnings, 3 info, 4 debug",
       integer(o.verbosity, 0, 100)},
      {"--verbose",
       {"-v"},
       "",
       "",
       "log everything",
       [&o](const std::string& text) -> Status {
         if (text == "true") o.verbosity = 4;
         return {};
       }},
  };
  flags.insert(flags.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
  return flags;
}

std::vector<Flag> sampling_flags(CommonOptions& o) {
  using P = engine::SamplingParams;
  const auto breakers = std::make_shared<std::vector<std::string>>();
  return {
      {"--seed",
       {"-s"},
       "",
       "N",
       "seed of the random choice; -1: another one each time",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t value,
                       parse_integer(text, -1, std::numeric_limits<int64_t>::max()));
         o.sampling.push_back([value](P& p) { p.seed = static_cast<uint64_t>(value); });
         return {};
       }},
      {"--temperature",
       {"--temp"},
       "",
       "N",
       "0: always the most probable token",
       sampling_number(o, &P::temperature, -1, 1e6)},
      {"--top-k",
       {},
       "TOP_K",
       "N",
       "keep the k most probable; 0: all",
       sampling_number(o, &P::top_k, -1, kMost)},
      {"--top-p",
       {},
       "",
       "N",
       "keep the smallest set of this probability; 1: all",
       sampling_number(o, &P::top_p, 0, 1)},
      {"--min-p",
       {},
       "",
       "N",
       "drop what is less probable than N times the best",
       sampling_number(o, &P::min_p, 0, 1)},
      {"--top-n-sigma",
       {"--top-nsigma"},
       "",
       "N",
       "keep logits within N standard deviations of the best; -1: off",
       sampling_number(o, &P::top_n_sigma, -1, 1e6)},
      {"--typical-p",
       {"--typical"},
       "",
       "N",
       "locally typical sampling; 1: off",
       sampling_number(o, &P::typical_p, 0, 1)},
      {"--xtc-probability",
       {},
       "",
       "N",
       "chance to exclude the top choices; 0: off",
       sampling_number(o, &P::xtc_probability, 0, 1)},
      {"--xtc-threshold",
       {},
       "",
       "N",
       "XTC: what counts as a top choice",
       sampling_number(o, &P::xtc_threshold, 0, 1)},
      {"--repeat-last-n",
       {},
       "",
       "N",
       "tokens that penalties look at; -1: all, 0: off",
       sampling_number(o, &P::repeat_last_n, -1, kMost)},
      {"--repeat-penalty",
       {},
       "",
       "N",
       "1: off",
       sampling_number(o, &P::repeat_penalty, 1e-3, 1e3)},
      {"--presence-penalty",
       {},
       "",
       "N",
       "0: off",
       sampling_number(o, &P::presence_penalty, -1e3, 1e3)},
      {"--frequency-penalty",
       {},
       "",
       "N",
       "0: off",
       sampling_number(o, &P::frequency_penalty, -1e3, 1e3)},
      {"--dry-multiplier",
       {},
       "",
       "N",
       "DRY repetition penalty; 0: off",
       sampling_number(o, &P::dry_multiplier, 0, 1e3)},
      {"--dry-base",
       {},
       "",
       "N",
       "DRY: growth per repeated token",
       sampling_number(o, &P::dry_base, 1, 1e3)},
      {"--dry-allowed-length",
       {},
       "",
       "N",
       "DRY: repetition that costs nothing",
       sampling_number(o, &P::dry_allowed_length, 0, kMost)},
      {"--dry-penalty-last-n",
       {},
       "",
       "N",
       "DRY: tokens looked at; -1: all",
       sampling_number(o, &P::dry_penalty_last_n, -1, kMost)},
      {"--dry-sequence-breaker",
       {},
       "",
       "TEXT",
       "DRY: replaces the default breakers; may be repeated; none: no breakers",
       [&o, breakers](const std::string& text) -> Status {
         if (text == "none")
           breakers->clear();
         else
           breakers->push_back(text);
         o.sampling.push_back([breakers](P& p) { p.dry_sequence_breakers = *breakers; });
         return {};
       }},
      {"--dynatemp-range",
       {},
       "",
       "N",
       "dynamic temperature: +- range; 0: off",
       sampling_number(o, &P::dynatemp_range, 0, 1e6)},
      {"--dynatemp-exp",
       {},
       "",
       "N",
       "dynamic temperature: exponent",
       sampling_number(o, &P::dynatemp_exponent, 0, 1e3)},
      {"--mirostat",
       {},
       "",
       "0|1|2",
       "constant-surprise sampling; replaces the truncating samplers",
       sampling_number(o, &P::mirostat, 0, 2)},
      {"--mirostat-lr",
       {},
       "",
       "N",
       "Mirostat learning rate (eta)",
       sampling_number(o, &P::mirostat_eta, 0, 1e3)},
      {"--mirostat-ent",
       {},
       "",
       "N",
       "Mirostat target entropy (tau)",
       sampling_number(o, &P::mirostat_tau, 0, 1e3)},
      {"--min-keep",
       {},
       "",
       "N",
       "samplers leave at least N choices",
       sampling_number(o, &P::min_keep, 0, kMost)},
      {"--logit-bias",
       {"-l"},
       "",
       "ID(+/-)BIAS",
       "makes a token more or less likely",
       [&o](const std::string& text) { return set_logit_bias(o, text); }},
      {"--samplers",
       {},
       "",
       "NAMES",
       "order, e.g. \"penalties;dry;top_k;top_p;min_p;temperature\"",
       [&o](const std::string& text) { return set_sequence(o, text); }},
      {"--sampler-seq",
       {"--sampling-seq"},
       "",
       "LETTERS",
       "the same by letters (edskypmxt)",
       [&o](const std::string& text) { return set_sequence(o, text); }},
      {"--ignore-eos",
       {},
       "",
       "",
       "never end the answer",
       [&o](const std::string& text) -> Status {
         const bool on = text == "true";
         o.sampling.push_back([on](P& p) { p.ignore_eos = on; });
         return {};
       }},
  };
}

}  // namespace sluice::apps
