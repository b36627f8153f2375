// SPDX-License-Identifier: Apache-2.0
// Where somebody wants tensors to lie, in llama.cpp's words: -ot PATTERN=BUFFER,PATTERN=BUFFER.
// Experts of a layer go to one memory as a whole; what every token needs lies where it is computed.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "model/config.h"
#include "residency/device_tier.h"

namespace sluice::engine {

struct TensorOverride {
  static constexpr int kHost = -1;

  std::string pattern;  // ECMAScript regular expression, found anywhere in a tensor's name
  int device = kHost;   // of CUDA<device>

  std::string text() const;  // as it is written
};

// Adds those of one value; a comma ends a pattern, its first "=" too. kUsage with the part.
Status parse_overrides(const std::string& text, std::vector<TensorOverride>& overrides);

struct ExpertPlaces {
  std::vector<residency::ExpertPlace> layers;  // empty: all as they are used
  std::vector<std::string> unused;             // overrides that match no tensor
};

// The first override that matches a tensor's name counts; for layers of which none matches,
// `cpu_moe_layers` does: of so many layers, the first ones, no expert goes to the device.
// kUsage, naming the override, where a tensor cannot lie as it says. `path` is for that message.
Result<ExpertPlaces> place_experts(const std::string& path, const gguf::Gguf& file,
                                   const model::Config& config,
                                   const std::vector<TensorOverride>& overrides, int device,
                                   int64_t cpu_moe_layers);

}  // namespace sluice::engine
