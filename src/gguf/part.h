// SPDX-License-Identifier: Apache-2.0
// One GGUF file: a whole model or a part of a split one.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "gguf/metadata.h"
#include "gguf/split.h"
#include "gguf/tensor_info.h"
#include "storage/file.h"

namespace sluice::gguf {

inline constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
inline constexpr uint64_t kDefaultAlignment = 32;
inline constexpr uint64_t kMaxAlignment = uint64_t{16} << 20;

struct Part {
  uint32_t version = 0;
  uint64_t alignment = kDefaultAlignment;
  Metadata metadata;
};

// Reads and validates the header of file number `file`, and appends its tensors to `table`.
// `expected` is what the first file said about the others; nullptr for the first file itself.
Result<Part> read_part(const storage::Reader& reader, int file, const Split* expected,
                       TensorTable* table);

}  // namespace sluice::gguf
