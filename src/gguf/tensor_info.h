// SPDX-License-Identifier: Apache-2.0
// The tensor infos of a GGUF file, and the proof that every tensor's bytes lie inside it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/metadata.h"
#include "quant/quant.h"

namespace sluice::gguf {

class Cursor;

struct Tensor {
  std::string name;
  quant::Type type;
  int dimensions;                // as written, 1..4
  std::array<int64_t, 4> shape;  // ne[0] first (the contiguous one), missing ones are 1
  int file;                      // index into Gguf::files()
  uint64_t offset;               // from the start of that file
  uint64_t bytes;

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

inline constexpr uint64_t kMaxTensorNameBytes = 64;
inline constexpr uint64_t kMaxTensors = uint64_t{1} << 20;
inline constexpr int kMaxDimensions = 4;

// Bytes of a tensor of this shape (sizes positive, missing ones 1). kUsage, naming no tensor, when
// the row is no multiple of the type's block or a product overflows.
Result<uint64_t> tensor_bytes(const quant::Traits& traits, const std::array<int64_t, 4>& shape);

// The tensors of all files read so far, in file order.
struct TensorTable {
  std::vector<Tensor> tensors;
  NameIndex index;
};

// Appends the `count` infos of file number `file`, with offsets resolved. kBadFile when one is
// malformed, its name is taken, or its bytes do not lie in the file or belong to another tensor
// too; kUnsupported for a type without a layout here; kTooLarge for more than kMaxTensors.
Status read_tensor_infos(Cursor& cursor, uint64_t count, uint64_t alignment, int file,
                         TensorTable* table);

}  // namespace sluice::gguf
