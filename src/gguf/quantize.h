// SPDX-License-Identifier: Apache-2.0
// Writing a model in other tensor types: which type each tensor gets in a named mix, and the job
// itself.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "gguf/gguf.h"

namespace sluice::gguf {

// A file type as llama.cpp names it: "Q4_K_M", "Q8_0", "BF16", ...
struct Mix {
  std::string_view name;
  uint32_t file_type;  // general.file_type
  quant::Type base;
};

// nullptr when unknown or when this program has no encoder for it. Case-insensitive.
const Mix* find_mix(std::string_view name);
std::string mix_names();

// What a mix needs to know of the model around a tensor.
struct MixContext {
  int64_t layers = 0;
  bool has_output = false;  // a separate output.weight
};

// The type of one tensor in a mix; `source` for what is never quantised: vectors, norms, routers,
// convolutions. Rows that do not fill a block fall back to a type with smaller blocks.
quant::Type mix_type(const Mix& mix, const MixContext& context, std::string_view name,
                     std::span<const int64_t> shape, quant::Type source);

// The layers that the "_M" mixes spend more bits on: both ends, and every third between.
bool more_bits(int64_t layer, int64_t layers);

// Rewrites `file` to `path`. The source should be F32, F16 or BF16; quantised sources are decoded
// first. kBadFile naming the tensor for values that are not finite, kIo when the disk is full.
// `progress` sees each tensor, its new type and how many were done before.
Status quantize_file(
    const Gguf& file, const std::string& path, const Mix& mix, int threads,
    const std::function<void(const Tensor&, quant::Type, size_t)>& progress = nullptr);

}  // namespace sluice::gguf
