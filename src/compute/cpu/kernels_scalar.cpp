// SPDX-License-Identifier: Apache-2.0
// Every entry of the table without any processor's instructions. Blocks of the cache's formats and
// of activations are converted by the quant module.
#include "compute/cpu/simd/portable.h"

#include "compute/cpu/simd/attention.h"
#include "compute/cpu/simd/delta.h"
#include "compute/cpu/simd/fill_dot_rows.h"

namespace sluice::cpu {

void fill_scalar(Kernels& table) {
  fill_dot_rows(table);
  fill_floats(table);
  fill_attention(table);
  fill_delta(table);
  for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id) {
    const quant::Traits* format = quant::find_traits(id);
    if (!format) continue;
    table.decode[id] = format->decode;
    table.encode[id] = format->encode;
  }
  table.quantize = quant::quantize_activations;
  table.packed_block_bytes = sizeof(PackedAct);
  table.pack = pack_blocks;
}

}  // namespace sluice::cpu
