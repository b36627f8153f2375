// SPDX-License-Identifier: Apache-2.0
// Blocks for tests: any bytes are valid levels and scales of every format, only the fp16 (or MXFP4)
// scales must be chosen, or products overflow.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "quant/quant.h"

namespace sluice::quant {

// Every type id that has a layout.
std::vector<const Traits*> all_formats();
// Those multiplied with ActBlock.
std::vector<const Traits*> block_formats();

// A row of blocks that starts at an odd address, as they may in a file.
class Row {
 public:
  Row(const Traits& t, int64_t n) : traits_(&t), n_(n), bytes_(row_bytes(t.type, n) + 1) {}
  uint8_t* data() { return bytes_.data() + 1; }
  const uint8_t* data() const { return bytes_.data() + 1; }
  size_t size() const { return bytes_.size() - 1; }
  std::vector<float> decode() const {
    std::vector<float> out(static_cast<size_t>(n_));
    traits_->decode(data(), n_, out.data());
    return out;
  }
  // Sets d (and dmin, m) of every block; MXFP4 takes `exponent` instead.
  void set_scales(uint16_t half, uint8_t exponent);

 private:
  const Traits* traits_;
  int64_t n_;
  std::vector<uint8_t> bytes_;
};

Row random_row(const Traits& t, int64_t n, std::mt19937& random);

}  // namespace sluice::quant
