// SPDX-License-Identifier: Apache-2.0
// Writes a model of a published shape with random weights: for measuring speed without a download.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "synth/shape.h"

namespace sluice::synth {

// What the routers look at.
enum class Routing {
  kText,    // the text so far: experts change slowly, and differ from text to text
  kStatic,  // a fixed preference of each layer, and the token: also random tokens find it
};

struct SynthOptions {
  Shape shape;
  const gguf::Mix* mix = nullptr;
  Routing routing = Routing::kText;
  uint64_t seed = 0;
  int threads = 1;
};

// Sees each tensor and how many were done before.
using Progress = std::function<void(const TensorPlan&, size_t index, size_t count)>;

// Bytes of all tensors as the file has them.
uint64_t tensor_bytes(const SynthOptions& options);

// Writes the file; the same options give the same bytes, whatever the number of threads. kUsage for
// impossible sizes, kIo when the disk has too little room (told before anything is written) or
// fails, kCancelled when *cancel becomes true.
Status write_model(const SynthOptions& options, const std::string& path,
                   const Progress& progress = nullptr, const std::atomic<bool>* cancel = nullptr);

}  // namespace sluice::synth
