// SPDX-License-Identifier: Apache-2.0
// Random weights made directly in a block format: random bits where every bit pattern is valid,
// chosen scales where not. Many times faster than encoding floats.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/quant.h"
#include "synth/random.h"

namespace sluice::synth {

class RandomBlocks {
 public:
  // Weights of mean 0 and the given standard deviation, which must suit the format: for those with
  // fp16 scales between about 1e-4 and 1e3.
  RandomBlocks(quant::Type type, float deviation, uint64_t seed);

  // Whole blocks. The same `random` gives the same bytes.
  void fill(Random& random, std::span<uint8_t> blocks) const;

 private:
  const quant::Traits& traits_;
  float deviation_;
  std::vector<uint8_t> pool_;  // blocks with all fields set
  size_t payload_begin_ = 0;   // bytes of a block that are replaced by random bits
  size_t payload_end_ = 0;
};

}  // namespace sluice::synth
