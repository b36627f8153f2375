// SPDX-License-Identifier: Apache-2.0
// Activations in the form that a level's products take.
#pragma once

#include <vector>

#include "base/aligned_buffer.h"
#include "compute/cpu/kernels.h"

namespace sluice::cpu {

struct PackedActs {
  AlignedBuffer data;
  std::vector<const uint8_t*> rows;
};

// blocks: of all activations, `per_row` each.
inline PackedActs pack(const Kernels& kernels, const std::vector<quant::ActBlock>& blocks,
                       int64_t per_row) {
  PackedActs result;
  result.data = AlignedBuffer::allocate(blocks.size() * kernels.packed_block_bytes);
  kernels.pack(blocks.data(), static_cast<int64_t>(blocks.size()), result.data.data());
  const size_t row_bytes = static_cast<size_t>(per_row) * kernels.packed_block_bytes;
  for (size_t at = 0; at < result.data.size(); at += row_bytes)
    result.rows.push_back(result.data.data() + at);
  return result;
}

}  // namespace sluice::cpu
