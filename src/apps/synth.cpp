// SPDX-License-Identifier: Apache-2.0
// sluice synth: writes a model of a published shape with random weights.
#include "synth/synth.h"

#include <chrono>
#include <limits>

#include "apps/commands.h"
#include "apps/options.h"
#include "base/cpu_topology.h"
#include "base/log.h"
#include "synth/vocabulary.h"

namespace sluice::apps {
namespace {

struct SynthFlags {
  // Changes to the shape, which is known only after the flags.
  std::vector<std::function<void(synth::Shape&)>> changes;
  const gguf::Mix* mix = gguf::find_mix("Q4_K_M");
  synth::Routing routing = synth::Routing::kText;
  uint64_t seed = 0;
};

Flag size_flag(SynthFlags& o, const char* name, const char* help, int64_t synth::Shape::*field,
               int64_t least, int64_t most) {
  return {name, {}, "", "N", help, [&o, field, least, most](const std::string& text) -> Status {
            SLUICE_ASSIGN(const int64_t value, parse_integer(text, least, most));
            o.changes.push_back([field, value](synth::Shape& s) { s.*field = value; });
            return {};
          }};
}

std::vector<Flag> synth_flags(SynthFlags& o, CommonOptions& common) {
  using synth::Shape;
  std::vector<Flag> flags;
  flags.push_back({"--quant",
                   {},
                   "",
                   "TYPE",
                   "tensor types, as for `sluice quantize` (Q4_K_M)",
                   [&o](const std::string& text) -> Status {
                     o.mix = gguf::find_mix(text);
                     if (o.mix) return {};
                     return fail(ErrorKind::kUsage, "\"{}\": unknown type; use one of {}", text,
                                 gguf::mix_names());
                   }});
  flags.push_back({"--routing",
                   {},
                   "",
                   "text|static",
                   "what chooses experts: the text so far, or a fixed preference (text)",
                   [&o](const std::string& text) -> Status {
                     if (text != "text" && text != "static")
                       return fail(ErrorKind::kUsage, "must be text or static");
                     o.routing = text == "text" ? synth::Routing::kText : synth::Routing::kStatic;
                     return {};
                   }});
  flags.push_back({"--seed",
                   {"-s"},
                   "",
                   "N",
                   "the same seed gives the same file (0)",
                   [&o](const std::string& text) -> Status {
                     SLUICE_ASSIGN(const int64_t value,
                                   parse_integer(text, 0, std::numeric_limits<int64_t>::max()));
                     o.seed = static_cast<uint64_t>(value);
                     return {};
                   }});
  flags.push_back(size_flag(o, "--layers", "layers", &Shape::layers, 1, 512));
  flags.push_back(
      size_flag(o, "--vocabulary", "tokens", &Shape::vocabulary, synth::kLeastVocabulary, 1 << 20));
  flags.push_back(
      size_flag(o, "--embedding", "width of the residual stream", &Shape::dim, 32, 1 << 20));
  flags.push_back(size_flag(o, "--experts", "experts of a layer", &Shape::experts, 1, 1024));
  flags.push_back(
      size_flag(o, "--experts-used", "experts of a token", &Shape::experts_used, 1, 1024));
  flags.push_back(size_flag(o, "--expert-ffn", "hidden width of an expert", &Shape::expert_hidden,
                            32, 1 << 20));
  for (Flag& flag : model_flags(common))
    if (flag.name == "--threads" || flag.name == "--log-verbosity" || flag.name == "--verbose")
      flags.push_back(std::move(flag));
  return flags;
}

}  // namespace

Status synth_command(const Arguments& arguments) {
  CommonOptions common;
  SynthFlags flags;
  std::vector<std::string> positional;
  SLUICE_ASSIGN(const bool go,
                parse_flags("synth",
                            "Writes a model with random weights: sluice synth SHAPE OUT.gguf. "
                            "Shapes: " +
                                synth::known_shapes(),
                            synth_flags(flags, common), arguments, &positional));
  if (!go) return {};
  init_logging(common.verbosity);
  if (positional.size() != 2)
    return fail(ErrorKind::kUsage, "needs SHAPE OUT.gguf; shapes: {}", synth::known_shapes());
  synth::SynthOptions options;
  if (!synth::find_shape(positional[0], options.shape))
    return fail(ErrorKind::kUsage, "\"{}\": unknown shape; use one of {}", positional[0],
                synth::known_shapes());
  for (const auto& change : flags.changes) change(options.shape);
  options.mix = flags.mix;
  options.routing = flags.routing;
  options.seed = flags.seed;
  options.threads = common.engine.threads > 0 ? common.engine.threads : available_cpus();

  catch_interrupts();
  const auto start = std::chrono::steady_clock::now();
  SLUICE_TRY(synth::write_model(
      options, positional[1],
      [](const synth::TensorPlan& tensor, size_t index, size_t count) {
        spdlog::info("[{}/{}] {} {}", index + 1, count, tensor.name,
                     quant::traits(tensor.type).name);
      },
      &interrupted));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const double mib = static_cast<double>(synth::tensor_bytes(options)) / (1 << 20);
  return print_out(fmt::format("{}: {:.2f} MiB of tensors in {:.1f} s, {:.0f} MiB/s\n",
                               positional[1], mib, took.count(), mib / took.count()));
}

}  // namespace sluice::apps
