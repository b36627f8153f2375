// SPDX-License-Identifier: Apache-2.0
// <regex> under the sanitizers makes GCC 12 warn of what is not so (its bug 105562).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "engine/tensor_overrides.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <regex>
#include <utility>

#include "engine/plan_sizes.h"

namespace sluice::engine {
namespace {

using residency::ExpertPlace;

// std::regex, so that a pattern means what it means to llama.cpp.
Result<std::regex> compile(const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    return fail(ErrorKind::kUsage, "\"{}\" is no regular expression: {}", pattern, error.what());
  }
}

Result<int> parse_buffer(const std::string& part, const std::string& buffer) {
  if (buffer == "CPU" || buffer == "CUDA_Host") return TensorOverride::kHost;
  constexpr std::string_view kDevice = "CUDA";
  int device = -1;
  const char* const end = buffer.data() + buffer.size();
  if (buffer.starts_with(kDevice))
    if (const auto [last, error] = std::from_chars(buffer.data() + kDevice.size(), end, device);
        error == std::errc() && last == end && device >= 0)
      return device;
  return fail(ErrorKind::kUsage, "\"{}\": there is no buffer \"{}\": use CPU or CUDA0", part,
              buffer);
}

// The override of every loaded tensor, by its number; nullptr: none.
class Matches {
 public:
  static Result<Matches> find(const gguf::Gguf& file, const model::Config& config,
                              const std::vector<TensorOverride>& overrides) {
    Matches matches;
    std::vector<bool> used(overrides.size());
    std::vector<std::regex> patterns;
    for (const TensorOverride& one : overrides) {
      SLUICE_ASSIGN(std::regex pattern, compile(one.pattern));
      patterns.push_back(std::move(pattern));
    }
    for (const gguf::Tensor& tensor : file.tensors()) {
      if (!is_loaded(tensor.name, config)) continue;
      for (size_t i = 0; i < patterns.size(); ++i) {
        SLUICE_ASSIGN(const bool found, search(patterns[i], overrides[i], tensor.name));
        if (!found) continue;
        used[i] = true;
        matches.of_.emplace_back(&tensor, &overrides[i]);
        break;
      }
    }
    for (size_t i = 0; i < overrides.size(); ++i)
      if (!used[i]) matches.unused_.push_back(overrides[i].text());
    return matches;
  }

  const TensorOverride* of(const std::string& tensor) const {
    for (const auto& [matched, by] : of_)
      if (matched->name == tensor) return by;
    return nullptr;
  }
  const std::vector<std::pair<const gguf::Tensor*, const TensorOverride*>>& all() const {
    return of_;
  }
  std::vector<std::string>& unused() { return unused_; }

 private:
  static Result<bool> search(const std::regex& pattern, const TensorOverride& of,
                             const std::string& name) {
    try {
      return std::regex_search(name, pattern);
    } catch (const std::regex_error& error) {  // too many ways to match
      return fail(ErrorKind::kUsage, "-ot {}: cannot be matched with {}: {}", of.text(), name,
                  error.what());
    }
  }

  std::vector<std::pair<const gguf::Tensor*, const TensorOverride*>> of_;
  std::vector<std::string> unused_;
};

// What every token needs lies on the device, the embedding in main memory.
Status check_dense(const std::string& path, const gguf::Gguf& file, const Matches& matches) {
  for (const auto& [tensor, by] : matches.all()) {
    if (is_expert(tensor->name)) continue;
    const bool embedding = tensor->name == "token_embd.weight";
    if (embedding && by->device != TensorOverride::kHost && file.find_tensor("output.weight"))
      return fail(ErrorKind::kUsage,
                  "{}: -ot {}: token_embd.weight stays in main memory, of which a token reads one "
                  "row: narrow the pattern",
                  path, by->text());
    if (!embedding && by->device == TensorOverride::kHost)
      return fail(ErrorKind::kUsage,
                  "{}: -ot {}: every token needs {}, which lies where it is computed, in the GPU's "
                  "memory: narrow the pattern to experts (ffn_.*_exps), or compute on the CPU with "
                  "-ngl 0",
                  path, by->text(), tensor->name);
  }
  return {};
}

// Of one layer's experts, nullptr where nobody wants anything.
Result<const TensorOverride*> of_layer(const std::string& path, const gguf::Gguf& file,
                                       const Matches& matches, int64_t layer) {
  const gguf::Tensor* first = nullptr;
  const TensorOverride* by = nullptr;
  for (const char* part : {"gate_up", "gate", "up", "down"}) {
    const gguf::Tensor* tensor =
        file.find_tensor(fmt::format("blk.{}.ffn_{}_exps.weight", layer, part));
    if (!tensor) continue;
    const TensorOverride* here = matches.of(tensor->name);
    if (!first) {
      first = tensor;
      by = here;
      continue;
    }
    if ((here ? std::optional(here->device) : std::nullopt) ==
        (by ? std::optional(by->device) : std::nullopt))
      continue;
    return fail(ErrorKind::kUsage,
                "{}: -ot {}: would part the experts of layer {} ({} and {}); an expert lies in one "
                "memory: match all of its tensors, e.g. blk\\.{}\\.ffn_.*_exps",
                path, (by ? by : here)->text(), layer, first->name, tensor->name, layer);
  }
  return by;
}

}  // namespace

std::string TensorOverride::text() const {
  return pattern + (device == kHost ? "=CPU" : fmt::format("=CUDA{}", device));
}

Status parse_overrides(const std::string& text, std::vector<TensorOverride>& overrides) {
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(ErrorKind::kUsage, "\"{}\" must be PATTERN=BUFFER, e.g. ffn_.*_exps=CPU", part);
    TensorOverride one{part.substr(0, equals), TensorOverride::kHost};
    SLUICE_ASSIGN(one.device, parse_buffer(part, part.substr(equals + 1)));
    SLUICE_TRY(compile(one.pattern));
    overrides.push_back(std::move(one));
  }
  return {};
}

Result<ExpertPlaces> place_experts(const std::string& path, const gguf::Gguf& file,
                                   const model::Config& config,
                                   const std::vector<TensorOverride>& overrides, int device,
                                   int64_t cpu_moe_layers) {
  ExpertPlaces places;
  for (const TensorOverride& one : overrides)
    if (one.device != TensorOverride::kHost && one.device != device)
      return fail(ErrorKind::kUsage, "{}: -ot {}: one GPU is used, CUDA{} (-mg {}): use that", path,
                  one.text(), device, device);
  SLUICE_ASSIGN(Matches matches, Matches::find(file, config, overrides));
  places.unused = std::move(matches.unused());
  SLUICE_TRY(check_dense(path, file, matches));
  if (config.experts == 0 || (overrides.empty() && cpu_moe_layers == 0)) return places;
  const int64_t layers = config.layers + config.draft_layers;
  for (int64_t n = 0; n < layers; ++n) {
    SLUICE_ASSIGN(const TensorOverride* const by, of_layer(path, file, matches, n));
    if (by)
      places.layers.push_back(by->device == TensorOverride::kHost ? ExpertPlace::kAway
                                                                  : ExpertPlace::kPinned);
    else
      places.layers.push_back(n < cpu_moe_layers ? ExpertPlace::kAway : ExpertPlace::kAnywhere);
  }
  return places;
}

}  // namespace sluice::engine
