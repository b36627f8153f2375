// SPDX-License-Identifier: Apache-2.0
// sluice quantize: writes a model in another type.
#include "gguf/quantize.h"

#include "apps/commands.h"
#include "apps/options.h"
#include "base/cpu_topology.h"
#include "base/log.h"

namespace sluice::apps {

Status quantize_command(const Arguments& arguments) {
  CommonOptions common;
  std::vector<std::string> positional;
  std::vector<Flag> flags;
  for (Flag& flag : model_flags(common))
    if (flag.name == "--threads") flags.push_back(std::move(flag));
  SLUICE_ASSIGN(const bool go,
                parse_flags("quantize",
                            "Writes a model in another type: sluice quantize IN.gguf OUT.gguf TYPE",
                            flags, arguments, &positional));
  if (!go) return {};
  if (positional.size() != 3)
    return fail(ErrorKind::kUsage, "needs IN.gguf OUT.gguf TYPE; types: {}", gguf::mix_names());
  const gguf::Mix* mix = gguf::find_mix(positional[2]);
  if (!mix)
    return fail(ErrorKind::kUsage, "\"{}\": unknown type; use one of {}", positional[2],
                gguf::mix_names());
  SLUICE_ASSIGN(const gguf::Gguf file, gguf::Gguf::open(positional[0]));
  const int threads = common.engine.threads > 0 ? common.engine.threads : available_cpus();
  uint64_t before = 0;
  for (const gguf::Tensor& tensor : file.tensors()) before += tensor.bytes;
  SLUICE_TRY(gguf::quantize_file(
      file, positional[1], *mix, threads,
      [&](const gguf::Tensor& tensor, quant::Type type, size_t index) {
        spdlog::info("[{}/{}] {} {} -> {}", index + 1, file.tensors().size(), tensor.name,
                     quant::traits(tensor.type).name, quant::traits(type).name);
      }));
  SLUICE_ASSIGN(const gguf::Gguf written, gguf::Gguf::open(positional[1]));
  uint64_t after = 0;
  for (const gguf::Tensor& tensor : written.tensors()) after += tensor.bytes;
  return print_out(fmt::format("{}: {:.2f} MiB of tensors, was {:.2f} MiB\n", positional[1],
                               static_cast<double>(after) / (1 << 20),
                               static_cast<double>(before) / (1 << 20)));
}

}  // namespace sluice::apps
